"""A split to train on or to be scored on: checked, mended where that is safe, read image by image.

Category ids live below this line only: labels are their places in `Dataset.category_ids`.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from edgewise.data.problems import box_faults, clip, find_problems, mended, refuse
from edgewise.data.records import LARGEST_ID, RawSplit
from edgewise.images import read_shrunk
from edgewise.sample import Sample


class Dataset:
    """One split: `dataset[i]` is the Sample of image i, decoded when asked for.

    class_names     by label: the same in every split of a data set
    category_ids    by label: the file's own numbers
    image_ids       the file's own numbers; counted from 1 where one is 2^53 or more
    paths           of the images
    annotations     a COCO dictionary (images, annotations, categories) for evaluation: crowds and duplicates
                    included, the file's category ids, annotations numbered from 1, no segmentations
    notes           what was left out or changed on reading, a sentence each

    Samples have no crowd boxes and none twice, and every box lies within its image and has an area.
    """

    def __init__(self, split: RawSplit) -> None:
        """Raises for the first error of `find_problems`: ValueError, FileNotFoundError for missing images."""
        problems = find_problems(split)
        refuse(split, problems)
        self.class_names: tuple[str, ...] = tuple(split.categories.values())
        self.category_ids: tuple[int, ...] = tuple(split.categories)
        ids = [one.image_id for one in split.images]
        fit = max(ids) <= LARGEST_ID
        self.image_ids: tuple[int, ...] = tuple(ids if fit else range(1, len(ids) + 1))
        self.paths: tuple[Path, ...] = tuple(one.path for one in split.images)
        self._sizes = [one.size for one in split.images]
        self.annotations, self._boxes, self._labels = _clean(split, self.image_ids)
        empty = sum(not len(one) for one in self._boxes)
        self.notes: tuple[str, ...] = (
            *split.notes,
            *mended(problems),
            *(
                []
                if fit
                else [f"image ids up to {max(ids)}: images are numbered anew, floats could not tell"]
            ),
            *([f"{empty} of {len(self)} images have no boxes: negatives"] if empty else []),
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """Raises what `read_image` raises, and ValueError if the image is not of the annotated size."""
        one = self.unread(index)
        return Sample(one.read()[0], one.boxes_xyxy, one.labels, one.image_id, one.path)

    def unread(self, index: int) -> "Unread":
        """What `self[index]` is, its image still to be read."""
        size, path = self._sizes[index] or (0, 0), str(self.paths[index])
        return Unread(size, self._boxes[index], self._labels[index], self.image_ids[index], path)

    @property
    def labels(self) -> tuple[np.ndarray, ...]:
        """Each image's labels, as in its Sample, without reading the image."""
        return tuple(self._labels)

    @cached_property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that follow from the classes, the images' names, their boxes and labels."""
        digest = hashlib.blake2b(digest_size=6)
        names = [one["file_name"] for one in self.annotations["images"]]
        digest.update("\0".join([*self.class_names, "", *names]).encode())
        for boxes, labels in zip(self._boxes, self._labels, strict=True):
            digest.update(len(boxes).to_bytes(4, "little") + boxes.tobytes() + labels.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Unread:
    """A Sample whose image, of `size` by its annotation, is still in its file."""

    size: tuple[int, int]
    boxes_xyxy: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    image_id: int
    path: str

    def read(self, shrink: float = 1.0) -> tuple[UInt8[np.ndarray, "h w 3"], int]:
        """The image, smaller by at most `shrink` if that is less work, and how many times: 1, 2, 4 or 8.

        Raises what `read_image` raises, and ValueError if the image is not of the annotated size.
        """
        image, size, by = read_shrunk(self.path, shrink)
        if size != self.size:
            height, width = self.size
            raise ValueError(
                f"{self.path}: the image is {size[0]}x{size[1]} (height x width, upright) but its "
                f"annotation (image id {self.image_id}) says {height}x{width}; annotate the image "
                "as it is, or save it again without EXIF orientation if that is what turns it"
            )
        return image, by


def _clean(
    split: RawSplit, image_ids: Sequence[int]
) -> tuple[dict[str, Any], list[np.ndarray], list[np.ndarray]]:
    """The COCO dictionary; boxes_xyxy float32 [n, 4] and labels [n] of each image, as in Samples."""
    table, faults = split.table, box_faults(split.table)
    boxes, kept = clip(table), ~faults["box-empty"]
    sides = boxes[:, 2:] - boxes[:, :2]
    area = np.where(np.isnan(table.area), sides.prod(1), table.area)
    columns = (
        np.array(image_ids, np.int64)[table.image],
        table.category_ids,
        np.concatenate([boxes[:, :2], sides], 1),
        area,
        table.crowd,
    )
    annotations = [
        {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": bbox,
            "area": area,
            "iscrowd": int(crowd),
        }
        for number, (image_id, category_id, bbox, area, crowd) in enumerate(
            zip(*(column[kept].tolist() for column in columns), strict=True), 1
        )
    ]
    coco = {
        "images": _images(split, image_ids),
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in split.categories.items()],
    }
    order = np.argsort(list(split.categories))
    label = order[np.searchsorted(np.array(list(split.categories))[order], table.category_ids)]
    trained = kept & ~table.crowd & ~faults["box-duplicate"]
    ends = np.searchsorted(table.image[trained], np.arange(1, len(split.images)))
    return (
        coco,
        np.split(boxes[trained].astype(np.float32), ends),
        np.split(label[trained].astype(np.int64), ends),
    )


def _images(split: RawSplit, image_ids: Sequence[int]) -> list[dict[str, Any]]:
    folder = os.path.commonpath({one.path.parent for one in split.images})
    cut = len(str(Path(folder) / "_")) - 1
    return [
        {
            "id": image_id,
            "file_name": str(one.path)[cut:].replace(os.sep, "/"),
            "width": one.size[1] if one.size else 0,
            "height": one.size[0] if one.size else 0,
        }
        for image_id, one in zip(image_ids, split.images, strict=True)
    ]
