"""What is right and wrong in each image at a score threshold: what the confusion and the gallery show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from edgewise.detections import Detections
from edgewise.evaluation.matching import NO_TRUTH, Truth, match, to_xywh
from edgewise.evaluation.run import AnnotatedImages, labels_of, truths_of


@dataclass(frozen=True, eq=False)
class ImageErrors:
    """What went wrong in the image `index` of a dataset, at IoU 0.5 and a score threshold.

    `detections` are those that reach the threshold; `labels` are theirs in the dataset's order of classes.
    `false`: those that found no box of their class; `missed`: the boxes of `truth` that were not found. An
    object found under the wrong class counts as both. Crowd regions and what lies in them are no errors.
    """

    index: int
    truth: Truth
    detections: Detections
    labels: Int[np.ndarray, " M"]
    missed: Bool[np.ndarray, " n"]
    false: Bool[np.ndarray, " M"]

    @property
    def found(self) -> Bool[np.ndarray, " n"]:
        """The boxes of `truth` that a detection of their class found."""
        found: np.ndarray = ~self.missed & ~self.truth.crowd
        return found

    @property
    def count(self) -> int:
        """Missed and false together: what the gallery ranks images by."""
        return int(self.missed.sum() + self.false.sum())


def image_errors(
    dataset: AnnotatedImages, detections: Sequence[Detections], threshold: float = 0.5
) -> list[ImageErrors]:
    """One entry an image, in the dataset's order. No image is read.

    `detections` holds one entry an image, as `Evaluation` does; only those with a score of at least
    `threshold` count (`Metrics.best_threshold` is a good one).
    """
    if len(detections) != len(dataset):
        raise ValueError(
            f"{len(detections)} detections for {len(dataset)} images; expected one entry an image, "
            "as in Evaluation.detections"
        )
    truth, errors = truths_of(dataset), []
    for index, (image_id, one) in enumerate(zip(dataset.image_ids, detections, strict=True)):
        to_label = labels_of(one.class_names, dataset)
        errors.append(_errors(index, truth.get(image_id, NO_TRUTH), one.filter(threshold), to_label))
    return errors


def _errors(index: int, truth: Truth, detections: Detections, to_label: np.ndarray) -> ImageErrors:
    labels = to_label[detections.labels]
    found = match(to_xywh(detections.boxes_xyxy), labels, truth)
    missed = ~truth.crowd
    missed[found[found >= 0]] = False
    return ImageErrors(index, truth, detections, labels, missed, found < 0)
