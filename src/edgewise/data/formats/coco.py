"""COCO: a JSON file for all, a file a split, Roboflow's folders, COCO's own layout.

Also knows what only COCO files have: numbers of their own for images, categories and boxes, crowds, areas
of segmentations, and categories that only name a group of others.
"""

import json
import math
import re
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from edgewise.data.formats.entries import ends, measured, relative
from edgewise.data.formats.places import image_paths
from edgewise.data.problems import problem
from edgewise.data.records import Problem, RawImage, RawSplit
from edgewise.data.splits import by_split, split_of

NAME = "COCO"

KEYS = ("images", "annotations", "categories")
Objects = list[dict[str, Any]]


# ── finding ────────────────────────────────────────────────────────────────────────────────────────


def find(data: Path) -> dict[str, Path]:
    """The annotation file of each split found in a folder or its direct sub folders, in the order of SPLITS.

    A JSON file counts for the split its name says (instances_val2017.json), else for the one its folder
    says (valid/_annotations.coco.json); where nothing says a split, a lone COCO file is train. For a JSON
    file: that file, as the split it says, else as train.
    """
    if data.is_file():
        return by_split([data]) if data.suffix.lower() == ".json" else {}
    files = sorted([*data.glob("*.json"), *data.glob("*/*.json")])
    named = [path for path in files if split_of(path) is not None]
    if any(_is_standard(path) for path in named):
        named = [path for path in named if _is_standard(path)]
    if named:
        named = [path for path in named if not _is_labelme(path)]
        if len({split_of(path) for path in named}) < len(named):
            named = [path for path in named if _has_keys(path)]
        return by_split(named)  # one of them may be broken: its reading will tell
    return by_split([path for path in files if _has_keys(path) and not _is_labelme(path)])


def _is_standard(path: Path) -> bool:
    return path.name == "_annotations.coco.json" or path.name.startswith("instances_")


def _is_labelme(path: Path) -> bool:
    """LabelMe writes a JSON file an image, with its shapes."""
    return re.search(rb'"shapes"\s*:', ends(path)) is not None


def _has_keys(path: Path) -> bool:
    """Whether the beginning or end of a file has one of COCO's keys."""
    return re.search(rb'"(images|annotations|categories)"\s*:', ends(path)) is not None


# ── reading ────────────────────────────────────────────────────────────────────────────────────────


def read(data: Path, wanted: Collection[str]) -> dict[str, RawSplit]:
    """The wanted splits. Of the others only the categories are read, unless there is doubt about one."""
    files = find(data)
    parsed = {name: _File(path, data) for name, path in files.items() if name in wanted}
    categories = [
        parsed[name].categories if name in parsed else _categories_of(path) for name, path in files.items()
    ]
    groups = _groups(list(chain.from_iterable(categories)))
    for name, path in files.items():
        if groups:
            content = parsed[name].content if name in parsed else _content_of(path)
            groups -= _used_names(content)
    ids: dict[str, int] = {}  # of the first split that has the class
    for one in chain.from_iterable(categories):
        if one["name"] not in groups:
            ids.setdefault(one["name"], one["id"])
    notes = [
        f"category {name!r} is left out: it only groups others and has no boxes" for name in sorted(groups)
    ]
    return {name: one.split(name, ids, notes) for name, one in parsed.items()}


def _groups(categories: Objects) -> set[str]:
    """Categories that others name as their supercategory. Roboflow writes one, with id 0."""
    return {one["name"] for one in categories} & {
        str(one.get("supercategory")) for one in categories if one.get("supercategory") != one["name"]
    }


def _used_names(content: dict[str, Objects]) -> set[str]:
    name_of = {one.get("id"): str(one.get("name")) for one in content["categories"] if _is_id(one.get("id"))}
    used = {one.get("category_id") for one in content["annotations"] if _is_id(one.get("category_id"))}
    return {name_of[number] for number in used if number in name_of}


def _categories_of(path: Path) -> Objects:
    """The categories of a file, by id, without parsing all of it where they stand at its end or beginning."""
    content = path.read_bytes()
    start = content.find(b"[", content.rfind(b'"categories"'))
    try:
        found, _ = json.JSONDecoder().raw_decode(content[start : start + 2**20].decode("utf-8", "ignore"))
        if start > 0 and _valid(found):
            return sorted(found, key=lambda one: int(one["id"]))
    except ValueError:
        pass
    return sorted(
        (one for one in _content_of(path)["categories"] if _valid([one])), key=lambda one: int(one["id"])
    )


def _valid(found: object) -> bool:
    """Whether these are categories."""
    return isinstance(found, list) and all(
        isinstance(one, dict) and _is_id(one.get("id")) and isinstance(one.get("name"), str) for one in found
    )


def _content_of(path: Path) -> dict[str, Objects]:
    """What can be understood of a file: another split's, whose own reading says what is wrong with it."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        content = {}
    lists = {key: content.get(key, []) if isinstance(content, dict) else [] for key in KEYS}
    return {key: [one for one in found if isinstance(one, dict)] for key, found in lists.items()}


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


class _File:
    """One annotation file as it is read: what is wrong with it gathers in `problems`."""

    def __init__(self, path: Path, data: Path) -> None:
        self.path, self.data = path, data
        self.name = relative(path, data if data.is_dir() else data.parent)
        self.problems: list[Problem] = []
        self.content = self._parse()
        self.categories = self._categories()

    def split(self, name: str, ids: dict[str, int], notes: Sequence[str]) -> RawSplit:
        """As the split `name`, with the classes of `ids`: their numbers where this file does not say them."""
        images = self._images(name)
        return RawSplit(
            name=name,
            format=NAME,
            file=self.path,
            categories=self._numbers(ids),
            images=tuple(images),
            problems=tuple(self.problems),
            notes=tuple(notes),
            data=self.data,
        )

    def _add(self, kind: str, which: str, message: str) -> None:
        self.problems.append(problem(kind, f"{self.name}: {which}" if which else self.name, message))

    def _parse(self) -> dict[str, Objects]:
        nothing: dict[str, Objects] = {key: [] for key in KEYS}
        try:
            content = json.loads(self.path.read_bytes())
        except (ValueError, RecursionError) as error:
            self._add("file-unreadable", "", f"not JSON: {error}")
            return nothing
        for key in KEYS:
            found = content.get(key) if isinstance(content, dict) else None
            if not isinstance(found, list):
                self._add(
                    "file-unreadable", "", f"no list {key!r}; expected a COCO file with {', '.join(KEYS)}"
                )
                return nothing
            for index, one in enumerate(found):
                if not isinstance(one, dict):
                    self._add("entry-malformed", "", f"{key}[{index}] is {one!r}; expected an object")
        if not content["categories"]:
            self._add("entry-malformed", "", "no categories; expected at least one")
        return {key: [one for one in content[key] if isinstance(one, dict)] for key in KEYS}

    def _integers(self, what: str, objects: Objects, key: str) -> list[bool]:
        """Whether each object has an id under `key`; a problem for each that has not."""
        values: list[Any] = [one.get(key) for one in objects]
        if set(map(type, values)) <= {int} and (not values or (min(values) >= 0 and max(values) < 2**63)):
            return [True] * len(values)
        for index, (one, value) in enumerate(zip(objects, values, strict=True)):
            if not _is_id(value):
                self._wrong(what, index, one, key, "an integer >= 0")
        return [_is_id(value) for value in values]

    def _wrong(self, what: str, index: int, one: dict[str, Any], key: str, expected: str) -> None:
        """«image 7: width is -1; expected …», by its id where that is not what is wrong, or its place."""
        which = f"{what} {one['id']}" if "id" in one and key != "id" else f"{what} number {index}"
        given = f"{key} is {one[key]!r}" if key in one else f"no {key}"
        self._add("entry-malformed", which, f"{given}; expected {expected}")

    # ── categories ─────────────────────────────────────────────────────────────────────────────────

    def _categories(self) -> Objects:
        """Those that have an id and a name, by id."""
        found, known = [], set()
        given = self.content["categories"]
        for index, (one, good) in enumerate(zip(given, self._integers("category", given, "id"), strict=True)):
            name = one.get("name")
            if not isinstance(name, str) or not name:
                self._wrong("category", index, one, "name", "a text")
            elif good and one["id"] in known:
                self._add(
                    "category-id-twice", f"category {one['id']}", f"{name!r} is not the first of this id"
                )
            elif good:
                known.add(one["id"])
                found.append(one)
        return sorted(found, key=lambda one: int(one["id"]))

    def _numbers(self, ids: dict[str, int]) -> dict[int, str]:
        """Category numbers → class names, in the order of `ids`: the file's own where it has them."""
        own = {one["id"]: one["name"] for one in self.categories}
        numbers: dict[int, str] = {}
        for name, elsewhere in ids.items():
            mine = [number for number, other in own.items() if other == name]
            if not mine:
                taken = {*own, *numbers, *ids.values()}
                mine = [elsewhere if elsewhere not in {*own, *numbers} else max(taken) + 1]
            numbers |= dict.fromkeys(mine, name)
        return numbers

    # ── images and their boxes ─────────────────────────────────────────────────────────────────────

    def _images(self, split: str) -> list[RawImage]:
        given = self._good_images()
        paths = self._paths(given, split)
        sizes = [self._size(one, path) for one, path in zip(given, paths, strict=True)]
        image_ids = [one["id"] for one in given]
        place = {image_id: index for index, image_id in enumerate(image_ids)}
        image, boxes, categories, crowd, area, lines = self._boxes(place)
        order = np.argsort(image, kind="stable")
        ends = np.searchsorted(image[order], np.arange(len(given) + 1)).tolist()
        boxes, categories, crowd, area, lines = (
            column[order] for column in (boxes, categories, crowd, area, lines)
        )
        return [
            RawImage(
                path,
                image_id,
                size,
                boxes[first:last],
                categories[first:last],
                crowd[first:last],
                area[first:last],
                self.name,
                lines[first:last],
            )
            for path, image_id, size, first, last in zip(
                paths, image_ids, sizes, ends[:-1], ends[1:], strict=True
            )
        ]

    def _good_images(self) -> Objects:
        """Images that have an id of their own and a file name within the data set."""
        given = self.content["images"]
        good, seen = [], set()
        for index, (one, fine) in enumerate(zip(given, self._integers("image", given, "id"), strict=True)):
            name = one.get("file_name")
            if not isinstance(name, str) or not name:
                self._wrong("image", index, one, "file_name", "a text")
            elif _leads_out(name):
                self._add(
                    "image-outside",
                    f"image {one.get('id')}",
                    f"file_name {name!r} leads out of the image folder; expected a path without '..'",
                )
            elif fine and one["id"] in seen:
                self._add("image-id-twice", f"image {one['id']}", f"{name} is not the first image of this id")
            elif fine:
                seen.add(one["id"])
                good.append(one)
        return good

    def _paths(self, images: Objects, split: str) -> list[Path]:
        bases = [self.path.parent, self.data] if self.data.is_dir() else [self.path.parent]
        try:
            return image_paths([(one["file_name"],) for one in images], bases, split)
        except LookupError as error:
            self._add("images-not-found", "", str(error))
            return [self.path.parent / one["file_name"] for one in images]

    def _size(self, one: dict[str, Any], path: Path) -> tuple[int, int] | None:
        """(height, width) as annotated; the file's own where it is left out or, as some tools write, zero."""
        width, height = one.get("width"), one.get("height")
        if type(width) is int and type(height) is int and width > 0 and height > 0:
            return height, width
        if ("width" not in one and "height" not in one) or (width == 0 and height == 0):
            return measured(path, f"{self.name}: image {one['id']}", self.problems)
        if (
            isinstance(width, float)
            and isinstance(height, float)
            and width % 1 == height % 1 == 0 < width * height
        ):
            return int(height), int(width)
        self._add(
            "entry-malformed",
            f"image {one['id']}",
            f"{height!r}x{width!r} pixels (height x width); expected integers >= 1",
        )
        return None

    def _boxes(self, place: dict[int, int]) -> tuple[np.ndarray, ...]:
        """Of all usable annotations: image index, boxes_xyxy, category_ids, crowd, area, ids."""
        given = self.content["annotations"]
        checks = [self._integers("annotation", given, key) for key in ("id", "image_id", "category_id")]
        checks.append(self._are_boxes(given))
        checks.append(self._are_flags(given))
        if not all(map(all, checks)):
            given = [one for one, *fine in zip(given, *checks, strict=True) if all(fine)]
        image = [place.get(one["image_id"], -1) for one in given]
        if -1 in image:
            self._strangers(given)
            given = [one for one, index in zip(given, image, strict=True) if index >= 0]
            image = [index for index in image if index >= 0]
        boxes = np.array([one["bbox"] for one in given], np.float64).reshape(-1, 4)
        with np.errstate(invalid="ignore"):  # inf - inf
            boxes[:, 2:] += boxes[:, :2]
        return (
            np.array(image, np.int64),
            boxes,
            np.array([one["category_id"] for one in given], np.int64),
            np.array([one.get("iscrowd", 0) for one in given], bool),
            np.array([_area(one.get("area")) for one in given], np.float64),
            np.array([one["id"] for one in given], np.int64),
        )

    def _are_boxes(self, given: Objects) -> list[bool]:
        boxes: list[Any] = [one.get("bbox") for one in given]
        if set(map(type, boxes)) <= {list} and set(map(len, boxes)) <= {4}:
            numbers = list(chain.from_iterable(boxes))
            if set(map(type, numbers)) <= {float} or all(map(_is_number, numbers)):
                return [True] * len(boxes)
        fine = [isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) for box in boxes]
        for index, good in enumerate(fine):
            if not good:
                self._wrong("annotation", index, given[index], "bbox", "[x, y, width, height]")
        return fine

    def _are_flags(self, given: Objects) -> list[bool]:
        fine = [one.get("iscrowd", 0) in (0, 1) for one in given]
        for index, good in enumerate(fine):
            if not good:
                self._wrong("annotation", index, given[index], "iscrowd", "0 or 1")
        return fine

    def _strangers(self, given: Objects) -> None:
        """Annotations of images that the file does not list, or lists wrongly, which is said already."""
        listed = {one["id"] for one in self.content["images"] if _is_id(one.get("id"))}
        for one in given:
            if one["image_id"] not in listed:
                self._add(
                    "image-unknown",
                    f"annotation {one['id']}",
                    f"image_id {one['image_id']} is not among the file's images; add it there or delete this",
                )


def _leads_out(name: str) -> bool:
    if not any(sign in name for sign in ("..", "\\", ":")):
        return name.startswith("/")
    path = PureWindowsPath(name)
    return bool(path.anchor) or ".." in path.parts


def _is_number(value: object) -> bool:
    """Of a size that a float can have."""
    return type(value) is float or (type(value) is int and -(2**1000) < value < 2**1000)


def _area(value: object) -> float:
    """As annotated where that is a positive number, else nan."""
    usable = isinstance(value, int | float) and 0 < value < math.inf
    return float(value) if usable else math.nan  # type: ignore[arg-type]
