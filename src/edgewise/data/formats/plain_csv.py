"""Plain CSV: a line a box with image path, corners in pixels and class name, under any usual titles."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from edgewise.data.formats.entries import Box, Entry, Source, build, decimal, labels_of, numbered, relative
from edgewise.data.formats.openimages import is_openimages
from edgewise.data.formats.sheets import header, rows
from edgewise.data.problems import problem
from edgewise.data.records import Problem, RawSplit
from edgewise.data.splits import SPLITS, by_split, split_in

NAME = "CSV"

TITLES = {
    "image": ("path", "image", "imagepath", "filename", "file", "filepath", "img", "imagename", "imageid"),
    "x1": ("x1", "xmin", "left", "bboxx1"),
    "y1": ("y1", "ymin", "top", "bboxy1"),
    "x2": ("x2", "xmax", "right", "bboxx2"),
    "y2": ("y2", "ymax", "bottom", "bboxy2"),
    "label": ("label", "class", "classname", "category", "name", "labelname"),
    "split": ("split", "set", "subset"),
}
"""What a column may be called, in small letters without spaces and signs."""

_NEEDED = ("image", "x1", "y1", "x2", "y2", "label")


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
    """The wanted splits. Classes are numbered from 1 by their names. A line without corners is a negative.

    Corners that are all at most 1 are fractions of the image.
    """
    files, problems = find(data), dict[str, list[Problem]]()
    folder = data.parent if data.is_file() else data
    shared = len(set(files.values())) < len(files)
    read = {
        name: _entries(file, relative(file, folder), problems.setdefault(name, []), name if shared else None)
        for name, file in files.items()
    }
    everything = [entry for entries in read.values() for entry in entries]
    largest = max((value for entry in everything for box in entry.boxes for value in box.corners), default=2)
    note = "no corner is larger than 1: they are read as fractions of the image"
    return {
        name: build(
            name,
            Source(data, NAME, files[name]),
            entries,
            numbered(labels_of(everything)),
            [files[name].parent, folder],
            fractions=largest <= 1,
            problems=problems[name],
            notes=[note] if largest <= 1 else [],
        )
        for name, entries in read.items()
        if name in wanted
    }


def _columns(titles: Sequence[str]) -> dict[str, int] | None:
    """Where the columns are, None if any is missing; in the usual order if the first line is a box."""
    plain = ["".join(sign for sign in title.lower() if sign.isalnum()) for title in titles]
    found = {
        key: next(plain.index(word) for word in words if word in plain)
        for key, words in TITLES.items()
        if set(words) & set(plain)
    }
    if set(_NEEDED) <= set(found):
        return found
    if len(titles) == 6 and all(_is_number(title) for title in titles[1:5]) and not _is_number(titles[5]):
        return {key: place for place, key in enumerate(_NEEDED)}
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
        corners = [row[key] for key in ("x1", "y1", "x2", "y2")]
        if not any((*corners, row["label"])):
            continue
        try:
            boxes.append(_box(row, corners, number))
        except ValueError as error:
            problems.append(problem("entry-malformed", f"{name}:{number}", str(error)))
    return [Entry((image,), name, boxes) for image, boxes in images.items()]


def _box(row: Mapping[str, str], corners: Sequence[str], number: int) -> Box:
    try:
        x1, y1, x2, y2 = map(decimal, corners)
    except ValueError:
        raise ValueError(f"corners are {', '.join(map(repr, corners))}; expected numbers") from None
    if not row["label"]:
        raise ValueError("a box without a class name")
    return Box((x1, y1, x2, y2), row["label"], number)
