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
    Source,
    around,
    build,
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
    files, problems = find(data), dict[str, list[Problem]]()
    outlines = dict.fromkeys(files, 0)
    read: dict[str, list[Entry]] = {}
    for name, folder in files.items():
        read[name] = []
        wrong = problems.setdefault(name, [])
        paths = sorted(folder.glob("*.json"))
        for path in paths:
            try:
                entry, count = _entry(path, relative(path, data), wrong)
            except (ValueError, RecursionError) as error:
                wrong.append(problem("file-unreadable", relative(path, data), str(error)))
                continue
            outlines[name] += count
            read[name].append(entry)
        read[name] += undeclared([folder], read[name], paths, data)
    categories = numbered(labels_of(entry for entries in read.values() for entry in entries))
    return {
        name: build(
            name,
            Source(data, NAME, files[name]),
            entries,
            categories,
            [files[name], data],
            problems=problems[name],
            notes=[f"of {outlines[name]} polygons, circles and masks the boxes around them count"]
            if outlines[name]
            else [],
        )
        for name, entries in read.items()
        if name in wanted
    }


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
    names = (said, Path(path.stem).name) if isinstance(said, str) and said else (path.stem,)
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
