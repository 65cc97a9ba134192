"""Two lists of Detections of the same images, box by box: what differs, and whether it may."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from edgewise.artifact import Precision
from edgewise.detections import Detections
from edgewise.overlaps import pairwise_iou

BORDER = 0.1  # at most this share of the detections may come and go at the end of the ranking
SURE = 0.5  # the score of a sure detection
OVERLAP = 0.5  # the IoU of two that are of one object


@dataclass(frozen=True)
class Alike:
    """How far the sure detections of an artifact may be from its checkpoint's, all in all.

    `share` of them must be found again, and of the queries be the checkpoint's; `median_px` is for the median
    of the edges' distances, `shift_px` for the medians of how far left edges lie to the right, top edges down
    and so on: rounding is as often one way as the other. In pixels of the model's input, since rounding is of
    what the model sees.
    """

    share: float
    median_px: float
    shift_px: float


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from its checkpoint: pixels of the original image, scores, points of AP.

    `box_px_999` is what 99.9 % of the edges must stay below, `box_px` all of them.
    `inner` tensors that differ by less, in root mean squares, do not explain what is out of tolerance.
    With `alike` detections need not be the checkpoint's one by one: then the others are about images in
    batches against each by itself, all by the artifact, and AP may be better.
    """

    box_px: float = 0.05
    box_px_999: float = 0.05
    edge_std_px: float = 0.05
    score: float = 5e-4
    ap: float = 0.002
    inner: float = 1e-3  # rounding of 32 bits stays a hundred times below
    alike: Alike | None = None


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(),
    "fp16": Tolerance(box_px=4.0, box_px_999=1.0, edge_std_px=2.0, score=0.02, inner=0.5),
    "int8": Tolerance(ap=0.005, inner=3.0, alike=Alike(share=0.9, median_px=0.5, shift_px=0.3)),
}
"""By the precision of the weights."""


@dataclass(frozen=True)
class Check:
    """How far the detections of some images are from the checkpoint's.

    `pairs` were matched; `missing` have no counterpart of their class; `border` are apart, but lie at the end
    of the ranking, whose last place is a matter of rounding. Differences are the greatest of all pairs;
    `box_px_999` is what 99.9 % of the edges stay below. `faults` says what is out of tolerance.
    """

    what: str
    images: int
    pairs: int
    box_px: float
    box_px_999: float
    score: float
    edge_std_px: float
    missing: int
    border: int
    faults: tuple[str, ...]


def check(
    what: str, expected: Sequence[Detections], found: Sequence[Detections], tolerance: Tolerance
) -> Check:
    """Compares what the artifact `found` in some images with what the checkpoint did."""
    parts = [_differences(one, other, tolerance) for one, other in zip(expected, found, strict=True)]
    boxes, scores, spreads = (np.concatenate([part[i] for part in parts]) for i in range(3))
    missing, border = sum(part[3] for part in parts), sum(part[4] for part in parts)
    total = sum(map(len, expected))
    greatest = {
        "box_px": boxes.max(initial=0.0),
        "score": scores.max(initial=0.0),
        "edge_std_px": spreads.max(initial=0.0),
    }
    faults = [
        f"{_WORDS[name]} differ by up to {value:.3g}{unit}, at most {getattr(tolerance, name):g} is allowed"
        for (name, value), unit in zip(greatest.items(), (" px", "", " px"), strict=True)
        if not value <= getattr(tolerance, name)
    ]
    most = float(np.quantile(boxes, 0.999)) if boxes.size else 0.0
    if not most <= tolerance.box_px_999 and greatest["box_px"] <= tolerance.box_px:
        faults.append(
            f"99.9 % of boxes differ by up to {most:.3g} px, at most {tolerance.box_px_999:g} is allowed"
        )
    if missing:
        faults.append(f"{missing} of {total} detections have no counterpart of their class")
    if border > BORDER * total:
        faults.append(f"{border} of {total} detections come and go with rounding")
    return Check(
        what=what,
        images=len(expected),
        pairs=len(scores),
        **{name: float(value) for name, value in greatest.items()},
        box_px_999=most,
        missing=missing,
        border=border,
        faults=tuple(faults),
    )


@dataclass(frozen=True)
class Likeness:
    """How the `sure` detections of the checkpoint come out of the artifact, as `Alike` says it.

    `score` is the median of the differences.
    """

    what: str
    images: int
    sure: int
    share: float
    median_px: float
    shift_px: float
    score: float
    faults: tuple[str, ...]


def likeness(
    what: str,
    expected: Sequence[Detections],
    found: Sequence[Detections],
    size: tuple[int, int],
    limits: Alike,
) -> Likeness:
    """Compares what the artifact `found` with what the checkpoint is sure of; `size` is the model's input."""
    apart, scores, sure = [np.zeros((0, 4))], [np.zeros(0)], 0
    for one, other in zip(expected, found, strict=True):
        one = one.filter(SURE)
        sure += len(one)
        overlap = pairwise_iou(one.boxes_xyxy, other.boxes_xyxy)
        overlap[one.labels[:, None] != other.labels[None]] = 0
        if not overlap.size:
            continue
        rows = np.flatnonzero(overlap.max(1) >= OVERLAP)
        partner = overlap.argmax(1)[rows]
        scale = np.tile(np.array(size[::-1]) / one.size[::-1], 2)
        apart.append((other.boxes_xyxy[partner] - one.boxes_xyxy[rows]) * scale)
        scores.append(np.abs(other.scores[partner] - one.scores[rows]))
    edges, score = np.concatenate(apart), np.concatenate(scores)
    share = len(edges) / sure if sure else 1.0
    if not len(edges):
        edges, score = np.zeros((1, 4)), np.zeros(1)
    values = {
        "share": share,
        "median_px": float(np.median(np.abs(edges))),
        "shift_px": float(np.abs(np.median(edges, 0)).max()),
    }
    faults = []
    if not values["share"] >= limits.share:
        faults.append(
            f"of {sure} detections that score {SURE} only {values['share']:.1%} are found again, at least "
            f"{limits.share:.0%} are expected"
        )
    if not values["median_px"] <= limits.median_px:
        faults.append(
            f"their edges are off by {values['median_px']:.3g} px of the model's input in the median, at "
            f"most {limits.median_px:g} is allowed"
        )
    if not values["shift_px"] <= limits.shift_px:
        faults.append(
            f"their edges are shifted by {values['shift_px']:.3g} px of the model's input in the median, at "
            f"most {limits.shift_px:g} is allowed"
        )
    return Likeness(what, len(expected), sure, **values, score=float(np.median(score)), faults=tuple(faults))


_WORDS = {"box_px": "boxes", "score": "scores", "edge_std_px": "edge_std"}

Differences = tuple[Float[np.ndarray, "M 4"], Float[np.ndarray, " M"], Float[np.ndarray, "M 4"], int, int]


def _differences(expected: Detections, found: Detections, tolerance: Tolerance) -> Differences:
    """Of boxes, scores and edge_std of the pairs; how many are missing; how many are at the border."""
    own, other = match(expected, found, tolerance)
    boxes = np.abs(expected.boxes_xyxy[own] - found.boxes_xyxy[other])
    scores = np.abs(expected.scores[own] - found.scores[other])
    spreads = np.abs(expected.edge_std[own] - found.edge_std[other])
    if not (len(expected) and len(found)):
        return boxes, scores, spreads, max(len(expected), len(found)), 0
    last = min(expected.scores[-1], found.scores[-1]) + 2 * tolerance.score
    ends = (expected.scores[own] <= last) & (found.scores[other] <= last)
    near = (
        (boxes <= tolerance.box_px).all(1)
        & (scores <= tolerance.score)
        & (spreads <= tolerance.edge_std_px).all(1)
    )
    excused = ends & ~near
    lonely = np.concatenate(
        [np.delete(expected.scores, own), np.delete(found.scores, other)]
    )  # those without a partner
    border, missing = int((lonely <= last).sum()), int((lonely > last).sum())
    kept = ~excused
    return boxes[kept], scores[kept], spreads[kept], missing, border + int(excused.sum())


def match(
    expected: Detections, found: Detections, tolerance: Tolerance
) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """Pairs of one class, the nearest first: rows of `expected` and of `found`.

    Rankings are not compared, since equal scores may swap their places.
    """
    far = np.abs(expected.boxes_xyxy[:, None] - found.boxes_xyxy[None]).max(-1) / tolerance.box_px
    far += np.abs(expected.scores[:, None] - found.scores[None]) / tolerance.score
    far[expected.labels[:, None] != found.labels[None]] = np.inf
    rows, columns = np.unravel_index(np.argsort(far, axis=None, kind="stable"), far.shape)
    free_rows, free_columns = np.ones(len(expected), bool), np.ones(len(found), bool)
    pairs = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if free_rows[row] and free_columns[column]:
            if not np.isfinite(far[row, column]):
                break
            free_rows[row] = free_columns[column] = False
            pairs.append((row, column))
            if len(pairs) == min(far.shape):
                break
    own, other = np.array(pairs, np.int64).reshape(-1, 2).T
    return own, other
