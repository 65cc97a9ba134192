"""Pascal VOC: an XML file an image, in Annotations beside JPEGImages, with ImageSets/Main or without it, or
beside the images.

Corners are taken as they are written: VOC itself counts pixels from 1, most tools that write it from 0.
"""

import re
from collections.abc import Collection
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
    undeclared,
)
from edgewise.data.formats.markup import Element, read_xml
from edgewise.data.problems import problem
from edgewise.data.records import Problem, RawSplit
from edgewise.data.splits import SPLITS, split_in
from edgewise.images import SUFFIXES

NAME = "Pascal VOC"


def find(data: Path) -> dict[str, Path]:
    """The list or folder of each split: ImageSets/Main/train.txt, Annotations/train, train, or all of it."""
    root = _root(data)
    if root is None:
        return {}
    lists = {path.stem: path for path in sorted((root / "ImageSets" / "Main").glob("*.txt"))}
    found = {name: lists[one] for name, words in SPLITS.items() for one in words if one in lists}
    for other in ("trainval", "default"):
        if other in lists and "train" not in found:
            found["train"] = lists[other]
    if found:
        return {name: found[name] for name in SPLITS if name in found}
    for base in (root / "Annotations", root):
        folders = [one for one in sorted(base.glob("*/")) if _is_voc(one)]
        found = {name: one for one in folders if (name := split_in(one.name))}
        if found:
            return {name: found[name] for name in SPLITS if name in found}
    return {"train": root / "Annotations" if _is_voc(root / "Annotations") else root}


def read(data: Path, wanted: Collection[str]) -> dict[str, RawSplit]:
    """The wanted splits. All are read, since the classes are those of all.

    They are numbered from 1: those of labelmap.txt in its order, then others by their names.
    """
    root, files = _root(data), find(data)
    assert root is not None
    read: dict[str, Found] = {}
    for name, file in files.items():
        problems: list[Problem] = []
        paths = sorted(file.glob("*.xml")) if file.is_dir() else _listed(file, root / "Annotations")
        entries = [entry for path in paths for entry in read_image(path, data, problems)]
        if file.is_dir() and len(files) == 1:
            folders = (root / "JPEGImages", root / "images", file)
            entries += undeclared(folders, entries, paths, data)
        read[name] = Found(entries, [root, *([file] if file.is_dir() else [])], problems)
    return build_splits(data, NAME, files, read, numbered([*_named(root), *labels_of(read)]), wanted)


def read_image(path: Path, data: Path, problems: list[Problem], name: str = "") -> list[Entry]:
    """The image of one XML file, none if it cannot be read; `name` is how it is called if not like the file.

    What is wrong with it is added to `problems`.
    """
    file = relative(path, data)
    stem = name or path.stem
    if not path.is_file():  # a list names an image that has no annotation
        return [Entry((stem,), relative(path, data), declared=False)]
    try:
        root = read_xml(path)
        if root.tag != "annotation":
            raise ValueError(f"its element is <{root.tag}>; expected <annotation>")
    except ValueError as error:
        problems.append(problem("file-unreadable", file, str(error)))
        return []
    boxes = []
    for one in root.all("object"):
        try:
            boxes.append(_box(one))
        except ValueError as error:
            problems.append(problem("entry-malformed", f"{file}:{one.line}", str(error)))
    return [Entry(_names(root, stem), file, boxes, _size(root))]


def _box(one: Element) -> Box:
    label = one.get("name")
    if not label:
        raise ValueError("an object without a name")
    frame = one.all("bndbox")
    if not frame:
        raise ValueError(f"{label} without <bndbox>; expected xmin, ymin, xmax, ymax")
    try:
        x1, y1, x2, y2 = (decimal(frame[0].get(key)) for key in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        given = ", ".join(f"{child.tag} {child.text.strip()!r}" for child in frame[0].children)
        raise ValueError(f"bndbox is {given or 'empty'}; expected numbers: xmin, ymin, xmax, ymax") from None
    return Box((x1, y1, x2, y2), label, one.line)


def _size(root: Element) -> tuple[int, int] | None:
    """(height, width), None where it is left out or zero as some tools write."""
    try:
        width, height = int(decimal(root.get("size/width"))), int(decimal(root.get("size/height")))
    except (ValueError, OverflowError):
        return None
    return (height, width) if width > 0 and height > 0 else None


def _names(root: Element, stem: str) -> tuple[str, ...]:
    """What the image may be called: like the XML file, or as it says."""
    said = Path(root.get("filename").replace("\\", "/")).name
    if not said:
        return (stem,)
    same = Path(said).stem == Path(stem).name and said.lower().endswith(SUFFIXES)
    exact = str(Path(stem).with_name(said)) if same else said
    return (exact, stem) if same else (stem, said)


def _root(data: Path) -> Path | None:
    """The folder with Annotations, `data` or a lone one in it (VOCdevkit/VOC2012), or with XML files."""
    if not data.is_dir():
        return None
    roots = [one for one in (data, *sorted(data.glob("*/"))) if _is_voc(one / "Annotations", deep=True)]
    if roots:
        return data if data in roots else roots[0]
    folders = [data, *(one for one in sorted(data.glob("*/")) if split_in(one.name))]
    return data if any(_is_voc(one) for one in folders) else None


def _is_voc(folder: Path, deep: bool = False) -> bool:
    """Whether the first XML file there, or with `deep` in its sub folders, is an annotation."""
    if not folder.is_dir():
        return False
    patterns = ("*.xml", "*/*.xml") if deep else ("*.xml",)
    path = next((path for pattern in patterns for path in folder.glob(pattern)), None)
    if path is None:
        return False
    with path.open("rb") as file:
        return re.search(rb"<annotation[\s>]", file.read(2048)) is not None


def _listed(file: Path, folder: Path) -> list[Path]:
    """The annotations of the images in a list, whose lines may go on with a flag."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    whole = [folder / f"{line.strip()}.xml" for line in lines if line.strip()]
    return [
        one if " " not in one.name or one.is_file() else one.with_name(f"{one.name.split()[0]}.xml")
        for one in whole
    ]


def _named(root: Path) -> list[str]:
    """The classes of labelmap.txt, which CVAT writes, without its background; none if it is not there."""
    file = root / "labelmap.txt"
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    names = [line.split(":")[0].strip() for line in lines if line.strip() and not line.startswith("#")]
    return [name for name in names if name != "background"]
