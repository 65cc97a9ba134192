"""OpenImages: a CSV a split with ImageID, LabelName, XMin, XMax, YMin, YMax in fractions of the image."""

from collections.abc import Collection, Mapping
from pathlib import Path

from edgewise.data.formats.entries import (
    Box,
    Entry,
    Found,
    build_splits,
    decimal,
    labels_of,
    numbered,
    relative,
)
from edgewise.data.formats.sheets import header, rows
from edgewise.data.problems import problem
from edgewise.data.records import Problem, RawSplit
from edgewise.data.splits import by_split

NAME = "OpenImages"

_COLUMNS = ("XMin", "YMin", "XMax", "YMax")


def find(data: Path) -> dict[str, Path]:
    """The CSV of each split: train-annotations-bbox.csv, …; a lone one is train."""
    files = [data] if data.is_file() else sorted([*data.glob("*.csv"), *data.glob("*/*.csv")])
    return by_split([one for one in files if one.suffix.lower() == ".csv" and is_openimages(one)])


def read(data: Path, wanted: Collection[str]) -> dict[str, RawSplit]:
    """The wanted splits. Classes, called as class-descriptions.csv says if it is there, count from 1.

    Groups (IsGroupOf) are crowds. An image that a CSV does not name is not part of the split.
    """
    files, folder = find(data), data.parent if data.is_file() else data
    words = _words(folder)
    read: dict[str, Found] = {}
    for name, file in files.items():
        problems: list[Problem] = []
        entries = _entries(file, relative(file, folder), words, problems)
        read[name] = Found(entries, [file.parent, folder], problems, fractions=True)
    return build_splits(data, NAME, files, read, numbered(labels_of(read)), wanted)


def is_openimages(file: Path) -> bool:
    """Whether the titles of a CSV are OpenImages'."""
    return {"ImageID", "LabelName", *_COLUMNS} <= set(header(file))


def _words(folder: Path) -> dict[str, str]:
    """Class names by their codes (/m/011k07)."""
    files = sorted([*folder.glob("*class-descriptions*.csv"), *folder.glob("*/*class-descriptions*.csv")])
    return {cells[0]: cells[1] for file in files for _, cells in rows(file) if len(cells) > 1}


def _entries(file: Path, name: str, words: Mapping[str, str], problems: list[Problem]) -> list[Entry]:
    (_, titles), *lines = rows(file)
    images: dict[str, list[Box]] = {}
    for number, cells in lines:
        row = dict(zip(titles, cells, strict=False))
        boxes = images.setdefault(row.get("ImageID", ""), [])
        try:
            x1, y1, x2, y2 = (decimal(row[key]) for key in _COLUMNS)
        except (KeyError, ValueError):
            given = ", ".join(f"{key} {row.get(key, '')!r}" for key in _COLUMNS)
            problems.append(problem("entry-malformed", f"{name}:{number}", f"{given}; expected numbers"))
            continue
        label = words.get(row["LabelName"], row["LabelName"])
        boxes.append(Box((x1, y1, x2, y2), label, number, row.get("IsGroupOf") == "1"))
    return [Entry((image,), name, boxes) for image, boxes in images.items()]
