"""A run's curves as one picture, drawn from the lines of its metrics.jsonl."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgewise.extras import require

LOSSES = ("vfl", "l1", "giou", "fgl", "ddf")


def plot_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Loss terms, validation AP and learning rate over epochs, written to `path` (png)."""
    require("matplotlib", "train")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.4), layout="constrained")
    losses, ap, rate = figure.subplots(1, 3)
    epochs = [line["epoch"] for line in history]
    for name in LOSSES:
        losses.plot(epochs, [line["loss"][name] for line in history], label=name)
    losses.set(title="training loss by term, all layers", yscale="log")
    losses.legend(frameon=False, ncols=2)
    scored = [line for line in history if line.get("val", {}).get("ap") is not None]  # null without boxes
    for name, label in (("ap", "AP"), ("ap50", "AP50"), ("ap75", "AP75")):
        ap.plot([line["epoch"] for line in scored], [line["val"][name] for line in scored], label=label)
    ap.set(title="validation, averaged weights", ylim=(0, 1))
    if scored:
        best = max(scored, key=lambda line: line["val"]["ap"])
        ap.axvline(best["epoch"], color="0.7", lw=1, zorder=0)
        ap.set_title(f"validation: best AP {best['val']['ap']:.3f} in epoch {best['epoch']}")
    ap.legend(frameon=False)
    rate.plot(epochs, [line["lr"] for line in history], color="0.3")
    rate.set(title="learning rate", ylim=(0, None))
    for axis in (losses, ap, rate):
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.savefig(path, dpi=110)
