"""Fault → message: each is planted into a clean folder and found, with its severity and its place."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image, ImageDraw

from edgewise.data.records import Severity
from edgewise.doctor.examine import Diagnosis, examine
from tests.doctor.folders import Coco, Yolo, photo, turned


class Case(NamedTuple):
    """A fault that is planted, and the problem that is to be found."""

    plant: Callable[[Path], object]
    severity: Severity
    kind: str
    where: str
    message: str  # a regular expression


def truncated(folder: Path) -> None:
    path = Coco(folder).image("train", 2)
    path.write_bytes(path.read_bytes()[:-400])


def other_size(folder: Path) -> None:
    Coco(folder).edit("train", lambda coco: coco["images"][1].update(width=100))


def rotated(folder: Path, orientation: int = 3) -> None:
    Coco(folder).image("train", 0).write_bytes(turned(photo(0), orientation))


def duplicate(folder: Path) -> None:
    Coco(folder).edit("train", lambda coco: coco["annotations"].append(coco["annotations"][0] | {"id": 99}))


def unknown_category(folder: Path) -> None:
    Coco(folder).edit("train", lambda coco: coco["annotations"][1].update(category_id=7))


def label(folder: Path, text: str) -> None:
    Yolo(folder).label("train", 1).write_text(text)


def forgotten(folder: Path) -> None:
    """One image without a label file, and one whose empty label file declares it a negative."""
    yolo = Yolo(folder)
    yolo.label("train", 1).unlink()
    yolo.label("train", 2).write_text("")


def encoded_again(folder: Path) -> None:
    """The first training image is in val too: smaller, of another quality, so no byte is the same."""
    coco, data = Coco(folder), io.BytesIO()
    Image.open(coco.image("train", 0)).resize((72, 48)).save(data, "JPEG", quality=60)
    coco.add("val", "again.jpg", data.getvalue(), (48, 72))


def next_frame(folder: Path) -> None:
    coco, data = Coco(folder), io.BytesIO()
    picture = Image.open(coco.image("train", 0))
    ImageDraw.Draw(picture).rectangle((60, 40, 66, 46), fill="white")
    picture.save(data, "JPEG", quality=95)
    coco.add("val", "next.jpg", data.getvalue())


def repeated(folder: Path) -> None:
    coco = Coco(folder)
    coco.add("train", "copy.jpg", coco.image("train", 3).read_bytes())


def without_dogs(folder: Path, split: str = "val") -> None:
    Coco(folder).edit(split, lambda coco: [one.update(category_id=1) for one in coco["annotations"]])


def crowded(folder: Path) -> None:
    coco = Coco(folder)
    more = [coco.annotation(100 + i, 0, 1, [i, 10, 20, 20]) for i in range(29)]
    coco.edit("train", lambda content: content["annotations"].extend(more))


def imbalanced(folder: Path) -> None:
    coco = Coco(folder)
    more = [coco.annotation(100 + i, i % 4, 1, [i % 8, i / 50, 20, 20]) for i in range(600)]
    coco.edit("train", lambda content: content["annotations"].extend(more))


def corners(folder: Path) -> None:
    """Every training box as [x1, y1, x2, y2], in the lower right half of its image."""

    def write(coco: dict[str, list[dict[str, Any]]]) -> None:
        for one in coco["annotations"]:
            x, y, width, height = one["bbox"]
            one["bbox"] = [x + 40, y + 20, x + 40 + width, y + 20 + height]

    Coco(folder).edit("train", write)


def same_names(folder: Path) -> None:
    for split in ("train", "val"):
        coco = Coco(folder) if split == "train" else coco
        coco.edit(split, lambda content: content["categories"].append({"id": 3, "name": "cat"}))


def no_images(folder: Path) -> None:
    Coco(folder).edit("train", lambda coco: coco.update(images=[], annotations=[]))


def negatives_only(folder: Path) -> None:
    Coco(folder).edit("val", lambda coco: coco.update(annotations=[]))


FIRST = "train/_annotations.coco.json: annotation 1"
CASES = {
    "unreadable image": Case(
        lambda f: Coco(f).image("train", 2).write_text("hello"),
        "error", "image-unreadable", "train/2.jpg", r"^not an image; expected one of \.bmp",
    ),
    "empty image": Case(
        lambda f: Coco(f).image("val", 1).write_bytes(b""),
        "error", "image-unreadable", "val/1.jpg", "^empty; expected an image",
    ),
    "truncated image": Case(
        truncated, "error", "image-unreadable", "train/2.jpg", "^cannot be decoded: image file is truncated",
    ),
    "missing image": Case(
        lambda f: Coco(f).image("train", 2).unlink(),
        "error", "image-missing", "train/_annotations.coco.json: image 2", "no image 2.jpg in ",
    ),
    "rotated by EXIF": Case(
        rotated, "warning", "image-rotated", "train/0.jpg", "its EXIF orientation is 3",
    ),
    "annotated before EXIF turned it": Case(
        lambda f: rotated(f, 6), "error", "image-size", "train/0.jpg",
        r"annotated as 64x96 \(height x width\) but is 96x64, since EXIF orientation is applied",
    ),
    "wrong size in the annotation": Case(
        other_size, "error", "image-size", "train/1.jpg",
        r"annotated as 64x100 \(height x width\) but is 64x96$",
    ),
    "box without area": Case(
        lambda f: Coco(f).box("train", 0, [5, 5, 0, 9]), "warning", "box-empty", FIRST,
        r"\[5, 5, 5, 14\].*no area",
    ),
    "box outside": Case(
        lambda f: Coco(f).box("train", 0, [200, 5, 9, 9]), "error", "box-outside", FIRST,
        r"\[200, 5, 209, 14\] in an image of 64x96 \(height x width\); expected a box that touches the image",
    ),
    "box over the border": Case(
        lambda f: Coco(f).box("train", 0, [80, 5, 30, 9]), "warning", "box-over-border", FIRST,
        "reaches over",
    ),
    "corners in place of sides": Case(
        corners, "error", "box-corners", "train/_annotations.coco.json",
        r"^8 of 8 boxes reach far over the border as \[x, y, width, height\], but all lie within their "
        r"images as corners \[x1, y1, x2, y2\]: the first is \[44, 26, 74, 50\] in an image of 64x96 "
        r"\(height x width\)\. Write \[x1, y1, x2 - x1, y2 - y1\]; where width and height are right, cut the "
        "boxes at the border$",
    ),
    "duplicate box": Case(
        duplicate, "warning", "box-duplicate", "train/_annotations.coco.json: annotation 99",
        "is there already",
    ),
    "nan in a box": Case(
        lambda f: Coco(f).box("train", 0, [5, float("nan"), 9, 9]), "error", "box-not-finite", FIRST,
        "nan.*finite",
    ),
    "negative width": Case(
        lambda f: Coco(f).box("train", 0, [50, 5, -9, 9]), "error", "box-negative", FIRST,
        "expected x1 <= x2",
    ),
    "category that is none": Case(
        unknown_category, "error", "category-unknown", "train/_annotations.coco.json: annotation 2",
        r"category 7 is not among the categories \(1, 2\)",
    ),
    "class id out of range": Case(
        lambda f: label(f, "0 0.3 0.4 0.2 0.3\n5 0.6 0.5 0.25 0.4\n"),
        "error", "category-unknown", "train/labels/1.txt:2", "5",
    ),
    "polygon line in a box file": Case(
        lambda f: label(f, "0 0.1 0.1 0.4 0.1 0.4 0.5 0.1 0.5\n"),
        "warning", "polygon-line", "train/labels/1.txt:1", "",
    ),
    "image without labels": Case(
        forgotten, "warning", "image-undeclared", "train/images/1.jpg", "nothing says that there is nothing",
    ),
    "same image in two splits": Case(
        encoded_again, "warning", "image-in-two-splits", "train/0.jpg",
        "the same image is in val: val/again.jpg",
    ),
    "nearly the same image in two splits": Case(
        next_frame, "info", "image-alike", "train/0.jpg", "nearly the same image is in val: val/next.jpg",
    ),
    "same file twice in a split": Case(
        repeated, "warning", "image-repeated", "train/copy.jpg", "the same file as train/3.jpg",
    ),
    "class absent from a split": Case(
        without_dogs, "info", "class-absent", "val/_annotations.coco.json",
        "^1 of 2 classes has no box in the val split: dog$",
    ),
    "class that only validation has": Case(
        lambda f: without_dogs(f, "train"), "warning", "class-untaught", "val split",
        r"classes without a box in train: 'dog' \(2\)",
    ),
    "more boxes than queries": Case(
        crowded, "warning", "boxes-above-queries", "train/0.jpg", "31 boxes, but the model has 30 queries",
    ),
    "box below a pixel": Case(
        lambda f: Coco(f).box("train", 0, [5, 5, 0.4, 9]), "warning", "box-below-pixel", FIRST,
        r"9x0\.27 px \(height x width\) at an input of 64x64",
    ),
    "rare class": Case(
        imbalanced, "info", "class-imbalance", "train split",
        r"over 100 times fewer boxes than of 'cat' \(604\): 'dog' \(4\)",
    ),
    "two classes of one name": Case(
        same_names, "error", "category-name-twice", "train/_annotations.coco.json", "'cat' is there 2 times",
    ),
    "empty training split": Case(
        no_images, "error", "split-empty", "train/_annotations.coco.json", "no images in the train split",
    ),
    "validation of negatives only": Case(
        negatives_only, "error", "split-without-boxes", "val/_annotations.coco.json",
        "none of the 2 images of the val split has a box",
    ),
}  # fmt: skip


def found_in(folder: Path) -> Diagnosis:
    return examine(folder, size=(64, 64), queries=30)


@pytest.mark.parametrize("layout", [Coco, Yolo])
def test_nothing_is_found_in_a_clean_folder(layout: type[Coco] | type[Yolo], tmp_path: Path) -> None:
    layout(tmp_path / "data")
    assert found_in(tmp_path / "data").problems == ()


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_planted_fault_is_found(case: Case, tmp_path: Path) -> None:
    case.plant(tmp_path)
    found = [one for one in found_in(tmp_path).problems if one.kind == case.kind]
    assert [one.where for one in found] == [case.where] or case.kind == "category-name-twice"
    assert found[0].severity == case.severity
    assert re.search(case.message, found[0].message)
    assert found[0].treatment


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_nothing_else_is_found(case: Case, tmp_path: Path) -> None:
    """One fault, one kind of problem: no noise around it."""
    case.plant(tmp_path)
    follows = {
        "rare class": {"boxes-above-queries"},
        "empty training split": {"class-absent"},
        "class that only validation has": {"class-absent"},
    }
    name = next(name for name, one in CASES.items() if one is case)
    assert {one.kind for one in found_in(tmp_path).problems} - follows.get(name, set()) == {case.kind}


def test_problems_come_in_a_fixed_order(tmp_path: Path) -> None:
    """The worst first, those of a kind together, in the order of the files."""
    coco = Coco(tmp_path)
    for index in (0, 3, 5):
        coco.box("train", index, [90, 5, 30, 9])
    coco.box("val", 1, [5, 5, float("nan"), 9])
    coco.image("train", 3).write_text("no image")
    first, second = found_in(tmp_path), found_in(tmp_path)
    assert first.problems == second.problems
    assert [(severity, kind, len(problems)) for severity, kind, problems in first.by_kind] == [
        ("error", "image-unreadable", 1),
        ("error", "box-not-finite", 1),
        ("warning", "box-over-border", 3),
    ]
    assert [one.where.split()[-1] for one in first.problems[2:]] == ["1", "4", "6"]


@pytest.mark.parametrize(
    ("size", "queries", "message"),
    [
        ((100, 64), 300, "100 is not a positive multiple of 32"),
        ((64, 64), 0, "queries 0: expected at least 1"),
    ],
)
def test_settings_that_cannot_be(size: tuple[int, int], queries: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        examine(tmp_path, size, queries)
