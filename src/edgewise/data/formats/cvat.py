"""CVAT for images 1.1: one XML file with every image, its boxes and the classes."""

import math
import re
from collections.abc import Collection
from pathlib import Path

from edgewise.data.formats.entries import (
    Box,
    Entry,
    Found,
    around,
    build_splits,
    decimal,
    labels_of,
    numbered,
    relative,
)
from edgewise.data.formats.markup import Element, read_xml
from edgewise.data.problems import problem
from edgewise.data.records import Problem, RawSplit
from edgewise.data.splits import SPLITS, by_split, split_in

NAME = "CVAT"

_NO_AREA = ("points", "polyline", "tag", "skeleton", "cuboid")


def find(data: Path) -> dict[str, Path]:
    """The XML file of each split; of a lone one those that its images name as their subset, else train."""
    files = [data] if data.is_file() else sorted([*data.glob("*.xml"), *data.glob("*/annotations.xml")])
    files = [one for one in files if one.suffix.lower() == ".xml" and _is_cvat(one)]
    if len(files) == 1:
        subsets = {
            one.decode() for one in set(re.findall(rb'<image [^>]*subset="(\w+)"', files[0].read_bytes()))
        }
        named = {split_in(one) for one in subsets}
        if named & set(SPLITS):
            return {name: files[0] for name in SPLITS if name in named}
    return by_split(files)


def read(data: Path, wanted: Collection[str]) -> dict[str, RawSplit]:
    """The wanted splits. Classes are numbered from 1 in the file's order.

    Of a polygon, an ellipse, a mask or a turned box the upright box around it counts.
    """
    files, folder = find(data), data.parent if data.is_file() else data
    shared = len(set(files.values())) < len(files)
    read: dict[str, Found] = {}
    labels: list[str] = []
    for name, path in files.items():
        problems: list[Problem] = []
        entries, outlines, file = list[Entry](), 0, relative(path, folder)
        try:
            root = _root(path)
        except ValueError as error:
            problems.append(problem("file-unreadable", file, str(error)))
        else:
            labels += _labels(root)
            for image in root.all("image"):
                if not shared or split_in(image.attributes.get("subset", "")) == name:
                    entry, count = _entry(image, file, problems)
                    entries.append(entry)
                    outlines += count
        notes = [f"of {outlines} polygons, ellipses and masks the boxes around them count"] * bool(outlines)
        read[name] = Found(entries, [path.parent, folder], problems, notes)
    return build_splits(data, NAME, files, read, numbered([*labels, *labels_of(read)]), wanted)


def _root(path: Path) -> Element:
    """The annotations of a file. ValueError says why they are not read."""
    root = read_xml(path)
    if root.all("track"):
        raise ValueError("tracks of a video; export it as CVAT for images")
    return root


def _is_cvat(path: Path) -> bool:
    with path.open("rb") as file:
        return b"<annotations>" in file.read(2048)


def _labels(root: Element) -> list[str]:
    """The class names of the task or project, in its order."""
    return [
        label.get("name")
        for meta in root.all("meta")
        for holder in meta.children
        for labels in holder.all("labels")
        for label in labels.all("label")
    ]


def _entry(image: Element, file: str, problems: list[Problem]) -> tuple[Entry, int]:
    """The image, and how many of its shapes are no boxes."""
    boxes, outlines = [], 0
    for shape in image.children:
        where = f"{file}:{shape.line}"
        if shape.tag in _NO_AREA:
            problems.append(problem("entry-foreign", where, f"<{shape.tag}>; expected <box> or <polygon>"))
            continue
        try:
            boxes.append(Box(_corners(shape), shape.attributes["label"], shape.line))
        except (KeyError, ValueError):
            problems.append(
                problem(
                    "entry-malformed",
                    where,
                    f"<{shape.tag}> {shape.attributes}; expected a label and numbers",
                )
            )
            continue
        outlines += shape.tag != "box"
        if shape.tag == "box" and _turned(shape):
            problems.append(problem("box-rotated", where, f"a box turned by {_turned(shape):g}°"))
    try:
        size = int(image.attributes["height"]), int(image.attributes["width"])
    except (KeyError, ValueError):
        size = None
    number = image.attributes.get("id", "")
    image_id = int(number) if number.isdecimal() else None
    return Entry((image.attributes.get("name", ""),), file, boxes, size, image_id=image_id), outlines


def _turned(shape: Element) -> float:
    return decimal(shape.attributes.get("rotation", "0"))


def _corners(shape: Element) -> tuple[float, float, float, float]:
    """The upright box around a shape. KeyError or ValueError if its numbers are not there."""
    if shape.tag == "box":
        x1, y1, x2, y2 = (decimal(shape.attributes[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        angle = math.radians(_turned(shape))
        if not angle:
            return x1, y1, x2, y2
        x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        across = abs(w * math.cos(angle)) + abs(h * math.sin(angle))
        down = abs(w * math.sin(angle)) + abs(h * math.cos(angle))
        return x - across / 2, y - down / 2, x + across / 2, y + down / 2
    values = shape.attributes
    if shape.tag == "polygon":
        points = [point.split(",") for point in values["points"].split(";")]
        return around([(float(x), float(y)) for x, y in points])
    if shape.tag == "ellipse":
        x, y, rx, ry = (decimal(values[key]) for key in ("cx", "cy", "rx", "ry"))
        return x - rx, y - ry, x + rx, y + ry
    x, y, w, h = (decimal(values[key]) for key in ("left", "top", "width", "height"))  # a mask
    return x, y, x + w, y + h
