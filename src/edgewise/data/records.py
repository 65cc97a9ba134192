"""What annotation files say, before anything of it is believed: one form for every format.

A reader turns its format into a `RawSplit`; `problems` looks for what is wrong with it; what is right or can
be mended becomes a `Dataset`. Boxes are corners in pixels of the upright image, whatever the file has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

LARGEST_ID = 2**53 - 1  # of an image; COCO's tools keep ids as floats, which cannot tell larger ones apart

# training stops · training mends it and says so · worth knowing
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a data set.

    `kind` is a short name of the fault, the same wherever it occurs (`box-outside`, `polygon-line`);
    `where` is its file with line or id; `message` says what was found and what was expected; `treatment`
    says what training does about it.
    """

    severity: Severity
    kind: str
    where: str
    message: str
    treatment: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.treatment})"


@dataclass(frozen=True)
class RawImage:
    """One image as its annotations describe it: nothing is checked but that numbers are numbers.

    path           of the image file, which may be missing
    image_id       the file's own number, else its place in the split
    size           (height, width) as annotated; the file's own, upright, where the format does not say;
                   None where that cannot be read either
    boxes_xyxy     [n, 4] in pixels: may be nan, negative, outside, empty
    category_ids   [n] the file's own numbers, perhaps of no category
    crowd          [n] COCO's iscrowd
    area           [n] as annotated (a segmentation's), nan where the format does not say
    file           where its boxes are written, relative to the data set
    lines          [n] of each box: line in `file`, or the annotation's id in a JSON file
    declared       False where nothing was written about the image at all: maybe forgotten, not a negative
    """

    path: Path
    image_id: int
    size: tuple[int, int] | None
    boxes_xyxy: Float64[np.ndarray, "n 4"]
    category_ids: Int64[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]
    area: Float64[np.ndarray, " n"]
    file: str
    lines: Int64[np.ndarray, " n"]
    declared: bool = True

    def where(self, box: int) -> str:
        """Where box number `box` is written: «labels/a.txt:3», «train.json: annotation 17»."""
        number = int(self.lines[box])
        return f"{self.file}: annotation {number}" if self.file.endswith(".json") else f"{self.file}:{number}"


@dataclass(frozen=True)
class RawSplit:
    """One split of a data set as its files describe it.

    name        train, val or test
    format      COCO, YOLO, Pascal VOC, …: a name a person knows
    file        the annotation file or folder it was read from
    categories  the file's own numbers → class names, in the order of the labels: the same names in the same
                order in every split of a data set, those without boxes included
    images      in the file's order
    problems    what the reader itself met: lines that are no box, files that cannot be parsed
    notes       choices made on reading that a user should hear of, a sentence each
    data        what the user named, a folder or a file; places in problems are relative to `root`
    naming      the file that names the classes, where that is another than `file`
    """

    name: str
    format: str
    file: Path
    categories: Mapping[int, str]
    images: tuple[RawImage, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    data: Path = Path()
    naming: Path | None = None

    @property
    def root(self) -> Path:
        """The folder that `RawImage.file` starts from."""
        return self.data.parent if self.data.is_file() else self.data

    @cached_property
    def table(self) -> "Table":
        """All boxes, image after image."""
        counts = [len(one.boxes_xyxy) for one in self.images]
        sizes = [(one.size[1], one.size[0]) if one.size else (np.nan, np.nan) for one in self.images]
        image = np.repeat(np.arange(len(counts)), counts)

        def joined(column: list[np.ndarray], empty: np.ndarray) -> np.ndarray:
            return np.concatenate([empty, *column])

        return Table(
            image=image,
            boxes_xyxy=joined([one.boxes_xyxy for one in self.images], np.empty((0, 4))),
            category_ids=joined([one.category_ids for one in self.images], np.empty(0, np.int64)),
            crowd=joined([one.crowd for one in self.images], np.empty(0, bool)),
            area=joined([one.area for one in self.images], np.empty(0)),
            limits=np.array(sizes, np.float64).reshape(-1, 2)[image],
            first=np.cumsum([0, *counts])[:-1],
        )


@dataclass(frozen=True)
class Table:
    """The N boxes of a split's I images in one row, as `RawImage` has them.

    `image` says whose box it is; `limits` are (width, height) of that image, nan where unknown; `first` is
    where each image's boxes begin.
    """

    image: Int64[np.ndarray, " N"]
    boxes_xyxy: Float64[np.ndarray, "N 4"]
    category_ids: Int64[np.ndarray, " N"]
    crowd: Bool[np.ndarray, " N"]
    area: Float64[np.ndarray, " N"]
    limits: Float64[np.ndarray, "N 2"]
    first: Int64[np.ndarray, " I"]

    def __len__(self) -> int:
        return len(self.image)
