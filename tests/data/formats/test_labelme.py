import json
from pathlib import Path
from typing import Any

import pytest

from edgewise.data.open import open_dataset, read_splits
from tests.data.folders import boxes, fill, kinds

RECTANGLE = {"label": "dog", "points": [[8, 9], [4, 3]], "shape_type": "rectangle"}
FOUND = [("dog", (4, 3, 8, 9))]


def content(*shapes: Any, path: str = "a.png") -> str:
    size = {"imageWidth": 40, "imageHeight": 30, "imageData": "x" * 9000}
    return json.dumps({"imagePath": path} | size | {"shapes": list(shapes)})


@pytest.mark.parametrize(
    "files",
    [
        {"a.json": content(RECTANGLE), "a.png": ""},
        {"labels/a.json": content(RECTANGLE, path="../images/a.png"), "images/a.png": ""},
        {"labels/a.json": content(RECTANGLE, path="C:\\mine\\a.png"), "images/a.png": ""},
        {"train/a.json": content(RECTANGLE), "train/a.png": ""},
        {"train/train_1.json": content(RECTANGLE), "train/a.png": ""},
    ],
)
def test_layouts(tmp_path: Path, files: dict[str, str]) -> None:
    fill(tmp_path, files)
    (split,) = read_splits(tmp_path).values()
    assert (split.name, split.format, split.problems) == ("train", "LabelMe", ())
    assert boxes(split) == {"a.png": FOUND}


def test_splits_are_no_coco_files(tmp_path: Path) -> None:
    for name in ("train", "val"):
        fill(
            tmp_path / name,
            {f"{n}.json": content(RECTANGLE, path=f"{n}.png") for n in "ab"} | {"a.png": "", "b.png": ""},
        )
    splits = read_splits(tmp_path)
    assert {name: len(split.images) for name, split in splits.items()} == {"train": 2, "val": 2}


def test_shapes(tmp_path: Path) -> None:
    polygon = {"label": "cat", "points": [[1, 1], [9, 2], [5, 7]], "shape_type": "polygon"}
    circle = {"label": "cat", "points": [[10, 10], [13, 14]], "shape_type": "circle"}
    point = {"label": "cat", "points": [[1, 1]], "shape_type": "point"}
    fill(tmp_path, {"a.json": content(polygon, circle, point, {"label": "cat"}, 3), "a.png": "", "b.png": ""})
    split = read_splits(tmp_path)["train"]
    assert boxes(split)["a.png"] == [("cat", (1, 1, 9, 7)), ("cat", (5, 5, 15, 15))]
    assert split.notes[0] == "of 2 polygons, circles and masks the boxes around them count"
    assert kinds(split) == [
        ("entry-foreign", "a.json: annotation 3"),
        ("entry-malformed", "a.json: annotation 4"),
        ("entry-malformed", "a.json: annotation 5"),
    ]
    assert [one.declared for one in split.images] == [True, False]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {"a.json": content(RECTANGLE), "a.png": "", "b.json": "{", "b.png": "", "c.json": "{}", "c.png": ""},
    )
    split = read_splits(tmp_path)["train"]
    assert kinds(split) == [("file-unreadable", "b.json"), ("file-unreadable", "c.json")]
    with pytest.raises(ValueError, match=r"b\.json: not JSON: .* \(2 such\)\. To see all: edgewise doctor"):
        open_dataset(tmp_path, "train")
