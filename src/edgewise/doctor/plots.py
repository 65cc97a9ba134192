"""Three pictures of what a data set holds: its classes, the sizes of its boxes, and how many an image has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.doctor.statistics import READABLE, Statistics
from edgewise.extras import require

COLOURS = {"train": "#0072b2", "val": "#e69f00", "test": "#009e73"}  # Okabe and Ito's
MOST_BARS = 40  # classes with a bar of their own


def class_plot(counts: Mapping[str, Statistics], path: Path) -> None:
    """Writes the number of boxes of each class in each split, the most frequent on top."""
    order = next(iter(counts.values())).classes  # of the training split where there is one
    names = list(order)[:MOST_BARS]
    figure, axes = _canvas(height=1.6 + 0.19 * len(names) * max(2, len(counts)))
    thickness = 0.8 / len(counts)
    for i, (split, one) in enumerate(counts.items()):
        values = [one.classes.get(name, 0) for name in names]
        rows = np.arange(len(names)) + (i - (len(counts) - 1) / 2) * thickness
        bars = axes.barh(rows, values, thickness * 0.92, color=COLOURS.get(split), label=split)
        axes.bar_label(bars, [f"{value:,}" for value in values], padding=3, fontsize=7, color="0.35")
    most = max(max(one.classes.values()) for one in counts.values())
    axes.set(yticks=range(len(names)), yticklabels=names)
    axes.set(xlabel="boxes", xscale="log", xlim=(0.7, 2 * most))  # one box is a short bar, none is no bar
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    rest = len(order) - len(names)
    _finish(
        figure, axes, "Boxes by class" + (f" (the {rest} rarest classes not shown)" if rest else ""), path
    )


def size_plot(counts: Mapping[str, Statistics], size: tuple[int, int], path: Path) -> None:
    """Writes the shorter sides of the boxes at the model's input, on a logarithmic scale."""
    figure, axes = _canvas()
    sides = {split: one.at(size).min(1) for split, one in counts.items() if len(one.sides)}
    low = min((float(one.min()) for one in sides.values()), default=1.0)
    bins = np.geomspace(min(0.5 * READABLE, max(low, 0.1)), max(size), 40)
    for split, values in sides.items():
        _shares(axes, values, bins, split)
    axes.axvspan(bins[0], READABLE, color="0.92", zorder=0)
    axes.text(READABLE, 0.99, f" {READABLE} px", transform=axes.get_xaxis_transform(), va="top", color="0.4")
    axes.set(xscale="log", xlabel=f"shorter side of a box in px, at an input of {size[0]}x{size[1]}")
    ticks = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048) if bins[0] <= n <= bins[-1]]
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set(ylabel="% of the boxes", xlim=(bins[0], bins[-1]))
    _finish(figure, axes, "Sizes of boxes", path)


def count_plot(counts: Mapping[str, Statistics], queries: int, path: Path) -> None:
    """Writes how many boxes images have, with the number of queries where it comes near."""
    figure, axes = _canvas()
    most = max(int(one.per_image.max(initial=0)) for one in counts.values())
    step = max(1, -(-(most + 1) // 40))
    bins = np.arange(0, most + step + 1, step) - 0.5
    for split, one in counts.items():
        _shares(axes, one.per_image, bins, split)
    if most > queries / 2:
        axes.axvline(queries, color="black", linewidth=0.8, linestyle=":")
        axes.text(
            queries, 0.99, f"{queries} queries ", transform=axes.get_xaxis_transform(), va="top", ha="right"
        )
    axes.set(xlabel="boxes in an image", ylabel="% of the images", xlim=(bins[0], None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    _finish(figure, axes, "Boxes in an image", path)


def _shares(axes: Any, values: np.ndarray, bins: np.ndarray, split: str) -> None:
    """The outline of how many percent of the values lie in each bin."""
    weights = np.full(len(values), 100 / max(1, len(values)))
    look = {"histtype": "step", "linewidth": 1.8, "color": COLOURS.get(split), "label": split}
    axes.hist(values, bins, weights=weights, **look)


def _canvas(height: float = 4.2) -> tuple[Any, Any]:
    """A figure of its own: pyplot's global state and the screen stay out of it."""
    figure = require("matplotlib.figure", "train").Figure(figsize=(7, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish(figure: Any, axes: Any, title: str, path: Path) -> None:
    axes.set_title(title, loc="left")
    axes.legend(frameon=False)
    figure.savefig(path)
