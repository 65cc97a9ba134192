"""Two pictures of a Metrics: precision over recall, F1 over the score threshold; and how ours look."""

from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from edgewise.evaluation.coco import RECALLS, ClassMetrics, Metrics
from edgewise.evaluation.f1 import THRESHOLDS
from edgewise.extras import require

NAMED = 10  # classes with a colour and a legend entry each; where there are more, all are thin and grey


def precision_recall_plot(metrics: Metrics, path: str | Path) -> None:
    """Writes COCO's interpolated precision at IoU 0.5, by class and as mean; the area below is AP50."""
    curves = {name: (one.precision, _number("AP50", one.ap50)) for name, one in _defined(metrics)}
    figure, axes = _canvas("recall", "precision at IoU 0.5")
    _draw(axes, RECALLS, curves, (metrics.precision, _number("AP50", metrics.ap50)))
    _finish(figure, axes, metrics, "Precision and recall", path)


def f1_threshold_plot(metrics: Metrics, path: str | Path) -> None:
    """Writes the F1 at IoU 0.5 over the lowest score that counts, by class and as mean, with their peaks."""
    curves = {name: (one.curves.f1, _best(one)) for name, one in _defined(metrics)}
    figure, axes = _canvas("score threshold", "F1 at IoU 0.5")
    _draw(axes, THRESHOLDS, curves, (metrics.f1, _best(metrics)))
    if len(curves) <= NAMED:
        for index, (_, one) in enumerate(_defined(metrics)):
            axes.plot(one.best_threshold, one.best_f1, "o", color=f"C{index}", markersize=4)
    if not isnan(metrics.best_threshold):
        axes.axvline(metrics.best_threshold, color="black", linewidth=0.8, linestyle=":")
        axes.plot(metrics.best_threshold, metrics.best_f1, "o", color="black", markersize=5, zorder=4)
    _finish(figure, axes, metrics, "F1 and score threshold", path)


def _defined(metrics: Metrics) -> list[tuple[str, ClassMetrics]]:
    """Classes with boxes, most boxes first."""
    return sorted(((n, c) for n, c in metrics.per_class.items() if c.count), key=lambda one: -one[1].count)


def _number(what: str, value: float) -> str:
    return f"{what} undefined" if isnan(value) else f"{what} {value:.3f}"


def _best(one: ClassMetrics | Metrics) -> str:
    at = "" if isnan(one.best_threshold) else f" at {one.best_threshold:.2f}"
    return _number("F1", one.best_f1) + at


def panels(columns: int, inches: tuple[float, float], dpi: int, share: bool = False) -> tuple[Any, Any]:
    """A figure of its own and a row of axes: pyplot's global state and the screen stay out of it.

    With `share`, the axes have one scale. Needs the extra `evaluate`.
    """
    figure = require("matplotlib.figure", "evaluate").Figure(figsize=inches, dpi=dpi, layout="constrained")
    row = figure.subplots(1, columns, squeeze=False, sharex=share, sharey=share)[0]
    for axes in row:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, row


def _canvas(x: str, y: str) -> tuple[Any, Any]:
    figure, (axes,) = panels(1, (8.0, 5.0), 120)
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
    return figure, axes


def _draw(
    axes: Any,
    x: Float[np.ndarray, " n"],
    curves: dict[str, tuple[np.ndarray, str]],
    mean: tuple[np.ndarray, str],
) -> None:
    """A line a class and the mean on top; `curves` and `mean` hold values and what the legend says."""
    named = len(curves) <= NAMED
    for index, (name, (values, text)) in enumerate(curves.items()):
        if named:
            axes.plot(x, values, color=f"C{index}", linewidth=1.4, label=f"{name}: {text}")
        else:
            label = f"each of {len(curves)} classes" if index == 0 else None
            axes.plot(x, values, color="0.75", linewidth=0.6, label=label)
    if curves:
        axes.plot(x, mean[0], color="black", linewidth=2.4, label=f"mean: {mean[1]}", zorder=3)
        axes.figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    else:
        axes.text(0.5, 0.5, "no boxes to find", ha="center", va="center", color="0.4")


def _finish(figure: Any, axes: Any, metrics: Metrics, title: str, path: str | Path) -> None:
    axes.set_title(f"{title} · {_number('AP', metrics.ap)}, {_number('AP50', metrics.ap50)}", loc="left")
    figure.savefig(path)
