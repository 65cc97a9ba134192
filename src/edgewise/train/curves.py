"""A run's curves as one picture, drawn from the lines of its metrics.jsonl."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgewise.extras import require

LOSSES = ("cls", "l1", "giou", "fgl", "ddf")
NAMED = 10  # classes with a line each in the panel of classes

Lines = Sequence[dict[str, Any]]


def plot_curves(history: Lines, path: Path) -> None:
    """Losses, validation AP, AP by class, rate, speed and best F1 over epochs, written to `path` (png)."""
    require("matplotlib", "train")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(13, 6.4), layout="constrained")
    (losses, ap, classes), (rate, speed, f1) = figure.subplots(2, 3)
    _losses(losses, history)
    _ap(ap, _scored(history, "ap"))
    _classes(classes, _scored(history, "ap"))
    _rate(rate, history)
    _speed(speed, history)
    _f1(f1, _scored(history, "best_f1"))
    for axis in figure.axes:
        axis.set_xlim(0.5, max(2, len(history)) + 0.5)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.savefig(path, dpi=110, format="png")


def _scored(history: Lines, name: str) -> Lines:
    """Those with a validation in which that number is defined, as it is not without boxes."""
    return [line for line in history if line.get("val", {}).get(name) is not None]


def _plot(axis: Any, lines: Lines, values: Sequence[float | None], **style: Any) -> None:
    """A line over epochs, with a dot where it has one point only."""
    if len(lines) == 1:
        style |= {"marker": "o", "markersize": 4}
    known = [float("nan") if value is None else value for value in values]
    axis.plot([line["epoch"] for line in lines], known, **style)


def _losses(axis: Any, history: Lines) -> None:
    for name in history[0]["loss"] if history else ():
        _plot(axis, history, [line["loss"].get(name) for line in history], label=name)
    axis.set(title="training loss by term, all layers", yscale="log")
    if history:
        axis.legend(frameon=False, ncols=2)


def _ap(axis: Any, scored: Lines) -> None:
    axis.set(title="validation, averaged weights", ylim=(0, 1))
    if not scored:
        _empty(axis)
        return
    for name, label in (("ap", "AP"), ("ap50", "AP50"), ("ap75", "AP75")):
        _plot(axis, scored, [line["val"][name] for line in scored], label=label)
    best = max(scored, key=lambda line: line["val"]["ap"])
    axis.axvline(best["epoch"], color="0.7", lw=1, zorder=0)
    axis.set_title(f"validation: best AP {best['val']['ap']:.3f} in epoch {best['epoch']}")
    axis.legend(frameon=False)


def _classes(axis: Any, scored: Lines) -> None:
    axis.set(title="validation AP by class", ylim=(0, 1))
    last = scored[-1]["val"].get("per_class", {}) if scored else {}
    names = [name for name, one in last.items() if one["ap"] is not None]
    for name in sorted(names, key=lambda one: -last[one]["ap"]):
        values = [line["val"]["per_class"][name]["ap"] for line in scored]
        style = {"label": name} if len(names) <= NAMED else {"color": "0.7", "lw": 0.6}
        _plot(axis, scored, values, **style)
    if not names:
        _empty(axis)
    elif len(names) <= NAMED:
        axis.legend(frameon=False, fontsize="small", ncols=1 if len(names) <= 5 else 2)
    else:
        _plot(axis, scored, [line["val"]["ap"] for line in scored], color="black", lw=2, label="mean")
        axis.set_title(f"validation AP of {len(names)} classes and their mean")


def _rate(axis: Any, history: Lines) -> None:
    _plot(axis, history, [line["lr"] for line in history], color="0.3")
    axis.set(title="learning rate", ylim=(0, None))
    skipped = [line.get("skipped", 0) for line in history]
    if any(skipped):
        axis.set_title(f"learning rate; {sum(skipped)} skipped steps (bars)")
        bars = axis.twinx()
        bars.bar([line["epoch"] for line in history], skipped, color="tab:red", alpha=0.5)
        bars.set_ylabel("skipped steps")


def _speed(axis: Any, history: Lines) -> None:
    _plot(axis, history, [line["images_per_s"] for line in history], color="0.3")
    axis.set(title="images a second", ylim=(0, None))
    waits = [line["wait_share"] for line in history]
    if waits:
        axis.set_title(f"images a second; {sum(waits) / len(waits):.0%} of it waiting for data")


def _f1(axis: Any, scored: Lines) -> None:
    axis.set(title="validation: best F1 and its score threshold", ylim=(0, 1))
    if not scored:
        _empty(axis)
        return
    _plot(axis, scored, [line["val"]["best_f1"] for line in scored], label="best F1")
    _plot(axis, scored, [line["val"]["best_threshold"] for line in scored], label="at score", ls="--")
    axis.legend(frameon=False)


def _empty(axis: Any) -> None:
    axis.text(0.5, 0.5, "no validation", transform=axis.transAxes, ha="center", va="center", color="0.4")
