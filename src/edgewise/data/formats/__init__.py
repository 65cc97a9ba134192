"""One module a format: it recognises its files and reads them as RawSplits, believing nothing."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgewise.data.formats import coco, cvat, imagenet, labelme, openimages, plain_csv, voc, yolo
from edgewise.data.records import RawSplit


@runtime_checkable
class Format(Protocol):
    """What each of these modules is."""

    NAME: str  # as a person calls it

    def find(self, data: Path) -> dict[str, Path]:
        """What each split is read from, in the order of SPLITS; nothing if `data` is not of this format."""
        ...

    def read(self, data: Path, wanted: Collection[str]) -> dict[str, RawSplit]:
        """The wanted ones of the splits that `find` finds. The classes are those of all splits."""
        ...


FORMATS: tuple[Format, ...] = (coco, yolo, imagenet, voc, openimages, cvat, labelme, plain_csv)
"""In this order: where two lie side by side, the first is read."""
