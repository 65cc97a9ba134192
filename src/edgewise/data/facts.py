"""What a data set says about how to train on it, read off its annotations: no image is decoded."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64

from edgewise.recipe import DataFacts

LEAST_BOXES = 1000  # for a say on above and below: chance makes differences of about 0.03 then
SAME = 0.05  # of distributions and correlations: what counts as none


@runtime_checkable
class Annotated(Protocol):
    """Annotations in COCO's form, such as a Dataset's."""

    @property
    def annotations(self) -> dict[str, list[dict[str, Any]]]: ...


def data_facts(dataset: Annotated) -> DataFacts:
    """The facts of a training set."""
    images = dataset.annotations["images"]
    boxes = [one for one in dataset.annotations["annotations"] if not one["iscrowd"]]
    xywh = np.array([one["bbox"] for one in boxes], np.float64).reshape(-1, 4)
    height = {one["id"]: one["height"] for one in images}
    return facts_of(
        sizes=np.array([(one["height"], one["width"]) for one in images], np.float64).reshape(-1, 2),
        per_image=np.unique([one["image_id"] for one in boxes], return_counts=True)[1],
        sides=xywh[:, 2:],
        middles=(xywh[:, 1] + xywh[:, 3] / 2) / np.array([height[one["image_id"]] for one in boxes]),
        labels=np.array([one["category_id"] for one in boxes], np.int64),
    )


def facts_of(
    sizes: Float64[np.ndarray, "images 2"],
    per_image: Int64[np.ndarray, " counted"],
    sides: Float64[np.ndarray, "n 2"],
    middles: Float64[np.ndarray, " n"],
    labels: Int64[np.ndarray, " n"],
) -> DataFacts:
    """The facts of images of these (height, width), with boxes of these (width, height) in pixels.

    `middles` say how far down each box' centre lies: 0 at the top of its image, 1 at the bottom. `per_image`
    counts the boxes of each image that has any, and perhaps of those that have none.
    """
    aspect = np.log(sizes[:, 1] / sizes[:, 0])
    return DataFacts(
        images=len(sizes),
        boxes=len(sides),
        most_boxes=int(per_image.max(initial=0)),
        size=(round(float(np.median(sizes[:, 0]))), round(float(np.median(sizes[:, 1])))),
        one_shape=bool((np.abs(aspect - np.median(aspect)) < np.log(1.05)).mean() >= 0.9),
        scale_spread=scale_spread(sides, labels),
        upright=upright(sides, middles, labels),
    )


def scale_spread(sides: Float64[np.ndarray, "n 2"], labels: Int64[np.ndarray, " n"]) -> float:
    """Deviation of √(width · height) from its class' mean, in octaves; 1 where there is no box."""
    return float(_octaves(sides, labels).std()) if len(sides) else 1.0


def upright(
    sides: Float64[np.ndarray, "n 2"], middles: Float64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]
) -> bool:
    """Whether boxes tell above from below; True where there are too few to say.

    They do unless their middles are distributed as when turned upside down (two-sample Kolmogorov-Smirnov
    statistic) and their sizes do not go with their middles (correlation), both up to SAME.
    """
    if len(sides) < LEAST_BOXES:
        return True
    turned = np.sort(1 - middles)
    places = np.concatenate([middles, turned])
    below = [np.searchsorted(one, places, side="right") / len(one) for one in (np.sort(middles), turned)]
    octaves = _octaves(sides, labels)
    spread = octaves.std() * middles.std()
    along = ((middles - middles.mean()) * octaves).mean() / spread if spread else 0.0
    return bool(np.abs(below[0] - below[1]).max() > SAME or abs(along) > SAME)


def _octaves(sides: Float64[np.ndarray, "n 2"], labels: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """log2 √(width · height) less its class' mean."""
    octaves: np.ndarray = np.log2(sides.prod(1)) / 2
    for one in np.unique(labels):
        octaves[labels == one] -= octaves[labels == one].mean()
    return octaves
