"""What a user gets, in numpy: nothing here imports torch, so a runtime without it can share this file."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Geometry:
    """How an image became model input: both sizes are (height, width); aspect is not kept, nothing is padded.

    `original_size` is that of the upright image: EXIF orientation is applied before anything else.
    """

    original_size: tuple[int, int]
    model_size: tuple[int, int]

    def to_pixels(self, boxes_cxcywh: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*b 4"]:
        """boxes_xyxy in pixels of the original image from boxes in [0, 1]; negative sides count as zero."""
        centre, half = boxes_cxcywh[..., :2], np.maximum(boxes_cxcywh[..., 2:], 0) / 2
        boxes: np.ndarray = np.concatenate([centre - half, centre + half], -1) * self.scale
        return boxes

    @property
    def scale(self) -> Float[np.ndarray, " 4"]:
        """Pixels of the original image per unit of (x, y, x, y)."""
        height, width = self.original_size
        return np.array([width, height, width, height], np.float32)


@dataclass(frozen=True)
class Detections:
    """Objects found in one image, best first; arrays of M rows, boxes in pixels of the original image.

    boxes_xyxy [M, 4], scores [M] in [0, 1], labels [M] (index into class_names), edge_std [M, 4]: the
    standard deviation of the left, top, right and bottom edge in pixels, read off the edge's own
    distribution. It is raw unless `calibrated`.
    """

    boxes_xyxy: Float[np.ndarray, "M 4"]
    scores: Float[np.ndarray, " M"]
    labels: Int[np.ndarray, " M"]
    edge_std: Float[np.ndarray, "M 4"]
    size: tuple[int, int]  # of the original image
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] | None = None  # the annotation file's own numbers, by label
    calibrated: bool = False
    source: str | Path | np.ndarray | None = field(default=None, repr=False, compare=False)
