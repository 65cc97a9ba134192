"""Precision, recall and F1 at every score threshold, from which detections found a box at IoU 0.5."""

from dataclasses import dataclass
from math import nan

import numpy as np
from jaxtyping import Bool, Float, Int

from edgewise.evaluation.matching import NO_TRUTH, Truth, match

THRESHOLDS = np.arange(1001) / 1000  # where a curve is sampled
MAX_DETECTIONS = 100  # of one class in one image: COCO scores no more


def judged(
    truth: dict[int, Truth], rows: Float[np.ndarray, "M 7"]
) -> tuple[Int[np.ndarray, " K"], Float[np.ndarray, " K"], Bool[np.ndarray, " K"]]:
    """Label, score and whether it found a box (IoU 0.5), of every detection that COCO scores.

    Rows are image, x, y, w, h, score, label; `truth` goes by image. Left out are detections beyond the
    best 100 of a class in an image, and those that only found a crowd.
    """
    image, label, score = rows[:, 0].astype(np.int64), rows[:, 6].astype(np.int64), rows[:, 5]
    order = np.lexsort((-score, label, image))
    new = np.diff(image[order], prepend=-1).astype(bool) | np.diff(label[order], prepend=-1).astype(bool)
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    order = order[np.arange(len(order)) - first < MAX_DETECTIONS]

    kept, right = [], []
    for rows_of_image in np.split(order, np.flatnonzero(np.diff(image[order])) + 1):
        one = truth.get(int(image[rows_of_image[0]]), NO_TRUTH) if len(rows_of_image) else NO_TRUTH
        found = match(rows[rows_of_image, 1:5], label[rows_of_image], one)
        in_crowd = np.append(one.crowd, False)[found]  # -1 reads the appended
        kept.append(rows_of_image[~in_crowd])
        right.append(found[~in_crowd] >= 0)
    index = np.concatenate(kept)
    return label[index], score[index], np.concatenate(right)


@dataclass(frozen=True, eq=False)
class ThresholdCurves:
    """What is right about the detections of a class that score at least each of `THRESHOLDS`.

    `precision`: the share of them that found a box, nan where there are none; `recall`: the share of boxes
    they found; `f1`: 2·TP / (detections + boxes), the harmonic mean of both. All nan without boxes.
    """

    precision: Float[np.ndarray, " 1001"]
    recall: Float[np.ndarray, " 1001"]
    f1: Float[np.ndarray, " 1001"]


def threshold_curves(
    scores: Float[np.ndarray, " K"], right: Bool[np.ndarray, " K"], count: int
) -> ThresholdCurves:
    """The curves of detections, `right` saying which of them found one of the `count` boxes."""
    if not count:
        undefined = np.full(len(THRESHOLDS), nan)
        return ThresholdCurves(undefined, undefined, undefined)
    hits, shown = _at_least(scores[right]), _at_least(scores)
    precision = np.divide(hits, shown, out=np.full(len(THRESHOLDS), nan), where=shown > 0)
    return ThresholdCurves(precision, hits / count, 2 * hits / (shown + count))


def _at_least(scores: Float[np.ndarray, " K"]) -> Int[np.ndarray, " 1001"]:
    """How many scores reach each of `THRESHOLDS`."""
    return len(scores) - np.searchsorted(np.sort(scores), THRESHOLDS, side="left")


def peak(f1: Float[np.ndarray, " 1001"]) -> tuple[float, float]:
    """The highest F1 and its threshold, of equals the middle one.

    nan where F1 is undefined; a threshold of nan where none gives more than 0.
    """
    highest = float(f1.max())
    if not highest > 0:
        return highest, nan
    best = np.flatnonzero(f1 == highest)
    return highest, float(THRESHOLDS[best[len(best) // 2]])
