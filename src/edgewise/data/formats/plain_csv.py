"""Plain CSV: a line a box with image path, corners or sides in pixels and class name, under usual titles."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
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
from edgewise.data.formats.openimages import is_openimages
from edgewise.data.formats.sheets import header, rows
from edgewise.data.problems import problem
from edgewise.data.records import Problem, RawSplit
from edgewise.data.splits import SPLITS, by_split, split_in

NAME = "CSV"

TITLES = {
    "image": ("path", "image", "imagepath", "filename", "file", "filepath", "img", "imagename", "imageid"),
    "x1": ("x1", "xmin", "left", "bboxx1", "x", "bboxx"),
    "y1": ("y1", "ymin", "top", "bboxy1", "y", "bboxy"),
    "x2": ("x2", "xmax", "right", "bboxx2"),
    "y2": ("y2", "ymax", "bottom", "bboxy2"),
    "w": ("w", "bboxw", "bboxwidth", "boxwidth", "width"),
    "h": ("h", "bboxh", "bboxheight", "boxheight", "height"),
    "label": ("label", "class", "classname", "category", "name", "labelname"),
    "split": ("split", "set", "subset"),
}
"""What a column may be called, in small letters without spaces and signs."""

_CORNERS = ("x1", "y1", "x2", "y2")
_SIDES = ("x1", "y1", "w", "h")


def find(data: Path) -> dict[str, Path]:
    """The CSV of each split; of a lone one those that its split column names, else train."""
    files = [data] if data.is_file() else sorted([*data.glob("*.csv"), *data.glob("*/*.csv")])
    files = [one for one in files if one.suffix.lower() == ".csv" and not is_openimages(one)]
    files = [one for one in files if _columns(header(one)) is not None]
    if len(files) == 1 and "split" in (columns := _columns(header(files[0])) or {}):
        named = {
            split_in(cells[columns["split"]]) for _, cells in rows(files[0]) if columns["split"] < len(cells)
        }
        if named & set(SPLITS):
            return {name: files[0] for name in SPLITS if name in named}
    return by_split(files)


def read(data: Path, wanted: Collection[str]) -> dict[str, RawSplit]:
    """The wanted splits. Classes are numbered from 1 by their names. A line without numbers is a negative.

    Corners that are all at most 1 are fractions of the image;
    x and y beside a width are taken for its left top corner.
    """
    files, folder = find(data), data.parent if data.is_file() else data
    shared = len(set(files.values())) < len(files)
    read: dict[str, Found] = {}
    for name, file in files.items():
        problems: list[Problem] = []
        entries = _entries(file, relative(file, folder), problems, name if shared else None)
        read[name] = Found(entries, [file.parent, folder], problems)
    boxes = (box for found in read.values() for entry in found.entries for box in entry.boxes)
    fractions = max((value for box in boxes for value in box.corners), default=2) <= 1
    notes = ["no corner is larger than 1: they are read as fractions of the image"] * fractions
    if any("w" in (_columns(header(file)) or {}) for file in files.values()):
        notes.append("boxes are read as left, top, width and height")
    read = {name: replace(found, fractions=fractions, notes=notes) for name, found in read.items()}
    return build_splits(data, NAME, files, read, numbered(labels_of(read)), wanted)


def _columns(titles: Sequence[str]) -> dict[str, int] | None:
    """Where the columns are, None if any is missing; in the usual order if the first line is a box.

    Of x2, y2 and w, h only the former where both are there: then w and h are of the image.
    """
    plain = ["".join(sign for sign in title.lower() if sign.isalnum()) for title in titles]
    found = {
        key: next(plain.index(word) for word in words if word in plain)
        for key, words in TITLES.items()
        if set(words) & set(plain)
    }
    for form, other in ((_CORNERS, _SIDES), (_SIDES, _CORNERS)):
        if {"image", *form, "label"} <= set(found):
            return {key: found[key] for key in found if key in form or key not in other}
    if len(titles) == 6 and all(_is_number(title) for title in titles[1:5]) and not _is_number(titles[5]):
        return {key: place for place, key in enumerate(("image", *_CORNERS, "label"))}
    return None


def _is_number(text: str) -> bool:
    try:
        decimal(text)
    except ValueError:
        return False
    return True


def _entries(file: Path, name: str, problems: list[Problem], split: str | None) -> list[Entry]:
    """The images of a file, those of `split` only if one is named."""
    lines = list(rows(file))
    columns = _columns(lines[0][1]) or {}
    if not _is_number(lines[0][1][columns["x1"]]):
        lines = lines[1:]
    images: dict[str, list[Box]] = {}
    for number, cells in lines:
        row = {key: cells[place] if place < len(cells) else "" for key, place in columns.items()}
        if split is not None and split_in(row["split"]) != split:
            continue
        boxes = images.setdefault(row["image"], [])
        if not any(row[key] for key in (*_form(row), "label")):
            continue
        try:
            boxes.append(_box(row, number))
        except ValueError as error:
            problems.append(problem("entry-malformed", f"{name}:{number}", str(error)))
    return [Entry((image,), name, boxes) for image, boxes in images.items()]


def _form(row: Mapping[str, str]) -> tuple[str, ...]:
    """The four keys that a line says its box by."""
    return _SIDES if "w" in row else _CORNERS


def _box(row: Mapping[str, str], number: int) -> Box:
    given = [row[key] for key in _form(row)]
    try:
        x1, y1, x2, y2 = map(decimal, given)
    except ValueError:
        raise ValueError(f"its box is {', '.join(map(repr, given))}; expected numbers") from None
    if not row["label"]:
        raise ValueError("a box without a class name")
    corners = (x1, y1, x1 + x2, y1 + y2) if "w" in row else (x1, y1, x2, y2)
    return Box(corners, row["label"], number)
