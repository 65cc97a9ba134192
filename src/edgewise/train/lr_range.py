"""A learning rate from a short run of a copy in which it rises: the range test of arXiv 1506.01186.

Suggested is a tenth of the rate at which the smoothed loss is least. The steepest descent, the other usual
rule, is the slope of a noisy curve: on scenes it lay anywhere from 1e-6 to 8e-2 with seed and smoothing,
where the turning point stayed between 8e-3 and 1e-2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from rich.console import Console
from rich.progress import track

from edgewise.config import TrainConfig
from edgewise.data.custom import Transform
from edgewise.data.loader import TrainLoader
from edgewise.extras import require
from edgewise.model import DFine
from edgewise.structures import Batch
from edgewise.train import schedule
from edgewise.train.probe import Probe
from edgewise.train.state import TrainSet

FACTORS = (1e-3, 1e2)  # of the settings' rate, where the test begins and ends
IDLE = 10.0  # times the first rate: what is lower moves nothing yet
STEPS = (30, 100)  # at least and at most; four epochs, where that is between
SMOOTHING = 0.85
DIVERGED = 4.0  # times the least smoothed loss ends the test
BELOW = 10.0  # how far below the turning point the suggestion lies
LEAST_DROP = 0.01  # of the loss, for a rate to count as one that works


@dataclass(frozen=True)
class LrRange:
    """The course of a test: the loss before each step, and the rate outside the backbone it was taken at.

    `backbone` is the backbone's rate as a share of that; `diverged` says whether the loss ended the test.
    """

    rates: Float64[np.ndarray, " n"]
    losses: Float64[np.ndarray, " n"]
    backbone: float
    diverged: bool

    @property
    def smoothed(self) -> Float64[np.ndarray, " n"]:
        """Running means of the losses: the k-th step back has the weight 0.85ᵏ, whatever there is before."""
        weights = SMOOTHING ** np.arange(len(self.losses))
        return np.asarray(np.convolve(self.losses, weights)[: len(self.losses)] / weights.cumsum())

    @property
    def idle(self) -> int:
        """How many steps had rates too low to move anything: their mean loss, `start`, is what to lower."""
        return int((self.rates < IDLE * self.rates[0]).sum())

    @property
    def start(self) -> float:
        return float(self.losses[: self.idle].mean())

    @property
    def turn(self) -> int:
        """The step after the idle ones with the least smoothed loss; at higher rates it rises."""
        return self.idle + int(self.smoothed[self.idle :].argmin())

    @property
    def suggested(self) -> float:
        """A tenth of the rate at which the loss turns, to two digits."""
        return float(f"{self.rates[self.turn] / BELOW:.1e}")

    @property
    def changes(self) -> dict[str, float]:
        """The suggestion as changes of TrainConfig, the backbone's rate in proportion."""
        return {
            "optimizer.lr": self.suggested,
            "optimizer.backbone_lr": float(f"{self.suggested * self.backbone:.1e}"),
        }

    def __str__(self) -> str:
        """«rate 8.0e-04 (backbone 4.0e-04): a tenth of 8.0e-03, where the loss turns (44.11 → 35.10)»."""
        smoothed, turn = self.smoothed, self.turn
        how = "where the loss turns" if turn < len(smoothed) - 1 else "the highest tried: the loss still fell"
        return (
            f"rate {self.suggested:.1e} (backbone {self.changes['optimizer.backbone_lr']:.1e}): a tenth of "
            f"{self.rates[turn]:.1e}, {how} ({self.start:.2f} → {smoothed[turn]:.2f} in {turn + 1} steps)"
        )


def find_rate(
    model: DFine,
    train_set: TrainSet,
    config: TrainConfig,
    device: torch.device,
    transform: Transform | None = None,
    console: Console | None = None,
) -> LrRange:
    """The losses of a copy of `model` while the rates of all groups rise together, step by step.

    They go from a thousandth of the settings' rates to a hundred times these. Batches are those of the run,
    at one size, so that losses can be compared. The test ends early where the smoothed loss is four times its
    least or something is not finite. Model and random streams stay as they are. Raises ValueError where the
    loss falls at no rate.
    """
    still = config.updated({"augment.multi_scale": 0.0})
    backbone = config.optimizer.backbone_lr / config.optimizer.lr
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        loader = TrainLoader(train_set, still, transform)
        steps = min(max(4 * loader.steps_per_epoch, STEPS[0]), STEPS[1])
        rates = np.geomspace(*FACTORS, steps) * config.optimizer.lr
        probe = Probe(model, still, train_set.class_names, device)
        strong = schedule.at(config, 0, loader.steps_per_epoch).strong
        batches = track(
            islice(_endless(loader, strong), steps),
            "finding a rate",
            total=steps,
            console=console,
            disable=console is None,
            transient=True,
        )
        losses: list[float] = []
        for step, batch in enumerate(batches):
            try:
                terms = probe.step(batch, step, rates[step] / config.optimizer.lr)
            except FloatingPointError:
                break
            losses.append(math.fsum(terms.values()))
            smoothed = LrRange(rates[: step + 1], np.array(losses), backbone, False).smoothed
            if smoothed[-1] > DIVERGED * smoothed.min():
                break
    causes = "Are the weights broken, or do the boxes not belong to the images?"
    if not losses:
        raise ValueError(f"the very first loss is not finite. {causes}")
    found = LrRange(rates[: len(losses)], np.array(losses), backbone, len(losses) < steps)
    if len(losses) == found.idle or found.smoothed[found.turn] > (1 - LEAST_DROP) * found.start:
        raise ValueError(
            f"no rate from {found.rates[0]:.1e} to {found.rates[-1]:.1e} lowered the loss, which began at "
            f"{found.start:.2f} and ended at {losses[-1]:.2f}. {causes}"
        )
    return found


def draw_range(found: LrRange, path: Path) -> None:
    """Loss over rate, raw and smoothed, with the turning point and the suggestion, as a png at `path`."""
    require("matplotlib", "train")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    smoothed, turn = found.smoothed, found.turn
    axis.plot(found.rates, found.losses, ".", color="0.7", label="each step's batch")
    axis.plot(found.rates, smoothed, color="C0", label="smoothed")
    axis.plot(found.rates[turn], smoothed[turn], "o", color="C0", label=f"turns at {found.rates[turn]:.1e}")
    axis.axvline(found.suggested, color="C1", label=f"suggested: {found.suggested:.1e}, a tenth of it")
    fell = turn == len(smoothed) - 1
    end = ": the loss diverged" if found.diverged else ": the loss fell to the end" if fell else ""
    low = min(smoothed.min(), found.losses.min())
    axis.set(
        xscale="log",
        ylim=(0.9 * low, 2 * found.start),  # a divergence leaves the picture
        xlabel="learning rate, outside the backbone",
        ylabel="training loss",
        title=f"learning-rate range test{end}",
    )
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    figure.savefig(path, dpi=110)


def _endless(loader: TrainLoader, strong: bool) -> Iterator[Batch]:
    for epoch in count():
        yield from loader.batches(epoch, 0, strong)
