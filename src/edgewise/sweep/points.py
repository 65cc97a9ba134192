"""What can be turned, which points are worth measuring, and which of them to take."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from edgewise.optimize import Fast
from edgewise.runtime.bench import Time
from edgewise.sizes import STRIDE

EngineName = Literal["eager", "torch", "openvino"]

SCALES = (1.0, 0.75, 0.5, 1.25)  # of the sides of an image; its own first
WITHIN = 0.5  # points of AP that the recommended point may lose
UNSURE = 0.05  # by which share an estimated time may be wrong
HOPELESS = 10.0  # points of AP; what loses more is not timed in combination


@dataclass(frozen=True, order=True)
class Cut:
    """What of a checkpoint runs: `size` is (height, width) of its input."""

    checkpoint: str
    size: tuple[int, int]
    layers: int
    queries: int

    def __str__(self) -> str:
        height, width = self.size
        return f"{self.checkpoint} {height}x{width}, {self.layers} layers, {self.queries} queries"


@dataclass(frozen=True, order=True)
class Way:
    """What computes it. "eager" is torch as `Detector.from_pretrained` gives it."""

    engine: EngineName
    precision: Fast

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


EAGER = Way("eager", "fp32")
WAYS = (EAGER, *(Way(engine, kind) for engine in ("torch", "openvino") for kind in ("fp32", "bf16")))


@dataclass(frozen=True, order=True)
class Setting:
    """A cut and its way: a point before anything is known of it."""

    cut: Cut
    way: Way

    def __str__(self) -> str:
        return f"{self.cut}, {self.way}"


@dataclass(frozen=True)
class Point:
    """What was measured: AP in [0, 1], and the times of one image; None for what was not.

    `engine` is the forward pass, `whole` from pixels in memory to Detections.
    """

    setting: Setting
    ap: float | None
    engine: Time | None
    whole: Time | None

    @property
    def ms(self) -> float:
        """Milliseconds of the whole way; nan where not timed."""
        return math.nan if self.whole is None else self.whole.median

    @property
    def points(self) -> float:
        """Points of AP, its hundredths; nan where not evaluated."""
        return math.nan if self.ap is None else 100 * self.ap


# ── what can be turned ─────────────────────────────────────────────────────────────────────────────────


def sizes(own: tuple[int, int]) -> list[tuple[int, int]]:
    """`own` times `SCALES`, in multiples of 32 that come nearest to its aspect; none twice, `own` first."""
    return list(dict.fromkeys(_scaled(own, scale) for scale in SCALES))


def _scaled(own: tuple[int, int], scale: float) -> tuple[int, int]:
    """Of the multiples of 32 around the scaled sides those of the best aspect, then of the nearest area."""
    height, width = (scale * side for side in own)

    def miss(size: tuple[int, int]) -> tuple[float, float]:
        tall, wide = math.log(size[0] / height), math.log(size[1] / width)
        return round(abs(wide - tall), 6), abs(wide + tall)

    return min(product(_around(height), _around(width)), key=miss)


def _around(side: float) -> list[int]:
    """The multiples of 32 below and above."""
    return [max(1, whole) * STRIDE for whole in (math.floor(side / STRIDE), math.ceil(side / STRIDE))]


def numbers_of_queries(own: int) -> list[int]:
    """All, two thirds, a third and a sixth of them."""
    return sorted({max(1, round(own * share)) for share in (1, 2 / 3, 1 / 3, 1 / 6)}, reverse=True)


def singles(base: Cut, sizes: Sequence[tuple[int, int]], queries: Sequence[int]) -> list[Cut]:
    """The cuts that differ from `base` in one thing."""
    found = [replace(base, size=one) for one in sizes]
    found += [replace(base, layers=one) for one in range(base.layers - 1, 0, -1)]
    found += [replace(base, queries=one) for one in queries]
    return [one for one in found if one != base]


def worth_timing(ap: Mapping[Cut, float], ms: Mapping[Cut, float], bases: Mapping[str, Cut]) -> list[Cut]:
    """Those cuts without a time that may be on the front, fastest first.

    `ap` is of all cuts, `ms` of each base and of what differs from it in one thing. The others are estimated:
    the base's time and the ratios of what each change alone makes of it, multiplied. A cut is left out that
    loses more than `HOPELESS` points, or if another finds as much in less time, by more than `UNSURE`.
    """
    guesses = {cut: _estimate(cut, bases[cut.checkpoint], ms) for cut in ap}
    about = {cut: ms.get(cut, guess) for cut, guess in guesses.items()}
    least = max(ap.values(), default=0.0) - HOPELESS / 100
    found = [
        cut
        for cut in ap
        if cut not in ms
        and about[cut] < math.inf
        and ap[cut] >= least
        and not any(ap[one] >= ap[cut] and about[one] < (1 - UNSURE) * about[cut] for one in ap)
    ]
    return sorted(found, key=lambda cut: about[cut])


def _estimate(cut: Cut, base: Cut, ms: Mapping[Cut, float]) -> float:
    """Infinite where a change alone has no time."""
    changes = ({"size": cut.size}, {"layers": cut.layers}, {"queries": cut.queries})
    ratios = (ms.get(replace(base, **change), math.inf) / ms[base] for change in changes)
    return ms[base] * math.prod(ratios)


# ── which to take ──────────────────────────────────────────────────────────────────────────────────────


def front(points: Sequence[Point]) -> list[Point]:
    """The points that none finds as much as in less time, fastest first; without those that lack a number."""
    known = [one for one in points if not math.isnan(one.ms + one.points)]
    found: list[Point] = []
    for one in sorted(known, key=lambda one: (one.ms, -one.points)):
        if not found or one.points > found[-1].points:
            found.append(one)
    return found


def recommended(along: Sequence[Point]) -> Point | None:
    """Of a front the fastest that loses at most `WITHIN` points of AP of the best; None of an empty one."""
    return next((one for one in along if one.points >= along[-1].points - WITHIN), None)
