"""Transforms of users: what they get, what they may return, and what is said when they do not."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from edgewise.data.custom import check_can_travel, transformed
from edgewise.sample import Sample

SAMPLE = Sample(
    np.full((20, 30, 3), 7, np.uint8),
    np.array([[2, 3, 10, 12], [0, 0, 5, 5]], np.float32),
    np.array([1, 0]),
    image_id=4,
    path="a.png",
)


def mirrored(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> tuple[Any, Any, Any]:
    """As albumentations would return it: lists of tuples, a view of the image."""
    width = image.shape[1]
    return image[:, ::-1], [(width - x2, y1, width - x1, y2) for x1, y1, x2, y2 in boxes], labels.tolist()


def drawing(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> tuple[Any, Any, Any]:
    values = random.randrange(256), np.random.randint(256), int(torch.randint(256, ()))  # noqa: NPY002
    return np.full_like(image, values), boxes, labels


def test_lists_and_views_are_taken() -> None:
    found = transformed(SAMPLE, mirrored, [0])
    assert found.boxes_xyxy.tolist() == [[20, 3, 28, 12], [25, 0, 30, 5]]
    assert found.labels.tolist() == [1, 0]
    assert (found.boxes_xyxy.dtype, found.labels.dtype) == (np.float32, np.int64)
    assert found.image.flags.c_contiguous
    assert (found.image_id, found.path) == (4, "a.png")


def test_it_may_write_into_what_it_gets() -> None:
    def blacken(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> tuple[Any, Any, Any]:
        image[:], boxes[:] = 0, 0
        return image, boxes, labels

    transformed(SAMPLE, blacken, [0])
    assert (SAMPLE.image == 7).all()
    assert SAMPLE.boxes_xyxy.any()


def test_boxes_are_clipped_and_may_be_gone() -> None:
    found = transformed(SAMPLE, lambda image, boxes, labels: (image, boxes * 3 - 10, labels), [0])
    assert found.boxes_xyxy.tolist() == [[0, 0, 20, 20], [0, 0, 5, 5]]
    found = transformed(SAMPLE, lambda image, boxes, labels: (image[:5], [], []), [0])
    assert found.size == (5, 30)
    assert found.boxes_xyxy.shape == (0, 4)


@pytest.mark.usefixtures("unchecked")  # checking types draws from python's generator
def test_what_it_draws_follows_from_the_key_and_nothing_else_changes() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    found = [transformed(SAMPLE, drawing, key).image for key in ([0, 1], [0, 1], [0, 2])]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected  # noqa: NPY002


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "cannot unpack"),
        ((SAMPLE.image, SAMPLE.boxes_xyxy), "not enough values"),
        ((SAMPLE.image / 255, SAMPLE.boxes_xyxy, SAMPLE.labels), r"the image is float64 \[20, 30, 3\]"),
        ((SAMPLE.image[..., 0], SAMPLE.boxes_xyxy, SAMPLE.labels), r"the image is uint8 \[20, 30\]"),
        ((SAMPLE.image[:0], SAMPLE.boxes_xyxy, SAMPLE.labels), r"the image is uint8 \[0, 30, 3\]"),
        ((SAMPLE.image, SAMPLE.boxes_xyxy[:1], SAMPLE.labels), r"labels are int64 \[2\] for 1 boxes"),
        ((SAMPLE.image, SAMPLE.boxes_xyxy, [0.5, 1.0]), r"labels are float64 \[2\] for 2 boxes"),
        ((SAMPLE.image, SAMPLE.boxes_xyxy[:, [2, 1, 0, 3]], SAMPLE.labels), r"box 0 is \[10.0, 3.0, 2.0"),
    ],
)
def test_a_wrong_result_names_the_transform_and_the_image(result: Any, message: str) -> None:
    def mine(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> Any:
        return result

    with pytest.raises(
        ValueError, match=rf"^transform \S*mine of a\.png: {message}.*; expected it to return"
    ):
        transformed(SAMPLE, mine, [0])


def test_what_cannot_be_pickled_is_named() -> None:
    check_can_travel(mirrored)
    with pytest.raises(ValueError, match=r"^transform \S*<lambda> cannot be given to worker processes"):
        check_can_travel(lambda image, boxes, labels: (image, boxes, labels))
