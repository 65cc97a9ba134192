from pathlib import Path

import pytest

from edgewise.data.open import open_dataset, read_splits
from tests.data.folders import boxes, fill, kinds

DOG, CAT = (f"<label><name>{name}</name></label>" for name in ("dog", "cat"))
LABELS = f"<meta><task><labels>{DOG}{CAT}</labels></task></meta>\n"


def image(shapes: str, name: str = "a.png", more: str = "") -> str:
    return f'<image id="3" name="{name}" width="40" height="30" {more}>\n{shapes}\n</image>\n'


BOX = '<box label="dog" xtl="4" ytl="3" xbr="8" ybr="9"></box>'


def write(folder: Path, *images: str) -> Path:
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n{LABELS}{"".join(images)}</annotations>'
    return fill(folder, {"annotations.xml": text, "images/a.png": "", "images/b.png": ""})


def test_boxes_ids_and_classes_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, image(BOX))
    for data in (tmp_path, tmp_path / "annotations.xml"):
        split = read_splits(data)["train"]
        assert boxes(split) == {"a.png": [("dog", (4, 3, 8, 9))]}
        assert split.categories == {1: "dog", 2: "cat"}
        assert split.images[0].image_id == 3
        assert split.images[0].where(0) == "annotations.xml:5"


def test_subsets_are_splits(tmp_path: Path) -> None:
    write(tmp_path, image(BOX, more='subset="Train"'), image("", "b.png", 'subset="Validation"'))
    splits = read_splits(tmp_path)
    assert {name: list(boxes(split)) for name, split in splits.items()} == {
        "train": ["a.png"],
        "val": ["b.png"],
    }


def test_other_shapes(tmp_path: Path) -> None:
    write(
        tmp_path,
        image(
            '<polygon label="cat" points="1,1;9,2;5,7"></polygon>'
            '<ellipse label="cat" cx="10" cy="10" rx="5" ry="2"></ellipse>'
            '<mask label="cat" left="1" top="2" width="3" height="4"></mask>\n'
            '<box label="dog" xtl="10" ytl="10" xbr="14" ybr="12" rotation="90.0"></box>\n'
            '<points label="cat" points="1,1"></points>\n'
            '<box label="dog" xtl="4"></box>'
        ),
    )
    split = read_splits(tmp_path)["train"]
    assert boxes(split)["a.png"] == [
        ("cat", (1, 1, 9, 7)),
        ("cat", (1, 2, 4, 6)),
        ("cat", (5, 8, 15, 12)),
        ("dog", (11, 9, 13, 13)),
    ]
    assert split.notes[0] == "of 3 polygons, ellipses and masks the boxes around them count"
    assert kinds(split) == [
        ("box-rotated", "annotations.xml:6"),
        ("entry-foreign", "annotations.xml:7"),
        ("entry-malformed", "annotations.xml:8"),
    ]


def test_a_video(tmp_path: Path) -> None:
    write(tmp_path, '<track id="0" label="dog"></track>')
    with pytest.raises(
        ValueError, match=r"annotations\.xml: tracks of a video; export it as CVAT for images"
    ):
        open_dataset(tmp_path, "train")
