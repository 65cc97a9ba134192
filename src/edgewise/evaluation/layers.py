"""What each decoder layer is worth: quality over time for fewer layers, fewer queries, and a dynamic exit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from math import isnan, nan
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from edgewise.calibration import Calibration
from edgewise.detections import Detections
from edgewise.evaluation.calibration.metrics import spearman
from edgewise.evaluation.calibration.pairs import Collector, EdgePairs
from edgewise.evaluation.coco import coco_metrics
from edgewise.evaluation.run import NO_ROWS, AnnotatedImages, categories_of, coco_rows, looked_at

Cut = tuple[int, int]  # layers, queries

MOST_LOST = 0.2  # points of AP that an operating point may cost
LEAST_SAVED = 0.1  # share of the decoder's time that it must save
LEVEL = 0.9  # at which coverage is reported
SHARES = tuple(i / 20 for i in range(1, 21))  # of images that leave early


@runtime_checkable
class Steps(Protocol):
    """One image with one number of queries, layer by layer."""

    @property
    def detections(self) -> Sequence[Detections]:
        """After each layer, with their edges."""

    @property
    def changes(self) -> Sequence[float]:
        """How much each layer but the first changed sure edges, in nats: what a limit is compared with."""


@runtime_checkable
class Times(Protocol):
    """Milliseconds for one image."""

    @property
    def maps(self) -> float:
        """All before the decoder."""

    @property
    def decoder(self) -> Mapping[Cut, float]:
        """Of each cut."""

    @property
    def first_exit(self) -> float:
        """The dynamic decoder that stops after the second layer."""

    @property
    def no_exit(self) -> float:
        """The dynamic decoder that never stops early."""


PredictSteps = Callable[[list[np.ndarray]], Sequence[Mapping[int, Steps]]]  # by number of queries, each


@dataclass(frozen=True)
class Point:
    """One way to run the detector, and what it gives.

    `ap`, `ap50`, `ap75` and `duplicates` as in `Metrics`; `decoder_ms` and `whole_ms` for one image; `saved`:
    share of the whole decoder's time; `lost`: points of AP, its hundredths. `rank_correlation`: Spearman's,
    of spread and error of matched edges; `coverage` and `joint_coverage`: of calibrated 90 % intervals, by
    edge and of all four; nan without a calibration. A dynamic exit has its limit in nats as `exit`, as
    `layers` the mean that ran, as time that of its images, and no numbers of its own for honesty.
    """

    layers: float
    queries: int
    exit: float
    ap: float
    ap50: float
    ap75: float
    duplicates: float
    decoder_ms: float
    whole_ms: float
    saved: float
    lost: float
    rank_correlation: float = nan
    coverage: float = nan
    joint_coverage: float = nan

    @property
    def call(self) -> str:
        """How to get it."""
        if self.exit:
            return f"detector.at(exit={self.exit:.3g})"
        return f"detector.at(layers={self.layers:.0f}, queries={self.queries})"

    def gentler(self, other: "Point") -> bool:
        """Whether it cuts no more than `other` in any way: a lower limit, or as many layers and queries."""
        if self.exit or other.exit:
            return self.exit <= other.exit
        return self.layers >= other.layers and self.queries >= other.queries


def cheap(points: Sequence[Point]) -> list[Point]:
    """Those that lose little, as every gentler one does too: otherwise it is luck.

    What finds nothing at all has nothing to lose, and is left out.
    """
    return [
        one
        for one in points
        if one.ap > 0 and all(other.lost <= MOST_LOST for other in points if other.gentler(one))
    ]


def recommended(points: Sequence[Point]) -> Point | None:
    """The cheap one that saves most, if that is enough; None where none does."""
    enough = (one for one in cheap(points) if one.saved >= LEAST_SAVED)
    return max(enough, key=lambda one: one.saved, default=None)


@dataclass(frozen=True)
class Profile:
    """`cuts`: every number of layers and of queries; `exits`: dynamic ones, by rising limit."""

    cuts: tuple[Point, ...]
    exits: tuple[Point, ...]
    images: int
    facts: dict[str, Any]

    @property
    def whole(self) -> Point:
        """The detector as it is."""
        return max(self.cuts, key=lambda one: (one.layers, one.queries))

    @property
    def verdicts(self) -> dict[str, str]:
        """By kind, the call that is recommended and what it gives, or why none is."""
        return {"fewer layers or queries": verdict(self.cuts), "dynamic exit": verdict(self.exits)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values ready for JSON; None where undefined, and where nothing is recommended."""
        found = {"cut": recommended(self.cuts), "exit": recommended(self.exits)}
        return {
            **self.facts,
            "images": self.images,
            "rule": f"at most {MOST_LOST} points of AP lost, at least {LEAST_SAVED:.0%} of decoder saved",
            "recommended": {kind: None if one is None else _plain(one) for kind, one in found.items()},
            "verdicts": self.verdicts,
            "cuts": [_plain(one) for one in self.cuts],
            "exits": [_plain(one) for one in self.exits],
        }


def verdict(points: Sequence[Point]) -> str:
    """What is recommended of them and what it gives, or why nothing is."""
    best = recommended(points)
    if best is not None:
        return (
            f"{best.call} saves {best.saved:.0%} of the decoder's time and loses {best.lost:.2f} points of AP"
        )
    saved = max((one.saved for one in cheap(points)), default=0.0)
    if not points:
        reason = "there are too few layers to stop between"
    elif not any(one.ap > 0 for one in points):
        reason = "nothing was found, so there is nothing to lose"
    elif saved <= 0:
        reason = f"everything that saves time loses more than {MOST_LOST} points of AP"
    else:
        reason = (
            f"within {MOST_LOST} points of AP it saves {saved:.1%} of the decoder's time at most, "
            f"less than {LEAST_SAVED:.0%}"
        )
    return f"not recommended: {reason}"


def _plain(one: Point) -> dict[str, Any]:
    values = {key: None if isnan(value) else value for key, value in asdict(one).items()}
    return {"call": one.call, **values}


def profile(
    dataset: AnnotatedImages,
    predict: PredictSteps,
    times: Times,
    threshold: Float[np.ndarray, " C"],
    *,
    calibration: Calibration | None = None,
    batch: int = 8,
    progress: bool = False,
    facts: dict[str, Any] | None = None,
) -> Profile:
    """Quality and time of every cut and of dynamic exits, from one pass over the images of `dataset`.

    `predict` gives every image's Steps for the numbers of queries of `times`. A matched pair scores at least
    `threshold` [C], by the dataset's label. `calibration` is the one the detections have. `facts` are kept.
    """
    cuts = list(times.decoder)
    rows: dict[Cut, list[np.ndarray]] = {cut: [] for cut in cuts}
    collectors = {cut: Collector(dataset, threshold) for cut in cuts}
    layers, most = max(cuts)
    changes = []
    for sample, steps in looked_at(dataset, predict, "profiling", batch=batch, progress=progress):
        for cut in cuts:
            found = steps[cut[1]].detections[cut[0] - 1]
            rows[cut].append(coco_rows(found, sample.image_id, categories_of(found.class_names, dataset)))
            collectors[cut].add(sample, found)
        changes.append(steps[most].changes)
    checked = np.array(changes)[:, :-1]  # after the last layer there is nothing to skip
    best = coco_metrics(dataset.annotations, np.concatenate(rows[max(cuts)])).ap

    def point(layers: float, queries: int, exit: float, ms: float, found: list[np.ndarray]) -> Point:
        metrics = coco_metrics(dataset.annotations, np.concatenate([NO_ROWS, *found]))
        return Point(
            layers=layers,
            queries=queries,
            exit=exit,
            ap=metrics.ap,
            ap50=metrics.ap50,
            ap75=metrics.ap75,
            duplicates=metrics.duplicate_rate,
            decoder_ms=ms,
            whole_ms=times.maps + ms,
            saved=1 - ms / times.decoder[max(cuts)],
            lost=100 * (best - metrics.ap),
        )

    static = (
        replace(
            point(float(cut[0]), cut[1], 0.0, times.decoder[cut], rows[cut]),
            **honesty(collectors[cut].outcome().pairs, calibration),
        )
        for cut in cuts
    )
    dynamic = []
    for limit in limits(checked):
        ran = exit_layers(checked, limit)
        parts = [rows[layer, most][image] for image, layer in enumerate(ran.tolist())]
        dynamic.append(point(float(ran.mean()), most, limit, exit_ms(times, ran, layers), parts))
    return Profile(tuple(static), tuple(dynamic), len(dataset), facts or {})


def limits(changes: Float[np.ndarray, "I K"]) -> list[float]:
    """Rising limits of two digits that let about `SHARES` of the images leave early; none without checks."""
    if not changes.size:
        return []
    levels = np.quantile(changes.min(1), SHARES)
    return sorted({_two_digits_up(level) for level in levels.tolist()})


def _two_digits_up(value: float) -> float:
    """The next number of two significant digits above `value`."""
    if value <= 0:
        return 1e-6
    unit = Decimal(value).adjusted() - 1
    return float((Decimal(value).scaleb(-unit).to_integral_value(ROUND_FLOOR) + 1).scaleb(unit))


def exit_layers(changes: Float[np.ndarray, "I K"], limit: float) -> Int[np.ndarray, " I"]:
    """After which layer each image stops: `changes[:, k]`, those of layer k + 2, stay below `limit`."""
    small = np.column_stack([changes < limit, np.ones(len(changes), np.bool_)])
    ran: np.ndarray = small.argmax(1) + 2
    return ran


def exit_ms(times: Times, ran: Int[np.ndarray, " I"], layers: int) -> float:
    """What the dynamic decoder takes on average for images that `ran` so many of its `layers`."""
    step = (times.no_exit - times.first_exit) / (layers - 2)
    return times.first_exit + step * float(ran.mean() - 2)


def honesty(pairs: EdgePairs, calibration: Calibration | None) -> dict[str, Any]:
    """Rank correlation of spread and error, and what the calibrated intervals cover; see `Point`."""
    found = {"rank_correlation": spearman(pairs.spread.ravel(), np.abs(pairs.errors).ravel())}
    if calibration is not None and len(pairs):
        ratio = np.abs(pairs.errors) / np.maximum(pairs.spread, 1e-6)
        found["coverage"] = float((ratio <= calibration.edge_margins(LEVEL)).mean())
        found["joint_coverage"] = float((ratio.max(1) <= calibration.joint_margin(LEVEL)).mean())
    return found
