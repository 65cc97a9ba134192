"""What a data set says about how to train on it, read off its annotations: no image is decoded."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64

from edgewise.recipe import DataFacts


@runtime_checkable
class Annotated(Protocol):
    """Annotations in COCO's form, such as a Dataset's."""

    @property
    def annotations(self) -> dict[str, list[dict[str, Any]]]: ...


def data_facts(dataset: Annotated) -> DataFacts:
    """The facts of a training set."""
    images = dataset.annotations["images"]
    boxes = [one for one in dataset.annotations["annotations"] if not one["iscrowd"]]
    return facts_of(
        sizes=np.array([(one["height"], one["width"]) for one in images], np.float64).reshape(-1, 2),
        per_image=np.unique([one["image_id"] for one in boxes], return_counts=True)[1],
        sides=np.array([one["bbox"] for one in boxes], np.float64).reshape(-1, 4)[:, 2:],
        labels=np.array([one["category_id"] for one in boxes], np.int64),
    )


def facts_of(
    sizes: Float64[np.ndarray, "images 2"],
    per_image: Int64[np.ndarray, " counted"],
    sides: Float64[np.ndarray, "n 2"],
    labels: Int64[np.ndarray, " n"],
) -> DataFacts:
    """The facts of images of these (height, width), with boxes of these (width, height) in pixels.

    `per_image` counts the boxes of each image that has any, and perhaps of those that have none.
    """
    aspect = np.log(sizes[:, 1] / sizes[:, 0])
    return DataFacts(
        images=len(sizes),
        boxes=len(sides),
        most_boxes=int(per_image.max(initial=0)),
        size=(round(float(np.median(sizes[:, 0]))), round(float(np.median(sizes[:, 1])))),
        one_shape=bool((np.abs(aspect - np.median(aspect)) < np.log(1.05)).mean() >= 0.9),
        scale_spread=scale_spread(sides, labels),
    )


def scale_spread(sides: Float64[np.ndarray, "n 2"], labels: Int64[np.ndarray, " n"]) -> float:
    """Deviation of √(width · height) from its class' mean, in octaves; 1 where there is no box."""
    octaves = np.log2(sides.prod(1)) / 2
    for one in np.unique(labels):
        octaves[labels == one] -= octaves[labels == one].mean()
    return float(octaves.std()) if len(octaves) else 1.0
