"""YOLO: text files of `class cx cy w h` in fractions of the image, found through data.yaml or obj.data.

Exporters write paths that only hold on their own machine: relative to the file, to its `path:`, with `../`
before a folder that is beside, with folders that are gone. Each is looked for in all these ways.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from edgewise.data.formats.entries import Box, Entry, Found, around, build_splits, relative
from edgewise.data.formats.places import drop, image_paths, parts_of
from edgewise.data.problems import problem
from edgewise.data.records import Problem, RawSplit
from edgewise.data.splits import SPLITS, split_in
from edgewise.images import SUFFIXES

NAME = "YOLO"

_NAME_FILES = ("classes.txt", "obj.names", "names.txt", "classes.names", "predefined_classes.txt")
_LARGEST_YAML = 2**20


@dataclass(frozen=True)
class _Layout:
    """Where a YOLO data set says its things are.

    splits     folders of images, or text files that list them
    names      classes by number; None where nothing names them
    bases      what relative paths may start from
    naming     the file that names the classes
    problems   what is wrong with what it says
    keypoints  boxes are followed by keypoints, which are not read
    """

    splits: Mapping[str, Sequence[Path]]
    names: Mapping[int, str] | None
    bases: tuple[Path, ...]
    naming: Path | None = None
    keypoints: bool = False
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def find(data: Path) -> dict[str, Path]:
    """The image folder or list of each split that data.yaml, obj.data or the folders name."""
    layout = _layout(data)
    return {name: layout.splits[name][0] for name in SPLITS if name in layout.splits} if layout else {}


def read(data: Path, wanted: Collection[str]) -> dict[str, RawSplit]:
    """The wanted splits. A label line is a box, or a polygon, of which the box around it counts."""
    layout = _layout(data)
    assert layout is not None
    needed = [name for name in SPLITS if name in layout.splits and (name in wanted or layout.names is None)]
    root = data.parent if data.is_file() else data
    read: dict[str, Found] = {}
    for name in needed:
        problems = list(layout.problems)
        paths = layout.splits[name]
        entries = [one for path in paths for one in _entries(path, name, layout, root, problems)]
        read[name] = Found(entries, layout.bases, problems, fractions=True)
    names, notes = layout.names, layout.notes
    if names is None:
        boxes = (box for found in read.values() for entry in found.entries for box in entry.boxes)
        numbers = {int(box.label) for box in boxes}
        names = {number: str(number) for number in sorted(numbers)}
        notes = (*notes, f"no file such as data.yaml or {_NAME_FILES[0]} names the classes: they are numbers")
    read = {name: replace(found, notes=notes) for name, found in read.items()}
    files = {name: paths[0] for name, paths in layout.splits.items()}
    splits = build_splits(data, NAME, files, read, names, wanted)
    return {name: replace(split, naming=layout.naming) for name, split in splits.items()}


# ── finding ────────────────────────────────────────────────────────────────────────────────────────


def _layout(data: Path) -> _Layout | None:
    for file in [data] if data.is_file() else sorted(data.glob("*.y*ml"), key=lambda one: one.stem != "data"):
        if file.suffix.lower() in (".yaml", ".yml") and (content := _yaml(file)):
            return _of_yaml(file, content)
    for file in [data] if data.is_file() else sorted(data.glob("*.data")):
        if file.suffix.lower() == ".data" and (content := _pairs(file)):
            return _of_darknet(file, content)
    return _of_folders(data) if data.is_dir() else None


def _yaml(file: Path) -> dict[str, Any] | None:
    """What a YAML file says if it describes a data set. ValueError if one that is called so is no YAML."""
    if file.stat().st_size > _LARGEST_YAML:
        return None
    try:
        content = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, RecursionError) as error:
        if file.stem in ("data", "dataset"):
            raise ValueError(f"{file}: not YAML: {error}") from None
        return None
    if not isinstance(content, dict) or not {"names", "nc"} & set(content):
        return None
    return content if {"train", "val", "valid", "test"} & set(content) else None


def _of_yaml(file: Path, content: Mapping[str, Any]) -> _Layout:
    root = content.get("path")
    bases = [file.parent / root, Path(root)] if isinstance(root, str) else []
    bases = list(dict.fromkeys([*bases, file.parent]))
    splits, notes = _resolved(
        file, {name: content.get(name) for name in ("train", "val", "valid", "test")}, bases
    )
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, dict):
        try:
            names = {int(number): str(name).strip() for number, name in names.items()}
        except (TypeError, ValueError):
            raise ValueError(f"{file}: names has a number that is none; expected 0: cat, 1: dog, …") from None
    elif names is not None:
        raise ValueError(f"{file}: names is {names!r}; expected a list of class names, or 0: cat, 1: dog, …")
    given, problems = content.get("nc"), []
    if names is not None and given not in (None, len(names)):
        found = f"nc is {given!r}, but names has {len(names)}; correct the one that is wrong"
        problems = [problem("category-count", file.name, found)]
    return _Layout(splits, names, tuple(bases), file, "kpt_shape" in content, notes, tuple(problems))


def _pairs(file: Path) -> dict[str, str]:
    """`key = value` lines, if they are darknet's."""
    if file.stat().st_size > _LARGEST_YAML:
        return {}
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    return pairs if "train" in pairs else {}


def _of_darknet(file: Path, content: Mapping[str, str]) -> _Layout:
    bases = [file.parent, file.parent.parent]
    splits, notes = _resolved(
        file, {name: content.get(name) for name in ("train", "val", "valid", "test")}, bases
    )
    named = _look(content["names"], bases) if "names" in content else None
    naming = named or _name_file(file.parent)
    return _Layout(splits, _names_in(naming), tuple(bases), naming, notes=notes)


def _of_folders(data: Path) -> _Layout | None:
    """images/train beside labels/train, train/images beside train/labels, or images beside labels."""
    splits: dict[str, list[Path]] = {}
    for images in sorted([*data.glob("images/*"), *data.glob("*/images")]):
        name = split_in(images.name) or split_in(images.parent.name)
        if name and images.is_dir() and any(_labels_of(images).glob("*.txt")):
            splits.setdefault(name, []).append(images)
    flat = data / "images"
    if not splits and flat.is_dir() and any((data / "labels").glob("*.txt")):
        splits["train"] = [flat]
    naming = _name_file(data)
    return _Layout(splits, _names_in(naming), (data,), naming) if splits else None


def _name_file(folder: Path) -> Path | None:
    places = (base / name for base in (folder, folder / "labels") for name in _NAME_FILES)
    return next((path for path in places if path.is_file()), None)


def _names_in(file: Path | None) -> dict[int, str] | None:
    """The lines of a file of class names."""
    if file is None:
        return None
    lines = file.read_text(encoding="utf-8-sig", errors="replace").strip().splitlines()
    return {number: line.strip() for number, line in enumerate(lines)}


def _resolved(
    file: Path, given: Mapping[str, Any], bases: Sequence[Path]
) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Folders and lists by split, and a note for each split whose folder is not there.

    FileNotFoundError if it is that of train.
    """
    splits: dict[str, list[Path]] = {}
    notes = []
    for key, value in given.items():
        words = value if isinstance(value, list) else [value] if value else []
        name = "val" if key == "valid" else key
        for word in words:
            path = _look(str(word), bases)
            if path is not None:
                splits.setdefault(name, []).append(path)
            elif key == "train":
                raise FileNotFoundError(
                    f"{file}: train: {word} was not found from {' or '.join(map(str, bases))}; "
                    "put the images there or correct the path"
                )
            else:
                notes.append(f"{file}: {key}: {word} is not there: left out")
    return splits, tuple(notes)


def _look(name: str, bases: Sequence[Path]) -> Path | None:
    """What `name` means from one of `bases`, its folders dropped from the left if it must be."""
    parts = parts_of(name)
    for dropped in range(len(parts)):
        for base in bases:
            path = Path(os.path.normpath(base.joinpath(*drop(parts, dropped))))
            if path.exists():
                return path
    return None


# ── reading ────────────────────────────────────────────────────────────────────────────────────────


def _entries(path: Path, split: str, layout: _Layout, root: Path, problems: list[Problem]) -> Iterator[Entry]:
    """The images of a folder, or of a text file that lists them, with their labels."""
    if path.is_dir():
        images = _images_in(path)
        pairs = [(image, _label_of(image)) for image in images]
        problems += _orphans(pairs, root)
    else:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        bases = (path.parent, *layout.bases)
        try:
            images = image_paths([(name,) for name in names], bases, split)
        except LookupError as error:
            problems.append(problem("images-not-found", relative(path, root), str(error)))
            images = [path.parent / name for name in names]
        pairs = [
            (image, _listed_label(name, image, bases)) for name, image in zip(names, images, strict=True)
        ]
    for image, label in pairs:
        written = label.is_file()
        file = relative(label if written else image, root)
        boxes = _boxes(label, file, layout.keypoints, problems) if written else []
        yield Entry((), file, boxes, path=image, declared=written)


def _images_in(folder: Path) -> list[Path]:
    """Sub folders included, sorted."""
    return sorted(
        Path(where) / name
        for where, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(SUFFIXES)
    )


def _labels_of(folder: Path) -> Path:
    """The folder as it is called with its last `images` replaced by `labels`."""
    parts = list(folder.parts)
    for index in reversed(range(len(parts))):
        if parts[index].lower() == "images":
            parts[index] = "labels"
            return Path(*parts)
    return folder


def _label_of(image: Path) -> Path:
    """In the folder of labels, or beside the image if it is there only."""
    name = f"{image.stem}.txt"
    apart, beside = _labels_of(image.parent) / name, image.parent / name
    return beside if beside.is_file() and not apart.is_file() else apart


def _listed_label(name: str, image: Path, bases: Sequence[Path]) -> Path:
    """The label of a listed image: near it, or where the list says, though the image may be elsewhere."""
    near = _label_of(image)
    if near.is_file():
        return near
    *folders, last = parts_of(name)
    return _look("/".join([*folders, f"{last.rsplit('.', 1)[0]}.txt"]), bases) or near


def _orphans(pairs: Sequence[tuple[Path, Path]], root: Path) -> Iterator[Problem]:
    """Label files of images that are not there, in folders of nothing but labels."""
    known = {label for _, label in pairs}
    folders = {label.parent for _, label in pairs} - {image.parent for image, _ in pairs}
    for folder in sorted(folders):
        for path in sorted(folder.glob("*.txt")):
            if path not in known and path.name not in _NAME_FILES:
                yield problem("label-without-image", relative(path, root), f"no image is called {path.stem}")


def _boxes(path: Path, file: str, keypoints: bool, problems: list[Problem]) -> list[Box]:
    """The boxes of a label file, as fractions, and what is wrong with its lines."""
    boxes = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            label, corners, polygon = _line(line, keypoints)
        except ValueError as error:
            problems.append(problem("entry-malformed", f"{file}:{number}", str(error)))
            continue
        if polygon:
            problems.append(
                problem("polygon-line", f"{file}:{number}", "a polygon; expected class cx cy w h")
            )
        boxes.append(Box(corners, label, number))
    return boxes


def _line(line: str, keypoints: bool) -> tuple[int, tuple[float, float, float, float], bool]:
    """Class, corners, and whether it was a polygon. ValueError says what the line is instead."""
    shown = line.strip() if len(line) < 60 else f"{line.strip()[:60]}…"
    try:
        label, *values = map(float, line.split())
    except ValueError:
        raise ValueError(f"{shown!r}; expected numbers: class cx cy w h") from None
    if not label.is_integer() or abs(label) > 1e9:
        raise ValueError(f"class {label:g}; expected a whole number")
    if max(values, default=0) > 2:
        raise ValueError(f"{shown!r} is in pixels; expected fractions of the image: class cx cy w h")
    values = values[:4] if keypoints else values
    if len(values) == 4:
        x, y, w, h = values
        return int(label), (x - w / 2, y - h / 2, x + w / 2, y + h / 2), False
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values) + 1} numbers; expected 5, class cx cy w h, or a polygon's")
    return int(label), around(list(zip(values[::2], values[1::2], strict=True))), True
