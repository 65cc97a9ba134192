"""What the steps of a run add up to."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgewise.train.curves import LOSSES


@dataclass(frozen=True)
class StepReport:
    """One step: its weighted loss terms by name, and the gradient's norm before clipping."""

    step: int
    losses: dict[str, float]
    grad_norm: float
    images: int
    wait_s: float  # spent waiting for the batch
    total_s: float
    faults: tuple[str, ...] = ()  # what was not finite: the step was skipped
    file: Path | None = None  # that repeats a skipped step

    @property
    def total(self) -> float:
        return math.fsum(self.losses.values())

    def by_kind(self) -> dict[str, float]:
        """Terms summed over layers: cls, l1, giou, fgl, ddf and, of a teacher, kd_edges and kd_scores.

        cls is the classification loss, which the criterion calls vfl whichever it is.
        """
        sums = dict.fromkeys(LOSSES, 0.0)
        for name, value in self.losses.items():
            kind = name.split("/")[0].replace("vfl", "cls")
            sums[kind] = sums.get(kind, 0.0) + value
        return sums


@dataclass
class EpochMeter:
    """Sums over the steps of one epoch; goes into the state file, since a run may stop within one."""

    losses: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LOSSES, 0.0))
    steps: int = 0
    images: int = 0
    wait_s: float = 0.0
    total_s: float = 0.0
    skipped: int = 0

    def add(self, report: StepReport) -> None:
        if report.faults:
            self.skipped += 1
        else:
            self.steps += 1
            for name, value in report.by_kind().items():
                self.losses[name] = self.losses.get(name, 0.0) + value
        self.images += report.images
        self.wait_s += report.wait_s
        self.total_s += report.total_s

    def summary(self) -> dict[str, Any]:
        """Mean loss by kind of the steps that were taken, how many were not, images per second, and the share
        of the time spent waiting for data.
        """
        return {
            "loss": {name: value / max(1, self.steps) for name, value in self.losses.items()},
            "skipped": self.skipped,
            "images_per_s": round(self.images / max(1e-9, self.total_s), 2),
            "wait_share": round(self.wait_s / max(1e-9, self.total_s), 4),
            "train_s": round(self.total_s, 2),
        }
