"""What annotation files say, before anything of it is believed: one form for every format.

A reader turns its format into a `RawSplit`; `problems` looks for what is wrong with it; what is right or can
be mended becomes a `Dataset`. Boxes are corners in pixels of the upright image, whatever the file has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

Severity = Literal[
    "error", "warning", "info"
]  # training stops · training mends it and says so · worth knowing


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
    size           (height, width) as annotated; None where the format does not say
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
    format      COCO JSON, YOLO, Pascal VOC, …: a name a person knows
    file        the annotation file or folder it was read from
    categories  the file's own numbers → class names
    images      in the file's order
    problems    what the reader itself met: lines that are no box, files that cannot be parsed
    notes       choices made on reading that a user should hear of, a sentence each
    """

    name: str
    format: str
    file: Path
    categories: Mapping[int, str]
    images: tuple[RawImage, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
