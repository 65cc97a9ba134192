import json
from pathlib import Path
from typing import Any

import pytest

from edgewise.data.open import (
    available_splits,
    open_dataset,
    open_splits,
    open_to_train,
    read_splits,
    written_splits,
)
from tests.data.folders import fill


def coco(count: int, categories: dict[int, str], first: int = 0) -> str:
    """Images of 40x30, each with a box of one of the categories in turn."""
    ids = list(categories)
    content: dict[str, Any] = {
        "images": [
            {"id": index, "file_name": f"{index}.png", "width": 40, "height": 30}
            for index in range(first, first + count)
        ],
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
        "annotations": [
            {"id": index, "image_id": index, "category_id": ids[index % len(ids)], "bbox": [1, 2, 3, 4]}
            for index in range(first, first + count)
        ],
    }
    return json.dumps(content)


PICTURES = {f"images/{index}.png": "" for index in range(10)}


def test_a_validation_split_is_held_out_for_whoever_asks(tmp_path: Path) -> None:
    data = fill(tmp_path, {"annotations.json": coco(10, {1: "dog", 2: "cat"}), **PICTURES})
    for given in (data, data / "annotations.json"):
        assert list(available_splits(given)) == ["train", "val"]
        train, val = open_dataset(given, "train"), open_dataset(given, "val")
        assert (len(train), len(val)) == (8, 2)
        assert not set(train.paths) & set(val.paths)
        assert val.paths == open_splits(given)["val"].paths
        assert list(open_splits(given, ("val", "test"))) == ["val"]
        assert "2 of the 10 training images" in val.notes[0]
        assert train.notes == val.notes
        assert {name: len(split.images) for name, split in read_splits(given).items()} == {
            "train": 8,
            "val": 2,
        }
        assert {name: len(split.images) for name, split in written_splits(given).items()} == {"train": 10}


def test_a_file_serves_as_the_splits_it_does_not_say(tmp_path: Path) -> None:
    data = fill(tmp_path, {"boxes.json": coco(10, {1: "dog"}), **PICTURES})
    assert len(open_dataset(data / "boxes.json", "test")) == 10
    with pytest.raises(
        FileNotFoundError, match=r"no test split; found train \(.*boxes\.json\), val \(.*; name one"
    ):
        open_dataset(data, "test")
    (data / "boxes.json").rename(data / "val.json")
    assert list(available_splits(data / "val.json")) == ["val"]
    assert [len(open_dataset(data / "val.json", name)) for name in ("train", "val", "test")] == [10, 10, 10]
    assert {name: len(one) for name, one in open_to_train(data / "val.json").items()} == {
        "train": 8,
        "val": 2,  # not the images that are trained on
    }
    (data / "val.json").write_text(coco(4, {1: "dog"}))
    (data / "val.json").rename(data / "train.json")
    with pytest.raises(FileNotFoundError, match="no val split; found train"):  # too few to hold one out
        open_dataset(data / "train.json", "val")


def test_what_is_opened_to_train_on(tmp_path: Path) -> None:
    data = fill(
        tmp_path, {"train.json": coco(8, {1: "dog"}), "test.json": coco(2, {1: "dog"}, 8), **PICTURES}
    )
    assert list(open_to_train(data)) == ["train", "val", "test"]
    assert list(open_to_train(data, ("train", "val"))) == ["train", "val"]
    (data / "train.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no train split; found test \(.*test\.json\); name one"):
        open_to_train(data)


def test_classes_are_those_of_all_splits_by_name(tmp_path: Path) -> None:
    """Numbers are each file's own; a class that a file lacks gets its number elsewhere, or a free one."""
    data = fill(
        tmp_path,
        {
            "train.json": coco(4, {3: "dog", 7: "cat"}),
            "val.json": coco(3, {3: "cat", 4: "fox"}, 4),
            "test.json": coco(3, {7: "cat"}, 7),
            **PICTURES,
        },
    )
    names = ("dog", "cat", "fox")
    found = {name: open_dataset(data, name) for name in ("train", "val", "test")}
    assert all(one.class_names == names for one in found.values())
    assert [one.category_ids for one in found.values()] == [(3, 7, 4), (8, 3, 4), (3, 7, 4)]
    assert found["val"][0].labels.tolist() == [1]
    assert {
        name: tuple(split.categories.values()) for name, split in read_splits(data).items()
    } == dict.fromkeys(found, names)


def test_coco_wins_and_that_is_said(tmp_path: Path) -> None:
    fill(tmp_path, {"train.json": coco(3, {1: "dog"}), **PICTURES})
    fill(tmp_path, {"data.yaml": "train: images\nnames: [dog]", "labels/1.txt": "0 .5 .5 .5 .5"})
    assert (
        open_dataset(tmp_path, "train").notes[0]
        == f"{tmp_path} has annotations as COCO and YOLO: COCO is read"
    )
    (tmp_path / "data.yaml").write_text("train: [")  # what is not read may be broken
    assert read_splits(tmp_path)["train"].format == "COCO"


def test_real_formats_side_by_side(shared: Path) -> None:
    dataset = open_dataset(shared / "data/bccd", "train")
    assert len(dataset) == 205
    assert "has annotations as COCO and Pascal VOC: COCO is read" in dataset.notes[0]


def test_a_broken_neighbour_does_not_hinder(tmp_path: Path) -> None:
    fill(tmp_path, {"train.json": coco(3, {1: "dog"}), "val.json": "{", **PICTURES})
    assert open_dataset(tmp_path, "train").class_names == ("dog",)
    with pytest.raises(ValueError, match=r"val\.json: not JSON: "):
        open_dataset(tmp_path, "val")


def test_an_empty_folder(tmp_path: Path) -> None:
    for ask in (read_splits, available_splits, open_splits):
        with pytest.raises(
            FileNotFoundError, match=r"no annotations found; expected COCO, YOLO, .* edgewise convert"
        ):
            ask(tmp_path)
