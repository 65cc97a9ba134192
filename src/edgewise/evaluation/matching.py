"""Which detection found which box, by COCO's rule: what curves, confusion and gallery count."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from edgewise.overlaps import area, common


@dataclass(frozen=True)
class Truth:
    """The annotated boxes of one image in COCO's (x, y, w, h) pixels, with labels; `crowd` marks regions.

    A crowd region need not be found, and detections inside it are neither right nor wrong.
    """

    boxes_xywh: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]


NO_TRUTH = Truth(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.bool_))


def to_xywh(boxes_xyxy: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
    """COCO's (x, y, w, h)."""
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], 1)


def to_xyxy(boxes_xywh: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
    """Left, top, right, bottom, from COCO's (x, y, w, h)."""
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], 1)


def truths(boxes: Iterable[dict[str, Any]]) -> dict[int, Truth]:
    """Truth by image_id, for images that have any, from COCO annotations whose category_id is the label."""
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for box in boxes:
        by_image[box["image_id"]].append(box)
    return {
        image_id: Truth(
            np.array([one["bbox"] for one in group], np.float64),
            np.array([one["category_id"] for one in group], np.int64),
            np.array([bool(one["iscrowd"]) for one in group]),
        )
        for image_id, group in by_image.items()
    }


def match(
    boxes_xywh: Float[np.ndarray, "M 4"], labels: Int[np.ndarray, " M"], truth: Truth, iou: float = 0.5
) -> Int[np.ndarray, " M"]:
    """For each detection the box it found, as an index into `truth`; -1 where it found none.

    Detections come best first within a class. Each takes the free box of its class that it overlaps most,
    if by at least `iou`; of equals the last, as COCO's evaluator does; failing that a crowd region, which
    is never used up. Since a better detection never yields to a worse one, cutting the list at any score
    leaves the matches above the cut as they are.
    """
    found = np.full(len(boxes_xywh), -1)
    if not len(truth.labels):
        return found
    overlap = _overlap(boxes_xywh, truth)
    possible = (labels[:, None] == truth.labels) & (overlap >= iou)
    preference = np.where(possible, overlap - 2.0 * truth.crowd, -np.inf)  # any free box before any crowd
    for index in np.flatnonzero(possible.any(1)):
        best = len(truth.labels) - 1 - int(preference[index, ::-1].argmax())
        if preference[index, best] > -np.inf:
            found[index] = best
            if not truth.crowd[best]:
                preference[:, best] = -np.inf
    return found


def duplicate_rate(rows: Float[np.ndarray, "M 7"], threshold: float, iou: float = 0.7) -> float:
    """The share of detections scored at least `threshold` that repeat a better one.

    A detection repeats one of its image and class if they overlap by at least `iou`. Rows are image, x, y,
    w, h, score, label. nan where no score reaches the threshold.
    """
    kept = rows[rows[:, 5] >= threshold]
    kept = kept[np.lexsort((-kept[:, 5], kept[:, 0]))]
    repeats = 0
    for one in np.split(kept, np.flatnonzero(np.diff(kept[:, 0])) + 1):
        truth = Truth(one[:, 1:5], one[:, 6].astype(np.int64), np.zeros(len(one), np.bool_))
        alike = (_overlap(one[:, 1:5], truth) >= iou) & (one[:, 6, None] == one[:, 6])
        repeats += int(np.tril(alike, -1).any(1).sum())  # row i, column j: j is better than i
    return repeats / len(kept) if len(kept) else nan


def _overlap(boxes: Float[np.ndarray, "M 4"], truth: Truth) -> Float[np.ndarray, "M n"]:
    """IoU; for a crowd region the share of the detection inside it. 0 where there is no area to share."""
    found, wanted = to_xyxy(boxes)[:, None], to_xyxy(truth.boxes_xywh)
    inter = area(common(found, wanted))  # [M, n]
    own = boxes[:, 2:].prod(-1)[:, None]  # width · height, to the bit as COCO's evaluator has it
    union = np.where(truth.crowd, own, own + truth.boxes_xywh[:, 2:].prod(-1) - inter)
    overlap: np.ndarray = np.divide(inter, union, out=np.zeros_like(inter), where=inter > 0)
    return overlap
