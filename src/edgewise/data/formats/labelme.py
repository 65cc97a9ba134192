"""LabelMe: a JSON file an image with its shapes, beside the images or in a folder of their own."""

import json
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from edgewise.data.formats.entries import (
    Box,
    Entry,
    Found,
    around,
    build_splits,
    ends,
    labels_of,
    numbered,
    relative,
    undeclared,
)
from edgewise.data.problems import problem
from edgewise.data.records import Problem, RawSplit
from edgewise.data.splits import SPLITS, split_in

NAME = "LabelMe"

_FOLDERS = ("annotations", "Annotations", "labels", "json")
_NO_AREA = ("point", "line", "linestrip", "points")


def find(data: Path) -> dict[str, Path]:
    """The folder of JSON files of each split: train, val, test, or all of it."""
    if not data.is_dir():
        return {}
    folders = sorted([*data.glob("*/"), *data.glob("*/*/")])
    found = {name: one for one in folders if (name := split_in(one.name)) and _is_labelme(one)}
    if found:
        return {name: found[name] for name in SPLITS if name in found}
    places = (data, *(data / name for name in _FOLDERS))
    return next(({"train": one} for one in places if one.is_dir() and _is_labelme(one)), {})


def read(data: Path, wanted: Collection[str]) -> dict[str, RawSplit]:
    """The wanted splits. Classes are numbered from 1 by their names.

    Of a polygon, a circle or a mask the box around it counts.
    """
    files = find(data)
    read: dict[str, Found] = {}
    for name, folder in files.items():
        problems: list[Problem] = []
        entries, outlines, paths = list[Entry](), 0, sorted(folder.glob("*.json"))
        for path in paths:
            file = relative(path, data)
            try:
                entry, count = _entry(path, file, problems)
            except (ValueError, RecursionError) as error:
                problems.append(problem("file-unreadable", file, str(error)))
                continue
            outlines += count
            entries.append(entry)
        entries += undeclared([folder], entries, paths, data)
        notes = [f"of {outlines} polygons, circles and masks the boxes around them count"] * bool(outlines)
        read[name] = Found(entries, [folder, data], problems, notes)
    return build_splits(data, NAME, files, read, numbered(labels_of(read)), wanted)


def _is_labelme(folder: Path) -> bool:
    """Whether the first JSON file there has shapes, at its beginning or end: the image may be between."""
    path = min(folder.glob("*.json"), default=None)
    if path is None:
        return False
    return re.search(rb'"shapes"\s*:', ends(path)) is not None


def _entry(path: Path, file: str, problems: list[Problem]) -> tuple[Entry, int]:
    """The image of a file, and how many of its shapes are no rectangles. ValueError if it has no shapes."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list):
        raise ValueError("no list 'shapes'; expected a LabelMe file")
    boxes, outlines = [], 0
    for number, shape in enumerate(shapes, 1):
        where = f"{file}: annotation {number}"
        kind = shape.get("shape_type", "polygon") if isinstance(shape, dict) else None
        if kind in _NO_AREA:
            problems.append(problem("entry-foreign", where, f"a {kind}; expected a rectangle or polygon"))
            continue
        try:
            boxes.append(Box(_corners(shape, kind), str(shape["label"]), number))
        except (KeyError, TypeError, ValueError):
            problems.append(
                problem(
                    "entry-malformed",
                    where,
                    "expected a label and points [[x, y], …] of a rectangle or polygon",
                )
            )
            continue
        outlines += kind != "rectangle"
    width, height = content.get("imageWidth"), content.get("imageHeight")
    size = (height, width) if type(width) is int and type(height) is int and min(width, height) > 0 else None
    said = content.get("imagePath")
    names = (said, path.stem) if isinstance(said, str) and said else (path.stem,)
    return Entry(names, file, boxes, size), outlines


def _corners(shape: dict[str, Any], kind: str | None) -> tuple[float, float, float, float]:
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if len(points) < 2:
        raise ValueError("fewer than two points")
    if kind == "circle":
        (x, y), edge = points[0], points[1]
        radius = math.dist((x, y), edge)
        return x - radius, y - radius, x + radius, y + radius
    return around(points)
