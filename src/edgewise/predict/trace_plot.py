"""A trace as small multiples: a column a layer, its box on top, the distributions of its edges below."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from edgewise.edges import EDGES
from edgewise.extras import require

if TYPE_CHECKING:
    from edgewise.predict.trace import Trace

START, NOW = "#d55e00", "#0072b2"  # Okabe and Ito's vermilion and blue
INK, FAINT = "#333333", "#888888"
PANEL = 1.75  # inches, the width of a column
MARGIN = 0.22  # of its longer side, around the box
SHOWN = 0.004  # bins of less mass do not widen an axis


def plot(trace: "Trace", box: int) -> Any:
    """A matplotlib Figure of one object: initial box, then a column a layer.

    On top the box, with a band of one standard deviation along each edge. Below, for each edge, the line is
    what the layer says, a dot a bin, and the shade what the last one says; offsets count outwards from the
    initial edge, in pixels. Above it mean ± standard deviation, and by how many nats the last layer differs.
    """
    layers = len(trace.edges)
    size = (PANEL * (layers + 1) + 0.2, 0.45 + 1.1 * PANEL + 4 * 0.58 * PANEL)
    figure = require("matplotlib.figure", "evaluate").Figure(figsize=size, dpi=160, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.01)
    axes = figure.subplots(5, layers + 1, height_ratios=[1.9, 1, 1, 1, 1], squeeze=False)
    figure.suptitle(
        f"{trace.class_names[trace.labels[box]]} {trace.scores[-1, box]:.2f}", fontsize=10, color=INK
    )
    view = _view([trace.initial_boxes_xyxy[box], *trace.boxes_xyxy[:, box]])
    _picture(axes[0, 0], trace, view, trace.initial_boxes_xyxy[box], START, None)
    axes[0, 0].set_title("initial box", fontsize=8, color=START)
    for layer, ax in enumerate(axes[0, 1:]):
        _picture(ax, trace, view, trace.boxes_xyxy[layer, box], NOW, trace.edges[layer].std[box])
        ax.set_title(f"layer {layer + 1} · {trace.scores[layer, box]:.2f}", fontsize=8, color=INK)
    for edge in range(4):
        _edge_row(axes[edge + 1], trace, box, edge)
    axes[-1, (layers + 1) // 2].set_xlabel("pixels outwards from the initial edge", fontsize=7, color=FAINT)
    return figure


def _view(boxes: list[np.ndarray]) -> Float[np.ndarray, " 4"]:
    """A square around all of them, left, top, right, bottom."""
    low, high = np.min(boxes, 0)[:2], np.max(boxes, 0)[2:]
    centre, half = (low + high) / 2, (high - low).max() * (0.5 + MARGIN) + 1
    view: np.ndarray = np.concatenate([centre - half, centre + half])
    return view


def _picture(
    ax: Any,
    trace: "Trace",
    view: Float[np.ndarray, " 4"],
    box: Float[np.ndarray, " 4"],
    colour: str,
    std: Float[np.ndarray, " 4"] | None,
) -> None:
    """The part of the image that all layers show, with a box."""
    height, width = trace.image.shape[:2]
    ax.imshow(trace.image, extent=(0, width, height, 0), interpolation="bilinear")
    left, top, right, bottom = view.tolist()
    ax.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[], facecolor="0.94")
    ax.spines[:].set_visible(False)
    if std is not None:
        x1, y1, x2, y2 = box.tolist()
        look = {"color": colour, "alpha": 0.28, "linewidth": 0}
        for x, half in ((x1, std[0]), (x2, std[2])):
            ax.fill_betweenx((y1, y2), x - half, x + half, **look)
        for y, half in ((y1, std[1]), (y2, std[3])):
            ax.fill_between((x1, x2), y - half, y + half, **look)
    rectangle = require("matplotlib.patches", "evaluate").Rectangle
    ax.add_patch(rectangle(box[:2], *(box[2:] - box[:2]), fill=False, linewidth=1.4, edgecolor=colour))


def _edge_row(axes: Any, trace: "Trace", box: int, edge: int) -> None:
    """One edge over all layers, on one scale."""
    offsets = trace.edges[-1].values * trace.edges[-1].sides[box, edge]
    probs = np.stack([one.probs[box, edge] for one in trace.edges])  # [L, N+1]
    seen = offsets[(probs > SHOWN).any(0)]
    low, high = min(seen.min(), 0), max(seen.max(), 0)
    pad = 0.04 * (high - low) + 0.1
    name, *panels = axes
    name.axis("off")
    say = {"ha": "right", "transform": name.transAxes}
    name.text(0.96, 0.45, EDGES[edge], fontsize=9, color=INK, **say)
    name.text(0.96, 0.22, f"{trace.initial_boxes_xyxy[box, edge]:.1f} px", fontsize=7, color=START, **say)
    losses = trace.kl_last[:, box, edge]
    for layer, ax in enumerate(panels):
        mean, std = float(probs[layer] @ offsets), float(trace.edges[layer].std[box, edge])
        ax.fill_between(offsets, probs[-1], color=NOW, alpha=0.2, linewidth=0)
        ax.axvline(0, ymax=0.8, color=START, linewidth=0.8)
        ax.axvline(mean, ymax=0.8, color=NOW, linewidth=0.8)
        ax.plot(offsets, probs[layer], color=NOW, linewidth=1.1, marker="o", markersize=1.8)
        ax.set(xlim=(low - pad, high + pad), ylim=(0, 1.3 * probs.max()), yticks=[])
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.spines["bottom"].set_color("0.8")
        ax.tick_params(labelsize=6, length=2, color="0.8", labelcolor=FAINT, pad=1.5)
        ax.locator_params(axis="x", nbins=4)
        say = {"fontsize": 6.5, "va": "top", "transform": ax.transAxes}
        number = f"{round(mean, 1) + 0.0:+.1f}".replace("-", "−")  # no minus before a zero
        ax.text(0.02, 0.97, f"{number} ± {std:.1f}", color=INK, **say)
        if layer < len(panels) - 1:
            ax.text(0.98, 0.97, f"{losses[layer]:.2f} nats", color=FAINT, ha="right", **say)
