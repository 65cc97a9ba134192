"""Scenes: a procedural detection data set that knows the true ambiguity of every edge.

A scene is one to six soft-edged shapes on a textured background; later shapes cover earlier ones, some
are cut by the image border. Each edge (left, top, right, bottom) of each object has its own standard
deviation σ in pixels, log-uniform in `EDGE_STD` whatever the size of the box and whatever its other
edges. σ is visible: the object fades out across the edge like the distribution function of N(0, σ), half
transparent exactly on the edge of the noise-free box. The annotated box is one draw of N(0, σ) per edge,
clipped at three σ. An edge cut by the image border lies on the border and has σ = 0.

So a detector that reads error bars off the pixels can be checked against the truth, edge by edge. For that,
no edge is ever hidden altogether: `MIN_VISIBLE` of the object, and of its part beside each edge, is in view.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image

from edgewise.data import painting
from edgewise.data.splits import SPLITS, split_name
from edgewise.sample import Sample

CLASS_NAMES = tuple(painting.SHAPES)
SIZE = (160, 160)  # (height, width)
EDGE_STD = (0.5, 5.0)  # σ of an edge in pixels, log-uniform
MIN_SIDE = 6 * EDGE_STD[1]  # edges drawn three σ inwards do not cross
MAX_SIDE = 0.5  # of the image's shorter side
MAX_OBJECTS = 6
CUT = 0.15  # chance of an object to be cut by the image border
MIN_VISIBLE = 0.4
_STRIP = 0.2  # "beside an edge": this share of the box
_TRIES = 12  # places tried before a scene goes without one more object


@dataclass(frozen=True)
class Scene:
    """RGB uint8 image [H, W, 3] and its n objects, the lowest first; boxes in pixels, all [n, 4] float32.

    boxes_xyxy: as annotated, one draw around true_boxes; edge_std: the standard deviation of that draw;
    visible [n]: the share of the object's area inside the image that no later object covers.
    """

    image: UInt8[np.ndarray, "H W 3"]
    boxes_xyxy: Float32[np.ndarray, "n 4"]
    true_boxes: Float32[np.ndarray, "n 4"]
    edge_std: Float32[np.ndarray, "n 4"]
    labels: Int64[np.ndarray, " n"]
    visible: Float32[np.ndarray, " n"]


def scene(seed: int, index: int, size: tuple[int, int] = SIZE) -> Scene:
    """The scene of that seed and index, always the same one, in the given (height, width)."""
    if min(size) * MAX_SIDE < 1.5 * MIN_SIDE:
        raise ValueError(
            f"scenes of {size[0]}x{size[1]} (height x width) are too small for objects of "
            f"{MIN_SIDE:g} pixels; expected both sides to be at least {1.5 * MIN_SIDE / MAX_SIDE:g}"
        )
    rng = np.random.default_rng([seed, index])
    things, visible = arrange(rng, size)
    canvas, colours = painting.background(rng, size)
    for thing in things:
        colours.append(painting.distinct_colour(rng, colours))
        paint(canvas, thing, painting.surface(rng, thing.alpha.shape, colours[-1]))
    true_boxes, edge_std = (np.stack(rows) for rows in zip(*((t.box, t.std) for t in things), strict=True))
    return Scene(
        image=painting.photograph(rng, canvas),
        boxes_xyxy=(true_boxes + edge_std * rng.standard_normal(edge_std.shape).clip(-3, 3)).astype(
            np.float32
        ),
        true_boxes=true_boxes.astype(np.float32),
        edge_std=edge_std.astype(np.float32),
        labels=np.array([thing.label for thing in things], np.int64),
        visible=visible.astype(np.float32),
    )


# ── layout ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Thing:
    """One placed object: noise-free `box`, σ of its edges, opacity `alpha` at `corner` (row, column)."""

    label: int
    box: np.ndarray
    std: np.ndarray
    corner: tuple[int, int]
    alpha: np.ndarray

    @property
    def patch(self) -> tuple[slice, slice]:
        """Where `alpha` lies in the image."""
        (row, column), (height, width) = self.corner, self.alpha.shape
        return slice(row, row + height), slice(column, column + width)

    @cached_property
    def parts(self) -> np.ndarray:
        """[5, h, w] bool: the object's pixels, and those of them beside its left, top, right, bottom edge."""
        y, x = (np.arange(part.start, part.stop) + 0.5 for part in self.patch)
        x1, y1, x2, y2 = self.box
        dx, dy = _STRIP * (x2 - x1), _STRIP * (y2 - y1)
        body = self.alpha > 0.5
        left, right = body & (x < x1 + dx), body & (x > x2 - dx)
        top, bottom = body & (y < y1 + dy)[:, None], body & (y > y2 - dy)[:, None]
        return np.stack([body, left, top, right, bottom])


def arrange(rng: np.random.Generator, size: tuple[int, int]) -> tuple[list[Thing], np.ndarray]:
    """One to six objects, the lowest first, and the visible share of each [n]."""
    things: list[Thing] = []
    owner = np.full(size, -1)  # the topmost object of every pixel
    for label in rng.integers(len(CLASS_NAMES), size=rng.integers(1, MAX_OBJECTS + 1)):
        for _ in range(_TRIES):
            thing = _place(rng, size, int(label))
            covered = owner.copy()
            covered[thing.patch][thing.parts[0]] = len(things)
            if all(_in_view(one, covered, k).min() >= MIN_VISIBLE for k, one in enumerate(things)):
                things, owner = [*things, thing], covered
                break
    return things, np.array([_in_view(one, owner, k)[0] for k, one in enumerate(things)])


def _in_view(thing: Thing, owner: np.ndarray, index: int) -> np.ndarray:
    """Share of each of the thing's parts [5] that it owns."""
    seen = thing.parts & (owner[thing.patch] == index)
    return np.asarray(seen.sum((1, 2)) / thing.parts.sum((1, 2)).clip(1))


def _place(rng: np.random.Generator, size: tuple[int, int], label: int) -> Thing:
    """A random object of the class. Neither its σ nor a cut has a say in how large its box is.

    A whole edge stays three σ from the image border, so that its draws need no clipping there.
    """
    outline = painting.SHAPES[CLASS_NAMES[label]](rng)
    std = np.exp(rng.uniform(math.log(EDGE_STD[0]), math.log(EDGE_STD[1]), 4))
    sides = _sides(rng, MAX_SIDE * min(size))
    room = np.array(size[::-1])  # width, height
    low = 3 * std[:2] + rng.random(2) * (room - sides - 3 * (std[:2] + std[2:]))
    seen = outline
    if rng.random() < CUT:
        edge, hidden = int(rng.integers(4)), rng.uniform(0.1, 0.45)
        seen = painting.cut(outline, edge, hidden if edge < 2 else 1 - hidden)
        low[edge % 2] = 0 if edge < 2 else (room - sides)[edge % 2]
        std[edge] = 0
    origin, extent = seen.min(0), np.ptp(seen, 0)
    polygon = low + (outline - origin) / extent * sides  # what is seen of it just fills the box
    box = np.concatenate([low, low + sides])
    reach = np.array([-4, -4, 4, 4]) * std
    x1, y1, x2, y2 = np.clip(np.round(box + reach), 0, np.tile(room, 2)).astype(int).tolist()
    alpha = painting.soft_alpha(polygon, box, std, np.arange(x1, x2) + 0.5, np.arange(y1, y2) + 0.5)
    return Thing(label, box, std, (y1, x1), alpha)


def _sides(rng: np.random.Generator, longest: float) -> np.ndarray:
    """(width, height): a log-uniform size, and an aspect of up to 1.4 either way, both within the limits."""
    side = math.exp(rng.uniform(math.log(MIN_SIDE), math.log(longest)))
    aspect = math.exp(rng.uniform(-0.17, 0.17))  # the root of width / height
    return np.asarray(np.clip([side * aspect, side / aspect], MIN_SIDE, longest))


def paint(canvas: np.ndarray, thing: Thing, surface: np.ndarray) -> None:
    """Lay the thing's surface [h, w, 3] over the canvas [H, W, 3], in place."""
    canvas[thing.patch] += thing.alpha[..., None] * (surface - canvas[thing.patch])


# ── as a data set ──────────────────────────────────────────────────────────────────────────────────


class SceneDataset:
    """`count` scenes of one split; scenes of different splits or seeds differ. `[i]` is a Sample.

    Every scene is painted at its first use and kept: 77 kB each at 160x160 pixels.
    """

    class_names = CLASS_NAMES
    category_ids = tuple(range(1, len(CLASS_NAMES) + 1))

    def __init__(self, count: int, seed: int = 0, split: str = "train", size: tuple[int, int] = SIZE) -> None:
        """ValueError if `split` is not one of train, val and test."""
        self.seed, self.split, self.size = seed, split_name(split), size
        self.image_ids = tuple(range(count))
        self.paths = tuple(Path(self.split) / f"{index:06d}.png" for index in range(count))  # of `write_coco`
        self._scenes: list[Scene | None] = [None] * count

    def __len__(self) -> int:
        return len(self._scenes)

    def scene(self, index: int) -> Scene:
        """Image `index` with the truth about its edges."""
        found = self._scenes[index]
        if found is None:
            seed = len(SPLITS) * self.seed + list(SPLITS).index(self.split)
            found = self._scenes[index] = scene(seed, self.image_ids[index], self.size)
        return found

    def __getitem__(self, index: int) -> Sample:
        one = self.scene(index)
        image_id, path = self.image_ids[index], str(self.paths[index])
        return Sample(one.image, one.boxes_xyxy, one.labels, image_id=image_id, path=path)

    @cached_property
    def annotations(self) -> dict[str, Any]:
        """The COCO dictionary; boxes also have `true_bbox`, like `bbox`, and `edge_std`, left to bottom."""
        height, width = self.size
        boxes = [
            {"image_id": image_id, **box}
            for index, image_id in enumerate(self.image_ids)
            for box in _coco_boxes(self.scene(index))
        ]
        return {
            "images": [
                {"id": image_id, "file_name": path.name, "width": width, "height": height}
                for image_id, path in zip(self.image_ids, self.paths, strict=True)
            ],
            "categories": [
                {"id": number, "name": name}
                for number, name in zip(self.category_ids, self.class_names, strict=True)
            ],
            "annotations": [{"id": number, **box} for number, box in enumerate(boxes, 1)],
        }


def _coco_boxes(one: Scene) -> list[dict[str, Any]]:
    """Rows of a COCO file but for their ids, in thousandths of a pixel."""

    def rounded(values: np.ndarray) -> list[float]:
        return [round(float(value), 3) for value in values]

    def xywh(box: np.ndarray) -> list[float]:
        return rounded(np.concatenate([box[:2], box[2:] - box[:2]]))

    rows = zip(one.boxes_xyxy, one.true_boxes, one.edge_std, one.labels, strict=True)
    return [
        {
            "category_id": SceneDataset.category_ids[label],
            "bbox": xywh(box),
            "area": round(float(np.prod(box[2:] - box[:2])), 3),
            "iscrowd": 0,
            "true_bbox": xywh(true_box),
            "edge_std": rounded(std),
        }
        for box, true_box, std, label in rows
    ]


def write_coco(folder: str | Path, datasets: Sequence[SceneDataset]) -> None:
    """Each data set as folder/SPLIT with PNG images and `_annotations.coco.json`, ready to train on."""
    for dataset in datasets:
        target = Path(folder) / dataset.split
        target.mkdir(parents=True, exist_ok=True)
        for index, path in enumerate(dataset.paths):
            Image.fromarray(dataset.scene(index).image).save(target / path.name)
        text = json.dumps(dataset.annotations)
        (target / "_annotations.coco.json").write_text(text, encoding="utf-8")
