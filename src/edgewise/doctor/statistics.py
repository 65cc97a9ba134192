"""What a data set holds, in numbers, and the training settings that follow from them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from edgewise.data.facts import facts_of
from edgewise.data.problems import clip, sound
from edgewise.data.records import RawSplit
from edgewise.recipe import DataFacts
from edgewise.sizes import STRIDE

READABLE = 8  # pixels a side of a box should have at the model's input: one cell of its finest feature map
SHARE = 0.9  # of the boxes that should have them
FAR = 2.0  # times the input side beyond which tiles are better than a larger input
RARE = 100  # times fewer boxes than the most frequent class


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of one split; crowd regions and boxes that cannot be trained on are left out.

    classes      name → number of boxes, most first
    per_image    [images] boxes in each image
    categories   [n] the category of each box, by the file's own number
    sides        [n, 2] width and height of each box, as shares of its image's
    pixels       [n, 2] the same in pixels of the image
    middles      [n] how far down its centre lies: 0 at the top of the image, 1 at the bottom
    image_sizes  [images, 2] height and width, where known
    """

    classes: Mapping[str, int]
    per_image: Int64[np.ndarray, " images"]
    categories: Int64[np.ndarray, " n"]
    sides: Float64[np.ndarray, "n 2"]
    pixels: Float64[np.ndarray, "n 2"]
    middles: Float64[np.ndarray, " n"]
    image_sizes: Int64[np.ndarray, "known 2"]

    @property
    def boxes(self) -> int:
        return sum(self.classes.values())

    @property
    def facts(self) -> DataFacts:
        """What the recipe for training asks."""
        sizes = self.image_sizes.astype(np.float64)
        return facts_of(sizes, self.per_image, self.pixels, self.middles, self.categories)

    def at(self, size: tuple[int, int]) -> Float64[np.ndarray, "n 2"]:
        """Width and height of each box in pixels of a model input of that (height, width)."""
        sides: np.ndarray = self.sides * np.array(size[::-1])
        return sides

    def to_dict(self) -> dict[str, Any]:
        """The same in a few plain numbers."""
        return {
            "images": len(self.per_image),
            "negatives": int(np.equal(self.per_image, 0).sum()),
            "boxes": self.boxes,
            "classes": dict(self.classes),
            "most_boxes_in_an_image": int(self.per_image.max(initial=0)),
            "median_image_size": _median(self.image_sizes),
            "median_box_pixels": _median(self.pixels[:, ::-1]),
        }


def _median(pairs: np.ndarray) -> list[int] | None:
    """(height, width), or None where there are none."""
    return np.rint(np.median(pairs, 0)).astype(int).tolist() if len(pairs) else None


def statistics(split: RawSplit) -> Statistics:
    """Counts and sizes of the boxes of a split that training can use."""
    table, names = split.table, list(split.categories.values())
    corners, good = clip(table), usable(split)
    pixels = (corners[:, 2:] - corners[:, :2])[good]
    place = {category: i for i, category in enumerate(split.categories)}
    labels = [place[category] for category in table.category_ids[good].tolist()]
    counts = np.bincount(labels, minlength=len(names)).tolist() if names else []
    classes: Counter[str] = Counter()
    for name, count in zip(names, counts, strict=True):
        classes[name] += count
    return Statistics(
        classes=dict(sorted(classes.items(), key=lambda one: (-one[1], one[0]))),
        per_image=np.bincount(table.image[good], minlength=len(split.images)),
        categories=table.category_ids[good],
        sides=pixels / table.limits[good],
        pixels=pixels,
        middles=(corners[:, 1] + corners[:, 3])[good] / 2 / table.limits[good, 1],
        image_sizes=np.array([one.size for one in split.images if one.size], np.int64).reshape(-1, 2),
    )


def usable(split: RawSplit) -> Bool[np.ndarray, " N"]:
    """Which boxes training takes: of a known class, neither crowd nor faulty, in an image of known size."""
    taken: np.ndarray = sound(split) & ~split.table.crowd & ~np.isnan(split.table.limits).any(1)
    return taken


def by(size: tuple[int, int]) -> str:
    """«480x640»: height x width, as everywhere."""
    return f"{size[0]}x{size[1]}"


# ── advice ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Advice:
    """What to set, and why."""

    subject: str
    text: str


def advice(train: Statistics, size: tuple[int, int], queries: int) -> tuple[Advice, ...]:
    """Input size, number of queries, tiles and sampling for a training split; empty for one without boxes."""
    if not len(train.sides):
        return ()
    return (
        Advice("input size", _input_size(train, size)),
        Advice("queries", _queries(train, queries)),
        Advice("tiles", _tiles(train, size)),
        Advice("sampling", _sampling(train)),
    )


def readable_size(train: Statistics, size: tuple[int, int]) -> tuple[int, int]:
    """The smallest input, in the proportions of `size`, at which 90 % of the boxes have sides of 8 px."""
    shorter = float(np.quantile(train.at(size).min(1), 1 - SHARE, method="lower"))
    factor = READABLE / shorter
    height, width = (STRIDE * ceil(round(side * factor / STRIDE, 9)) for side in size)
    return height, width


def _input_size(train: Statistics, size: tuple[int, int]) -> str:
    needed = readable_size(train, size)
    share = float(np.greater_equal(train.at(size).min(1), READABLE).mean())
    now = f"at {by(size)}, {share:.0%} of the boxes have both sides of at least {READABLE} px"
    if needed <= size:
        return f"{by(size)} is enough: {now}; {SHARE:.0%} still have them at {by(needed)}"
    if needed[0] > FAR * size[0]:
        return f"{now}; {SHARE:.0%} would have them at {by(needed)} only: see tiles"
    cost = needed[0] * needed[1] / (size[0] * size[1])
    return f"{now}, {SHARE:.0%} have them at {by(needed)}: train at that, for {cost:.1f} times the time"


def _queries(train: Statistics, queries: int) -> str:
    most = int(train.per_image.max())
    if most <= queries:
        return f"{queries} are enough: the fullest image has {most} boxes"
    return f"the fullest image has {most} boxes, a model with {queries} queries can find {queries}; " + (
        f"build one with {ceil(most / 100) * 100} (decoder.num_queries)"
    )


def _tiles(train: Statistics, size: tuple[int, int]) -> str:
    height, width = np.median(train.image_sizes, 0).astype(int).tolist()
    box = float(np.quantile(train.pixels.min(1), 1 - SHARE, method="lower"))
    tile = STRIDE * max(1, int(box * min(size) / READABLE) // STRIDE)
    images = f"images are {by((height, width))} in the median"
    if readable_size(train, size)[0] <= FAR * size[0] or tile >= min(height, width):
        return f"not needed: {images}, and their boxes large enough in them"
    return (
        f"{images}, and a tenth of the boxes below {box:.0f} px: cut them into overlapping tiles of about "
        f"{tile} px, each of which fills an input of {by(size)}"
    )


def _sampling(train: Statistics) -> str:
    counts = {name: count for name, count in train.classes.items() if count}
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] < 10 * counts[least]:
        return "no class is ten times rarer than another: sample as it is"
    return (
        f"{most!r} has {counts[most]} boxes, {least!r} {counts[least]}: repeat_factor shows images with "
        "rare classes more often"
    )
