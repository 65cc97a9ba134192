"""Several splits of a data set as one set of annotated images."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from edgewise.data.dataset import Dataset
from edgewise.data.open import Data, open_dataset, open_splits
from edgewise.sample import Sample


class Joined:
    """The images of several splits in a row, numbered from 1; `[i]` is a Sample.

    `annotations` are theirs as one COCO dictionary; a `file_name` is the image's whole path.
    """

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.class_names = parts[0].class_names
        self.category_ids = parts[0].category_ids
        self._parts = tuple(parts)
        self._ends = tuple(accumulate(len(part) for part in parts))
        self.image_ids = tuple(range(1, self._ends[-1] + 1))
        self.annotations = self._annotations()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        part = bisect_right(self._ends, index)
        start = self._ends[part] - len(self._parts[part])
        return replace(self._parts[part][index - start], image_id=self.image_ids[index])

    def _annotations(self) -> dict[str, Any]:
        images: list[dict[str, Any]] = []
        boxes: list[dict[str, Any]] = []
        for part in self._parts:
            number = {image_id: len(images) + place for place, image_id in enumerate(part.image_ids, 1)}
            images += [
                {**one, "id": number[one["id"]], "file_name": str(path)}
                for one, path in zip(part.annotations["images"], part.paths, strict=True)
            ]
            boxes += [{**one, "image_id": number[one["image_id"]]} for one in part.annotations["annotations"]]
        return {
            "images": images,
            "annotations": [{**one, "id": number} for number, one in enumerate(boxes, 1)],
            "categories": self._parts[0].annotations["categories"],
        }


def open_joined(data: Data, split: str) -> "Dataset | Joined":
    """A split, or "all": every image of every split once. Raises what `open_dataset` raises."""
    return Joined(list(open_splits(data).values())) if split == "all" else open_dataset(data, split)
