"""A trace as small multiples: a column a layer, its box on top, the distributions of its edges below."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from edgewise.extras import require

if TYPE_CHECKING:
    from edgewise.predict.trace import Trace

EDGES = ("left", "top", "right", "bottom")
FINAL, INITIAL, INK = "#0072b2", "#d55e00", "#333333"  # Okabe and Ito's blue and vermilion
PANEL = 1.9  # inches
MARGIN = 0.3  # of the box around it, in its longer side
SHOWN = 0.003  # bins of less mass do not widen an axis


def plot(trace: "Trace", box: int) -> Any:
    """A matplotlib Figure of one object.

    The first column is the initial box, from whose edges offsets count outwards in pixels. In every other the
    line is what its layer says, a dot a bin, the shade what the last one says; above each stand the edge's
    mean and standard deviation, and what stopping here would lose of the last layer's distribution.
    """
    layers = len(trace.edges)
    figure = require("matplotlib.figure", "train").Figure(
        figsize=(PANEL * (layers + 1) + 0.3, PANEL + 4 * 0.68 * PANEL + 0.6), dpi=150, layout="constrained"
    )
    axes = figure.subplots(5, layers + 1, height_ratios=[1.5, 1, 1, 1, 1], squeeze=False)
    name, score = trace.class_names[trace.labels[box]], trace.scores[-1, box]
    figure.suptitle(f"{name} {score:.2f}: how {layers} layers moved its edges", fontsize=11, color=INK)
    boxes = [trace.initial_boxes_xyxy[box], *trace.boxes_xyxy[:, box]]
    for column, (ax, own) in enumerate(zip(axes[0], boxes, strict=True)):
        title = f"layer {column}: {trace.scores[column - 1, box]:.2f}" if column else "initial box"
        _picture(ax, trace, boxes, own, INITIAL if not column else FINAL)
        ax.set_title(title, fontsize=9, color=INK)
    for edge in range(4):
        _edge_row(axes[edge + 1], trace, box, edge)
    return figure


def _picture(
    ax: Any, trace: "Trace", boxes: list[np.ndarray], own: Float[np.ndarray, " 4"], colour: str
) -> None:
    """The image around all boxes, the same for all layers; the last box dashed, `own` solid."""
    low, high = np.min(boxes, 0)[:2], np.max(boxes, 0)[2:]
    centre, half = (low + high) / 2, (high - low).max() * (0.5 + MARGIN)
    height, width = trace.image.shape[:2]
    ax.imshow(trace.image, extent=(0, width, height, 0), interpolation="bilinear")
    ax.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] + half, centre[1] - half))
    ax.set(xticks=[], yticks=[], facecolor="0.93")
    patches = require("matplotlib.patches", "train")
    for one, style, edge, line in ((boxes[-1], (0, (4, 3)), "white", 1.0), (own, "-", colour, 1.8)):
        corner, sides = one[:2], one[2:] - one[:2]
        ax.add_patch(
            patches.Rectangle(corner, *sides, fill=False, linewidth=line, linestyle=style, edgecolor=edge)
        )


def _edge_row(axes: Any, trace: "Trace", box: int, edge: int) -> None:
    """One edge over all layers, on one scale."""
    sides = trace.edges[-1].sides[box, edge]
    probs = np.stack([one.probs[box, edge] for one in trace.edges])  # [L, N+1]
    offsets = trace.edges[-1].values * sides
    seen = np.flatnonzero((probs > SHOWN).any(0))
    low, high = min(offsets[seen[0]], 0), max(offsets[seen[-1]], 0)
    pad = 0.06 * (high - low) + 0.2
    first = axes[0]
    first.axis("off")
    first.text(0.95, 0.62, EDGES[edge], ha="right", fontsize=10, color=INK, transform=first.transAxes)
    first.text(
        0.95,
        0.4,
        f"{trace.initial_boxes_xyxy[box, edge]:.1f} px",
        ha="right",
        fontsize=8,
        color=INITIAL,
        transform=first.transAxes,
    )
    losses = trace.kl_last[:, box, edge]
    for layer, ax in enumerate(axes[1:]):
        ax.fill_between(offsets, probs[-1], color=FINAL, alpha=0.18, linewidth=0)
        ax.plot(offsets, probs[layer], color=FINAL, linewidth=1.2, marker=".", markersize=2.5)
        mean = float(probs[layer] @ offsets)
        ax.axvline(0, color=INITIAL, linewidth=0.8)
        ax.axvline(mean, color=FINAL, linewidth=0.8, linestyle=(0, (3, 2)))
        ax.set(xlim=(low - pad, high + pad), ylim=(0, 1.12 * probs.max()), yticks=[])
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(labelsize=6.5, length=2, color="0.6", labelcolor="0.3")
        std = trace.edges[layer].std[box, edge]
        text = f"{mean:+.1f} ± {std:.1f} px"
        if layer < len(axes) - 2:
            text += f" · {losses[layer]:.2f} nats"
        ax.set_title(text, fontsize=7, color=INK, pad=2)
        if edge == 3:
            ax.set_xlabel("pixels outwards", fontsize=7, color="0.3")
