"""Counts, sizes, and the settings that follow from them, worked by hand."""

import re
from pathlib import Path

import numpy as np
import pytest

from edgewise.data.records import RawImage, RawSplit
from edgewise.doctor.statistics import Statistics, advice, readable_size, statistics


def raw(
    index: int, size: tuple[int, int] | None, boxes: list[list[float]], categories: list[int]
) -> RawImage:
    n = len(boxes)
    return RawImage(
        path=Path(f"{index}.jpg"),
        image_id=index,
        size=size,
        boxes_xyxy=np.array(boxes, np.float64).reshape(-1, 4),
        category_ids=np.array(categories, np.int64),
        crowd=np.zeros(n, bool),
        area=np.full(n, np.nan),
        file="train.json",
        lines=np.arange(n) + 1,
    )


def test_only_boxes_that_are_trained_on_count() -> None:
    nan = float("nan")
    images = (
        raw(0, (100, 200), [[0, 0, 50, 20], [0, 0, 50, 20], [190, 0, 300, 10]], [4, 4, 9]),
        raw(1, (50, 50), [[nan, 0, 1, 1], [5, 5, 5, 9], [0, 0, 9, 9]], [4, 4, 7]),
        raw(2, None, [[0, 0, 1, 1]], [4]),
    )
    found = statistics(RawSplit("train", "COCO", Path("train.json"), {4: "cat", 9: "dog", 11: "cow"}, images))
    assert found.classes == {"cat": 1, "dog": 1, "cow": 0}
    assert found.per_image.tolist() == [2, 0, 0]
    assert found.pixels.tolist() == [[50, 20], [10, 10]]
    assert found.sides.tolist() == [[0.25, 0.2], [0.05, 0.1]]
    assert found.at((320, 640)).tolist() == [[160, 64], [32, 32]]
    assert found.to_dict() == {
        "images": 3,
        "negatives": 2,
        "boxes": 2,
        "classes": {"cat": 1, "dog": 1, "cow": 0},
        "most_boxes_in_an_image": 2,
        "median_image_size": [75, 125],
        "median_box_pixels": [15, 30],
    }


def made(side: float, image: int = 1000, most: int = 5, counts: tuple[int, int] = (50, 50)) -> Statistics:
    """100 square boxes of that side in square images of that side."""
    return Statistics(
        classes={"cat": counts[0], "dog": counts[1]},
        per_image=np.array([most]),
        categories=np.ones(100, np.int64),
        sides=np.full((100, 2), side / image),
        pixels=np.full((100, 2), float(side)),
        middles=np.full(100, 0.5),
        image_sizes=np.array([[image, image]]),
    )


def test_input_at_which_boxes_have_eight_pixels() -> None:
    assert readable_size(made(10), (640, 640)) == (800, 800)
    assert readable_size(made(10), (320, 640)) == (800, 1600)  # the shorter side decides
    assert readable_size(made(100), (640, 640)) == (96, 96)


@pytest.mark.parametrize(
    ("train", "subject", "text"),
    [
        (made(100), "input size", "640x640 is enough: at 640x640, 100% of the boxes have .* at least 8 px"),
        (made(10), "input size", "0% of .*, 90% have them at 800x800: train at that, for 1.6 times the time"),
        (made(10, 4000), "input size", "90% would have them at 3200x3200 only: see tiles"),
        (made(10), "queries", "^300 are enough: the fullest image has 5 boxes"),
        (made(10, most=420), "queries", r"420 boxes, .*; build one with 500 \(decoder.num_queries\)"),
        (made(100), "tiles", "^not needed: images are 1000x1000"),
        (made(10), "tiles", "^not needed"),
        (made(10, 4000), "tiles", "a tenth of the boxes below 10 px: cut them into .* of about 800 px"),
        (made(10), "sampling", "no class is ten times rarer"),
        (made(10, counts=(90, 9)), "sampling", "'cat' has 90 boxes, 'dog' 9: repeat_factor"),
    ],
)  # fmt: skip
def test_advice(train: Statistics, subject: str, text: str) -> None:
    found = {one.subject: one.text for one in advice(train, (640, 640), 300)}
    assert re.search(text, found[subject])


def test_no_advice_without_boxes() -> None:
    empty = statistics(RawSplit("train", "COCO", Path("train.json"), {1: "cat"}, (raw(0, (9, 9), [], []),)))
    assert advice(empty, (640, 640), 300) == ()
