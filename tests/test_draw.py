import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from edgewise.detections import Detections
from edgewise.draw import PALETTE, annotate, colour, contact_sheet, draw


def one(box: list[float], edge_std: list[float], size: tuple[int, int] = (200, 300)) -> Detections:
    return Detections(
        boxes_xyxy=np.array([box], np.float32),
        scores=np.array([0.9], np.float32),
        labels=np.array([1]),
        edge_std=np.array([edge_std], np.float32),
        size=size,
        class_names=("cat", "dog"),
    )


def drawn(found: Detections) -> np.ndarray:
    return np.asarray(draw(np.zeros((*found.size, 3), np.uint8), found)).astype(int)


def test_frame_has_the_colour_of_the_class() -> None:
    picture = drawn(one([50, 60, 250, 160], [0, 0, 0, 0]))
    for row, column in ((90, 50), (90, 249), (159, 100)):
        np.testing.assert_allclose(picture[row, column], colour(1), atol=25)
    assert (picture[100, 100] == 0).all()
    assert (picture[190, 290] == 0).all()


def test_band_reaches_one_standard_deviation_to_both_sides() -> None:
    row = drawn(one([100, 60, 200, 160], [20, 0, 10.5, 0]))[90].sum(1)  # across left and right edge
    assert (row[80:120] > 0).all()
    assert (row[190:210] > 0).all()
    assert row[79] == row[120] == row[188] == row[211] == 0
    assert 0 < row[210] < row[208]  # half a pixel is half as bright
    assert row[210] == pytest.approx(row[208] / 2, abs=3)


def test_whisker_spans_the_same() -> None:
    picture = drawn(one([100, 60, 200, 160], [20, 0, 10, 0]))
    light = (picture > 230).all(2)[110]  # the middle of the height
    assert np.flatnonzero(light).min() == pytest.approx(80, abs=1)
    assert np.flatnonzero(light).max() == pytest.approx(210, abs=1)
    assert not light[125:185].any()


@pytest.mark.parametrize(
    "box",
    [
        [-50, -50, 20, 20],
        [280, 180, 400, 300],
        [-10, -10, 310, 210],
        [400, 400, 500, 500],
        [-90, -90, -10, -10],
        [50, 50, 50, 50],
        [10.2, 10.4, 10.6, 10.9],
        [-1e6, -1e6, 1e6, 1e6],
    ],
)
def test_any_box_can_be_drawn(box: list[float]) -> None:
    for std in (0.0, 3.3, 1e5):
        assert drawn(one(box, [std] * 4)).shape == (200, 300, 3)


def test_the_image_itself_is_left_alone() -> None:
    image = np.full((200, 300, 3), 128, np.uint8)
    draw(image, one([50, 60, 250, 160], [1, 1, 1, 1]))
    assert (image == 128).all()


def test_nothing_found_is_the_image() -> None:
    image = np.full((200, 300, 3), 128, np.uint8)
    np.testing.assert_array_equal(np.asarray(draw(image, one([0, 0, 1, 1], [1] * 4)[:0])), image)


def test_the_best_is_on_top() -> None:
    box = [[50, 60, 250, 160]]
    found = Detections(
        boxes_xyxy=np.array(box * 2, np.float32),
        scores=np.array([0.9, 0.5], np.float32),
        labels=np.array([1, 0]),
        edge_std=np.zeros((2, 4), np.float32),
        size=(200, 300),
        class_names=("cat", "dog"),
    )
    np.testing.assert_allclose(drawn(found)[90, 50], colour(1), atol=25)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the image is 30x20 but the boxes belong to one of 300x200"):
        draw(np.zeros((20, 30, 3), np.uint8), one([0, 0, 1, 1], [1] * 4))


def test_letters_grow_with_the_image() -> None:
    def tag_height(scale: int) -> int:
        box = [20 * scale, 100 * scale, 250 * scale, 190 * scale]
        picture = drawn(one(box, [0] * 4, (200 * scale, 300 * scale)))
        column = (np.abs(picture - colour(1)).sum(2) < 9)[: 100 * scale, 21 * scale]
        return int(column.sum())

    assert tag_height(10) > 4 * tag_height(2)


def test_colours_are_distinct_and_go_round() -> None:
    assert len(set(PALETTE)) == len(PALETTE)
    assert colour(len(PALETTE)) == colour(0) != colour(1)


def test_annotated_boxes_have_frames_and_tags() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    boxes = np.array([[50.0, 60.0, 150.0, 120.0], [160.0, 60.0, 500.0, 120.0]])
    plain = np.asarray(annotate(image, boxes, ["", ""], [colour(0), colour(1)]))
    np.testing.assert_allclose(plain[90, 50], colour(0), atol=25)
    np.testing.assert_allclose(plain[90, 160], colour(1), atol=25)
    assert not plain[:50].any()
    tagged = np.asarray(annotate(image, boxes, ["cat", ""], [colour(0), colour(1)]))
    assert (tagged[48] == colour(0)).all(1).any()
    assert not image.any()


def test_contact_sheet_lies_in_reading_order() -> None:
    images = [Image.new("RGB", (20, 10 * (i + 1)), (i * 50, 0, 0)) for i in range(3)]
    sheet = contact_sheet(images, columns=2, width=60)
    gap = 2
    assert sheet.size == (gap + 2 * (60 + gap), gap + 60 + gap + 90 + gap)
    assert sheet.getpixel((gap + 1, gap + 1)) == (0, 0, 0)
    assert sheet.getpixel((gap + 60 + gap + 1, gap + 1)) == (50, 0, 0)
    assert sheet.getpixel((gap + 1, gap + 60 + gap + 1)) == (100, 0, 0)
    assert sheet.getpixel((gap + 1, gap + 45)) == (255, 255, 255)  # the shorter of a row
    assert contact_sheet(images[:1], columns=4, width=60).width == 60 + 2 * gap
    with pytest.raises(ValueError, match="no images"):
        contact_sheet([])


def test_needs_no_torch() -> None:
    code = "import sys, edgewise.draw; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
