"""What makes error bars honest: numbers fitted on held-out images, kept in a checkpoint, applied in decode.

`evaluation.calibration` fits them; nothing here imports torch or pydantic, so every runtime applies the same.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from edgewise.edges import check_level
from edgewise.overlaps import area

LEVELS = tuple(np.round(np.arange(0.005, 1.0, 0.005), 3).tolist())
"""Where the coverage of intervals is tabulated; in between, the next higher level is taken, none above."""

Real = float | int  # either is taken; a float is kept
Four = tuple[Real, Real, Real, Real]  # left, top, right, bottom
Row = tuple[Real, ...]

INFINITE = 1e6
"""The margin, in spreads, of a level that so few pairs cannot promise, and of those above LEVELS."""


@dataclass(frozen=True)
class ScoreCalibration:
    """A rising line through points: score as the model gives it → share of such detections that are right.

    From (0, 0) to (1, 1) and strictly rising, so that it keeps the order of detections and can be read back;
    ValueError otherwise.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - its name for what a header may not hold

    scores: Row
    precision: Row

    def __post_init__(self) -> None:
        _as_floats(self, "scores", "precision")
        for row in (self.scores, self.precision):
            if row[:1] != (0,) or row[-1:] != (1,) or any(b <= a for a, b in pairwise(row)):
                raise ValueError("scores and precision must rise from 0 to 1")
        if len(self.scores) != len(self.precision):
            raise ValueError(f"{len(self.scores)} scores for {len(self.precision)} values of precision")

    def apply(self, scores: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
        """Calibrated scores, of the dtype of `scores`."""
        calibrated: np.ndarray = np.interp(scores, self.scores, self.precision).astype(scores.dtype)
        return calibrated

    def undo(self, scores: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
        """The model's own scores, from calibrated ones."""
        raw: np.ndarray = np.interp(scores, self.precision, self.scores).astype(scores.dtype)
        return raw


@dataclass(frozen=True)
class Source:
    """What a calibration was fitted on."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    data: str  # fingerprint of images and boxes
    split: str
    date: str  # ISO, day
    images: int
    pairs: int  # matched detections
    threshold: float  # scores below were left out; where it goes by class, the lowest
    size: tuple[int, int] | None = None  # (height, width) of the model's input


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How to turn raw edge distributions into spreads and intervals that keep their word.

    By edge (left, top, right, bottom): logits are divided by `temperature`; the calibrated spread is
    √((scale · std)² + (floor · √area)²), std in pixels and area the box's. `margins[edge][k]` is how many
    spreads to either side hold the true edge with LEVELS[k], `joint[k]` the same for all four edges of a box
    together: split-conformal, so the coverage is that of the fitting data's like. A level that the fitting
    data are too few for has a margin of `INFINITE`. ValueError for numbers that cannot be that.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    temperature: Four
    scale: Four
    floor: Four
    margins: tuple[Row, Row, Row, Row]
    joint: Row
    score: ScoreCalibration | None = None
    source: Source
    seal: str = ""  # hash of all else, written by `sealed`: a hand in the header is noticed

    def __post_init__(self) -> None:
        _as_floats(self, "temperature", "scale", "floor", "margins", "joint")
        for name in ("temperature", "scale", "floor"):
            row, least = getattr(self, name), 0.0 if name == "floor" else np.finfo(np.float64).tiny
            if len(row) != 4 or not all(one >= least for one in row):
                raise ValueError(f"{name} {row}: expected four numbers {'from' if least == 0 else 'above'} 0")
        for row in (*self.margins, self.joint):
            if len(row) != len(LEVELS) or not row[0] >= 0:
                raise ValueError(f"margins of {len(row)} levels; expected {len(LEVELS)}, none below 0")
            if not all(b >= a for a, b in pairwise(row)):
                raise ValueError("margins must rise with the level")

    def sealed(self) -> "Calibration":
        """The same with its hash."""
        return replace(self, seal=self._hash())

    def check_seal(self, where: str) -> None:
        """ValueError where the numbers are not those that were fitted."""
        if self.seal != self._hash():
            raise ValueError(
                f"{where}: the calibration was altered after it was fitted; fit it anew: edgewise calibrate"
            )

    def _hash(self) -> str:
        values = asdict(self)
        del values["seal"]
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def spread(
        self, std: Float[np.ndarray, "M 4"], boxes_xyxy: Float[np.ndarray, "M 4"]
    ) -> Float[np.ndarray, "M 4"]:
        """Calibrated standard deviations in pixels, from those of the distributions at `temperature`."""
        side = np.sqrt(area(boxes_xyxy))[:, None]
        spread: np.ndarray = np.hypot(np.array(self.scale) * std, np.array(self.floor) * side)
        return spread.astype(std.dtype)

    def describe(self) -> str:
        """What was fitted and on what, a line each."""

        def row(values: Iterable[float]) -> str:
            return " ".join(f"{one:.2f}" for one in values)

        lines = [
            f"left, top, right, bottom: temperature {row(self.temperature)}; spread times {row(self.scale)}, "
            f"at least {row(100 * one for one in self.floor)} % of the root of the area",
            f"spreads to either side that hold 90 %: {row(self.edge_margins(0.9))}; "
            f"all four edges {self.joint_margin(0.9):.2f}",
        ]
        if self.score is not None:
            shown = np.array([0.3, 0.5, 0.7, 0.9])
            scores = zip(shown.tolist(), self.score.apply(shown).tolist(), strict=True)
            lines.append("scores: " + ", ".join(f"{raw} → {right:.2f}" for raw, right in scores))
        source = self.source
        lines.append(
            f"from {source.pairs:,} matched detections in {source.images:,} images of {source.split}, "
            f"{source.date}"
        )
        return "\n".join(lines)

    def edge_margins(self, level: float) -> Float[np.ndarray, " 4"]:
        """Spreads to either side of each edge that hold it with probability `level`."""
        return np.array([_margin(row, level) for row in self.margins])

    def joint_margin(self, level: float) -> float:
        """Spreads to either side of every edge that hold all four with probability `level`."""
        return _margin(self.joint, level)


def _margin(row: Row, level: float) -> float:
    """That of the first tabulated level which is at least `level`."""
    check_level(level)
    place = int(np.searchsorted(LEVELS, level - 1e-9))
    return row[place] if place < len(row) else INFINITE


def _as_floats(record: object, *names: str) -> None:
    """Makes floats of the numbers in these fields of a frozen record: 1 and 1.0 have one hash."""
    for name in names:
        object.__setattr__(record, name, _floats(getattr(record, name)))


def _floats(values: Iterable[Real | Row] | Real) -> Any:
    return tuple(map(_floats, values)) if isinstance(values, Iterable) else float(values)
