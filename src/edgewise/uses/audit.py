"""Which annotations are wrong: those improbable for a detector whose error bars say what it can see."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from edgewise.detections import Detections
from edgewise.edges import EDGES
from edgewise.evaluation.matching import to_xyxy
from edgewise.evaluation.run import AnnotatedImages, Predict, labels_of, looked_at, truths_of
from edgewise.overlaps import area, common, pairwise_iou
from edgewise.sample import Sample
from edgewise.uses.improbable import CAUSES, improbability

LEAST_IOU = 0.3  # of an annotated box with its detection: a shifted box still has one
LEAST_SCORE = 0.05  # the model's own, of such a detection: a weak one that agrees speaks for an annotation
SAME_PLACE = 0.5  # IoU from which an annotation and a detection of another class are about one object

Box = tuple[float, float, float, float]  # left, top, right, bottom
Kind = Literal["class", "unannotated", "unseen", "double"]
KINDS: dict[Kind, str] = {
    "class": "annotated boxes that the detector takes for another class",
    "unannotated": "sure detections without an annotation near them",
    "unseen": "annotated boxes without a detection of their class near them",
    "double": "annotated boxes whose only detection is another box's: an object annotated twice",
}
"""What may be wrong with a whole box."""


@dataclass(frozen=True)
class Suspect:
    """An annotated box and what the detector says of it, in pixels of the original image.

    `probability` is that a right annotation looks so wrong, `cause` one of CAUSES, `marked` the edges it is
    about; `tails` are the probabilities of the edges, each alone.
    """

    image: int  # index into the data set
    box: int  # index into the boxes of its Sample
    label: int
    annotated: Box
    predicted: Box
    spread: Box  # standard deviations of the predicted edges
    score: float
    probability: float
    cause: str
    marked: tuple[bool, ...]
    tails: Box

    @property
    def worst(self) -> int:
        """The least probable edge."""
        return int(np.argmin(self.tails))

    def __str__(self) -> str:
        """«right edge: drawn 8.1 px right of where it is seen (±1.9 px)»."""
        edge = self.worst
        offset = self.annotated[edge] - self.predicted[edge]
        way = (("left of", "right of"), ("above", "below"))[edge % 2][int(offset > 0)]
        name = f"{EDGES[edge]} edge"
        cause = name if self.cause == name else f"{self.cause}, most the {name}"
        return f"{cause}: drawn {abs(offset):.1f} px {way} where it is seen (±{self.spread[edge]:.1f} px)"


@dataclass(frozen=True)
class Odd:
    """A whole box in doubt, for the reason that KINDS gives for its kind.

    `where` is the annotation, or the detection where there is none; `score` and `other`, its label, are the
    detection's. Labels are the data set's.
    """

    kind: Kind
    image: int
    box: int | None  # index into the boxes of its Sample
    label: int
    where: Box
    score: float | None = None
    other: int | None = None


@dataclass(frozen=True, eq=False)
class Audit:
    """Every annotated box that has a detection, the most improbable first, and whole boxes in doubt.

    `odd` goes by kind, in the order of KINDS, the surest first. `boxes` counts the annotated ones, `images`
    the images. Without a calibration, probabilities are a ranking and no more.
    """

    suspects: tuple[Suspect, ...]
    odd: tuple[Odd, ...]
    boxes: int
    images: int
    class_names: tuple[str, ...]
    calibrated: bool

    def by_chance(self, probability: float) -> float:
        """How many boxes as improbable as this there would be if every annotation was right."""
        return len(self.suspects) * probability

    @property
    def improbable(self) -> int:
        """How many of the first suspects chance alone hardly explains: less than one such box by chance."""
        return sum(self.by_chance(one.probability) < 1 for one in self.suspects)

    def __str__(self) -> str:
        """«961 of 967 boxes compared, 12 improbable; 3 class, 7 unannotated, 2 unseen, 0 double»."""
        counts = Counter(one.kind for one in self.odd)
        odd = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)
        return f"{len(self.suspects)} of {self.boxes} boxes compared, {self.improbable} improbable; {odd}"


def audit(
    dataset: AnnotatedImages,
    predict: Predict,
    threshold: float | Float[np.ndarray, " C"] = 0.5,
    *,
    batch: int = 8,
    progress: bool = False,
) -> Audit:
    """The annotations of `dataset` in the light of what `predict` finds in its images.

    `predict` should keep all detections; one is sure from `threshold` on: a number, or one a class by the
    predictor's labels. An annotated box is compared with the detection of its class that it
    overlaps most, by LEAST_IOU at least; a detection serves one box.

    ValueError where the classes of the two are not the same.
    """
    suspects: list[Suspect] = []
    odd: list[Odd] = []
    boxes, calibrated = 0, True
    crowds = _crowds(dataset)
    looks = looked_at(dataset, predict, "auditing", batch=batch, progress=progress)
    for index, (sample, every) in enumerate(looks):
        found = every[_own_scores(every) >= LEAST_SCORE]
        sure = found.scores >= np.broadcast_to(threshold, len(found.class_names))[found.labels]
        labels = labels_of(found.class_names, dataset)[found.labels]
        overlap = pairwise_iou(sample.boxes_xyxy, found.boxes_xyxy)  # [n, M]
        match = _matched(np.where(sample.labels[:, None] == labels, overlap, 0))
        suspects += _suspects(index, sample, found, match)
        odd += _odd(index, sample, found, labels, sure, overlap, match, crowds.get(sample.image_id))
        boxes += len(sample.labels)
        calibrated = calibrated and found.calibrated
    return Audit(
        tuple(sorted(suspects, key=lambda one: one.probability)),
        tuple(sorted(odd, key=_order)),
        boxes,
        len(dataset),
        dataset.class_names,
        calibrated,
    )


def _own_scores(found: Detections) -> Float[np.ndarray, " M"]:
    """Scores as the model gives them."""
    curve = None if found.calibration is None else found.calibration.score
    return found.scores if curve is None else curve.undo(found.scores)


def _crowds(dataset: AnnotatedImages) -> dict[int, Float[np.ndarray, "n 4"]]:
    """The crowd regions of each image that has any, by image id."""
    every = truths_of(dataset).items()
    return {image_id: to_xyxy(one.boxes_xywh[one.crowd]) for image_id, one in every if one.crowd.any()}


def _matched(overlap: Float[np.ndarray, "n M"]) -> Int[np.ndarray, " n"]:
    """For each annotated box its detection, -1 for none: the greatest overlaps first, each used once."""
    match = np.full(len(overlap), -1)
    free = np.where(overlap >= LEAST_IOU, overlap, 0)
    while free.size and free.max() > 0:
        box, detection = np.unravel_index(free.argmax(), free.shape)
        match[box] = detection
        free[box], free[:, detection] = 0, 0
    return match


def _suspects(index: int, sample: Sample, found: Detections, match: Int[np.ndarray, " n"]) -> list[Suspect]:
    """The compared boxes of one image."""
    boxes = np.flatnonzero(match >= 0)
    own = found[match[boxes]]
    annotated = sample.boxes_xyxy[boxes].astype(np.float64)
    said = improbability(annotated - own.boxes_xyxy, own.edge_std.astype(np.float64), found.calibration)
    rows = zip(
        boxes.tolist(),
        sample.labels[boxes].tolist(),
        *(array.tolist() for array in (annotated, own.boxes_xyxy, own.edge_std, own.scores)),
        said.probability.tolist(),
        said.cause.tolist(),
        said.edges.tolist(),
        said.tails.tolist(),
        strict=True,
    )
    return [
        Suspect(
            image=index,
            box=box,
            label=label,
            annotated=_box(corners),
            predicted=_box(predicted),
            spread=_box(spread),
            score=score,
            probability=probability,
            cause=CAUSES[cause],
            marked=tuple(edges),
            tails=_box(tails),
        )
        for box, label, corners, predicted, spread, score, probability, cause, edges, tails in rows
    ]


def _odd(
    index: int,
    sample: Sample,
    found: Detections,
    labels: Int[np.ndarray, " M"],
    sure: Bool[np.ndarray, " M"],
    overlap: Float[np.ndarray, "n M"],
    match: Int[np.ndarray, " n"],
    crowds: Float[np.ndarray, "c 4"] | None,
) -> list[Odd]:
    """Whole boxes in doubt in one image."""
    odd: list[Odd] = []
    near = overlap >= LEAST_IOU
    same = sample.labels[:, None] == labels
    believed = sure[match] & (match >= 0) if len(found) else match >= 0
    other = np.where(~same & sure & (overlap >= SAME_PLACE), found.scores, 0)  # [n, M]
    other[:, match[believed]] = 0  # they are about a neighbour
    for box in np.flatnonzero(~believed).tolist():
        kind: Kind
        if other[box].any():
            kind, best = "class", int(other[box].argmax())
        elif match[box] >= 0:
            continue
        else:
            kind, best = ("double" if (near & same)[box].any() else "unseen"), -1
        odd.append(
            Odd(
                kind=kind,
                image=index,
                box=box,
                label=int(sample.labels[box]),
                where=_box(sample.boxes_xyxy[box].tolist()),
                score=float(found.scores[best]) if best >= 0 else None,
                other=int(labels[best]) if best >= 0 else None,
            )
        )
    alone = sure & ~near.any(0)
    if crowds is not None:
        inside = area(common(crowds[:, None], found.boxes_xyxy))  # [c, M]
        alone &= (inside < area(found.boxes_xyxy) / 2).all(0)
    odd += [
        Odd(
            kind="unannotated",
            image=index,
            box=None,
            label=int(labels[row]),
            where=_box(found.boxes_xyxy[row].tolist()),
            score=float(found.scores[row]),
        )
        for row in np.flatnonzero(alone).tolist()
    ]
    return odd


def _order(one: Odd) -> tuple[int, float]:
    """By kind, then the surest detection or the largest annotation."""
    x1, y1, x2, y2 = one.where
    return list(KINDS).index(one.kind), -((x2 - x1) * (y2 - y1) if one.score is None else one.score)


def _box(values: list[float]) -> Box:
    left, top, right, bottom = values
    return left, top, right, bottom
