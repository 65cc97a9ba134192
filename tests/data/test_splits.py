from pathlib import Path

import numpy as np
import pytest

from edgewise.data.records import RawImage, RawSplit
from edgewise.data.splits import by_split, held_out, split_in, split_name, split_of, with_validation


def split(labels: list[list[int]], name: str = "train") -> RawSplit:
    """An image for each list of category ids."""
    images = [
        RawImage(
            path=Path(f"{index:03d}.png"),
            image_id=index,
            size=(30, 40),
            boxes_xyxy=np.tile([1.0, 2, 3, 4], (len(ids), 1)),
            category_ids=np.array(ids, np.int64),
            crowd=np.zeros(len(ids), bool),
            area=np.full(len(ids), np.nan),
            file="a.csv",
            lines=np.arange(len(ids)),
        )
        for index, ids in enumerate(labels)
    ]
    return RawSplit(name, "CSV", Path("a.csv"), {1: "one", 2: "two", 3: "three"}, tuple(images))


def test_split_names() -> None:
    names = ("train", "valid", "Validation", "val", "test", "testing", "training")
    assert [split_name(name) for name in names] == ["train", "val", "val", "val", "test", "test", "train"]
    with pytest.raises(ValueError, match="unknown split vall; did you mean val"):
        split_name("vall")
    assert [split_in(text) for text in ("instances_val2017", "train_val", "trainer", "my test")] == [
        "val", None, None, "test"
    ]  # fmt: skip
    places = ("a/val.json", "valid/labels.json", "test_project/labels.json", "train/val.csv")
    assert [split_of(Path(place)) for place in places] == ["val", "val", None, "val"]


def test_files_by_split() -> None:
    assert by_split([Path("x/boxes.csv")]) == {"train": Path("x/boxes.csv")}
    assert by_split([Path("x/test.csv"), Path("x/train.csv"), Path("x/notes.csv")]) == {
        "train": Path("x/train.csv"),
        "test": Path("x/test.csv"),
    }
    assert by_split([]) == {}
    with pytest.raises(
        ValueError, match=r"2 files for the val split: val.csv, valid.csv; give the path of one"
    ):
        by_split([Path("val.csv"), Path("valid.csv")])


def test_what_is_held_out_is_stratified() -> None:
    """Classes of 10, 40 and 100 images and 50 without boxes: about 15 % of each."""
    labels = [[1, 2]] * 10 + [[2, 3, 3]] * 30 + [[3]] * 70 + [[]] * 50
    data = split(labels)
    held = held_out(data)
    counts = [sum(category in labels[i] for i in np.flatnonzero(held)) for category in (1, 2, 3)]
    negatives = sum(not labels[i] for i in np.flatnonzero(held))
    assert (held.sum(), *counts, negatives) == (24, 2, 6, 15, 7)


def test_what_is_held_out_depends_on_nothing_but_names() -> None:
    data = split([[1]] * 40)
    names = {one.path.name for one, out in zip(data.images, held_out(data), strict=True) if out}
    turned = RawSplit(data.name, data.format, data.file, data.categories, data.images[::-1])
    assert {one.path.name for one, out in zip(turned.images, held_out(turned), strict=True) if out} == names


@pytest.mark.parametrize(("count", "held"), [(5, 1), (6, 1), (10, 2), (100, 15), (14_000, 2000)])
def test_how_many_are_held_out(count: int, held: int) -> None:
    assert held_out(split([[1]] * count)).sum() == held


def test_a_class_of_three_images_stays_with_training() -> None:
    held = held_out(split([[1]] * 3 + [[2]] * 97))
    assert not held[:3].any()
    assert held.sum() == 15


def test_with_validation() -> None:
    train, test = split([[1]] * 20), split([[1]] * 5, "test")
    made = with_validation({"train": train, "test": test})
    assert list(made) == ["train", "val", "test"]
    assert [len(one.images) for one in made.values()] == [17, 3, 5]
    ids = {one.image_id for name in ("train", "val") for one in made[name].images}
    assert len(ids) == 20
    assert made["train"].notes == made["val"].notes
    assert made["val"].notes == (
        "no validation split: 3 of the 20 training images, chosen evenly over the classes, are held "
        "out for it",
    )
    assert made["val"].name == "val"
    assert made["val"].categories == train.categories
    assert len(made["val"].table) == 3


def test_without_validation() -> None:
    train, val = split([[1]] * 4), split([[1]], "val")
    assert with_validation({"train": train, "val": val}) == {"train": train, "val": val}
    assert with_validation({"test": val}) == {"test": val}
    (alone,) = with_validation({"train": train}).values()
    assert alone.notes == ("no validation split, and too few images (4) to hold some out for one",)
