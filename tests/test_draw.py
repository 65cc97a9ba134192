import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgewise.bins import bin_values
from edgewise.detections import Detections
from edgewise.draw import PALETTE, RED, _ticks, annotate, colour, contact_sheet, draw, edge_panel
from edgewise.edges import EdgeDistributions
from tests.test_detections import promise


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


def with_edges(edge_std: list[float], size: tuple[int, int] = (400, 600)) -> Detections:
    """Three boxes; the distributions of the second lie around it, each with a second mode further out."""
    edges = EdgeDistributions(
        probs=np.tile(
            np.eye(33, dtype=np.float32)[[10, 16]].T @ np.array([0.25, 0.75], np.float32), (3, 4, 1)
        ),
        values=bin_values(32),
        origin=np.tile(np.array([50, 60, 250, 160], np.float32), (3, 1)),
        sides=np.tile(np.array([200, 100, 200, 100], np.float32), (3, 1)),
    )
    return Detections(
        boxes_xyxy=edges.mean,
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        labels=np.array([0, 1, 0]),
        edge_std=np.tile(np.array(edge_std, np.float32), (3, 1)),
        size=size,
        class_names=("cat", "dog"),
        edges=edges,
    )


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
    message = r"the image is 20x30 but the boxes belong to one of 200x300 \(height x width\)"
    with pytest.raises(ValueError, match=message):
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


def test_tags_keep_out_of_each_others_way() -> None:
    boxes = np.array([[50, 60, 150, 160]] * 3, np.float32)
    found = Detections(
        boxes_xyxy=boxes,
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        labels=np.array([0, 1, 2]),
        edge_std=np.zeros((3, 4), np.float32),
        size=(200, 300),
        class_names=("a", "b", "c"),
    )
    picture = drawn(found)
    ground = [(picture == colour(label)).all(2)[:, 40:170].sum() for label in range(3)]
    assert min(ground) > 300  # of every tag more than letters cover is seen


def test_bands_are_the_intervals_once_calibrated() -> None:
    found = replace(one([100, 60, 200, 160], [10, 0, 5, 0], (400, 600)), calibration=promise())
    reach = np.diff(found.edge_interval(0.9))[0, :, 0] / 2
    picture = drawn(found)
    row = picture[90].sum(1)
    assert np.flatnonzero(row).min() == pytest.approx(100 - reach[0], abs=1)
    assert np.flatnonzero(row).max() == pytest.approx(200 + reach[2], abs=1)
    assert (picture[-12:, :100] > 200).any()  # it says so in the corner
    assert not drawn(one([100, 60, 200, 160], [10, 0, 5, 0], (400, 600)))[-12:, :100].any()


def test_an_inset_shows_the_distributions_beside_the_image() -> None:
    found = with_edges([3, 3, 3, 3])
    image = np.zeros((400, 600, 3), np.uint8)
    picture = np.asarray(draw(image, found, 1)).astype(int)
    assert picture.shape[0] == 400
    assert picture.shape[1] > 700
    panel = picture[:, 600:]
    deep = np.abs(panel - np.array(colour(1)) * 3 // 4).max(2) <= 2
    rows, columns = np.flatnonzero(deep.any(1)), np.flatnonzero(deep.any(0))
    assert (np.diff(rows) > 20).sum() == 3  # four plots, apart from each other
    assert columns.max() < panel.shape[1] - 5
    assert (np.abs(panel - RED).max(2) < 30).sum() > 20  # the second modes
    small = with_edges([3, 3, 3, 3], (40, 60))
    assert draw(np.zeros((40, 60, 3), np.uint8), small, 0).height > 300  # the plots stay legible


def test_bars_lie_at_their_pixels() -> None:
    """The lower of two modes lies further in: right of the other for a left edge, left for a right one."""
    panel = np.asarray(edge_panel(with_edges([3, 3, 3, 3]), 0)).astype(int)
    deep = np.abs(panel - np.array(colour(0)) * 3 // 4).max(2) <= 2
    filled = np.flatnonzero(deep.any(1))
    plots = np.split(filled, np.flatnonzero(np.diff(filled) > 20) + 1)
    for rows, tall_right in zip(plots, (False, False, True, True), strict=True):
        heights = deep[rows].sum(0)
        tall, low = np.flatnonzero(heights == heights.max()), np.flatnonzero(heights)
        assert (tall.mean() > low.mean()) == tall_right


@pytest.mark.parametrize("std", [0.0, 1e-3, 1e6])
def test_any_box_has_its_panel(std: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = with_edges([std] * 4)
        assert found.edges is not None
        point = replace(found, edges=replace(found.edges, sides=np.zeros((3, 4), np.float32)))
        far = replace(found, boxes_xyxy=found.boxes_xyxy - np.float32(1e5))
        for one_of in (found, point, far):
            edge_panel(one_of, 0)


def test_an_inset_needs_its_box_and_its_distributions() -> None:
    image = np.zeros((400, 600, 3), np.uint8)
    with pytest.raises(ValueError, match="inset 3: expected the number of one of 3 detections, from 0"):
        draw(image, with_edges([1] * 4), 3)
    with pytest.raises(ValueError, match=r"did not keep the distributions.*predict\(\.\.\., edges=True\)"):
        draw(image, replace(with_edges([1] * 4), edges=None), 0)


def test_ticks_are_round() -> None:
    assert _ticks(0.3, 9.6) == [2, 4, 6, 8]
    assert _ticks(1190.0, 1710.0) == [1400, 1600]
    for low, high in ((0.0, 1e-3), (-5.0, 5.0), (1e5, 1e5 + 3), (3.0, 1e7), (0.0, 2.59), (0.0, 2.61)):
        assert 2 <= len(_ticks(low, high)) <= 6


def test_needs_no_torch() -> None:
    code = "import sys, edgewise.draw; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
