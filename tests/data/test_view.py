"""Where pixels and boxes go: by hand, there and back for any window, and where the image is read smaller."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgewise.data.colours import Colours
from edgewise.data.view import View, Window, render, resampled
from edgewise.preprocess import resize


def view(size: tuple[int, int], window: Window, boxes: list[list[float]] | None = None) -> View:
    found = np.array(boxes or [], np.float32).reshape(-1, 4)
    return View(size, window, found, np.arange(len(found)))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_the_whole_at_its_own_size_is_the_image() -> None:
    image = noise(40, 60)
    pixels, boxes = render(image, view((40, 60), Window(0, 0, 60, 40), [[1, 2, 30, 40]]), (40, 60))
    np.testing.assert_array_equal(pixels, image)
    assert boxes.tolist() == [[1, 2, 30, 40]]


def test_a_window_beyond_the_image_is_black_there() -> None:
    image = noise(20, 30) | 1
    one = view((20, 30), Window(-10, -20, 50, 40), [[3, 4, 10, 12]])
    pixels, boxes = render(image, one, (60, 60))
    np.testing.assert_array_equal(pixels[20:40, 10:40], image)
    assert (pixels > 0).sum() == image.size
    assert boxes.tolist() == [[13, 24, 20, 32]]


def test_black_stays_black_whatever_colours_do() -> None:
    colours = Colours(contrast=0.5, brightness=1.1)
    pixels, _ = render(
        noise(20, 30), replace(view((20, 30), Window(0, 0, 60, 40)), colours=colours), (64, 96)
    )
    assert (pixels[32:] == 0).all()
    assert (pixels[:, 48:] == 0).all()
    assert pixels[:32, :48].min() > 20  # contrast halved about the mean


@pytest.mark.parametrize("flipped", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("size", [(64, 96), (16, 24)])  # enlarged, shrunk
def test_flips(flipped: tuple[bool, bool], size: tuple[int, int]) -> None:
    image = noise(32, 48)
    one = view((32, 48), Window(-10, 0, 48, 40), [[1, 2, 30, 20]])
    plain, before = render(image, one, size)
    found, boxes = render(image, replace(one, flipped=flipped), size)
    rows, columns = slice(None, None, -1 if flipped[1] else 1), slice(None, None, -1 if flipped[0] else 1)
    np.testing.assert_allclose(found[rows, columns].astype(int), plain.astype(int), atol=1)
    (x1, y1, x2, y2), (height, width) = before[0], size
    expected = [
        *([width - x2] if flipped[0] else [x1]),
        *([height - y2] if flipped[1] else [y1]),
        *([width - x1] if flipped[0] else [x2]),
        *([height - y1] if flipped[1] else [y2]),
    ]
    np.testing.assert_allclose(boxes[0], expected, rtol=1e-5)


@given(st.data())
def test_boxes_there_and_back(data: st.DataObject) -> None:
    """By the part of the image in the window and its place alone, within what float32 can tell."""
    height, width = data.draw(st.integers(8, 90)), data.draw(st.integers(8, 90))
    left, top = data.draw(st.integers(-200, width - 1)), data.draw(st.integers(-200, height - 1))
    right = data.draw(st.integers(max(left, 0) + 1, width + 200))
    bottom = data.draw(st.integers(max(top, 0) + 1, height + 200))
    size = data.draw(st.integers(1, 5)) * 32, data.draw(st.integers(1, 5)) * 32
    flipped = data.draw(st.booleans()), data.draw(st.booleans())
    source, target = view((height, width), Window(left, top, right, bottom)).placed(size)
    box = [
        source.left + 0.25 * source.size[1],
        float(source.top),
        float(source.right),
        source.top + 0.5 * source.size[0],
    ]
    one = replace(view((height, width), Window(left, top, right, bottom), [box]), flipped=flipped)
    pixels, boxes = render(np.full((height, width, 3), 255, np.uint8), one, size)
    assert pixels.shape == (*size, 3)
    rows, columns = np.nonzero(pixels[..., 0])
    x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert (y2 - y1, x2 - x1) == target.size
    share = (boxes[0] - (x1, y1, x1, y1)) / np.tile([x2 - x1, y2 - y1], 2)  # of the seen part
    expected = [0 if flipped[0] else 0.25, 0.5 if flipped[1] else 0.0]
    expected += [0.75 if flipped[0] else 1.0, 1.0 if flipped[1] else 0.5]
    np.testing.assert_allclose(share, expected, atol=1e-3)
    # and where the window says, but for the rounding to whole pixels
    scale = np.divide(size[::-1], (right - left, bottom - top))
    start = (np.array(source[:2]) - (left, top)) * scale
    assert (np.abs(np.array(target[:2]) - start) <= 1).all()


@pytest.mark.parametrize("size", [(64, 96), (200, 320), (90, 120), (32, 320)])
def test_resampled_is_what_prediction_sees(size: tuple[int, int]) -> None:
    image = noise(90, 120)
    found = resampled(image, size)
    np.testing.assert_allclose(found.astype(int), resize(image, size).astype(int), atol=1)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous


@pytest.mark.parametrize("by", [2, 4])
def test_an_image_read_at_less_shows_the_same(by: int, tmp_path: Path) -> None:
    """A smooth JPEG whose sides are no multiples of 8: the reduced one gives the same picture and boxes."""
    y, x = np.mgrid[0:331, 0:445]
    image = np.stack([120 + 100 * np.sin(x / 40), 120 + 100 * np.cos(y / 30), (x + y) / 4], -1).astype(
        np.uint8
    )
    whole = view((331, 445), Window(-51, 33, 401, 340), [[10.5, 40, 300, 320]])
    pixels, boxes = render(image, whole, (64, 64))
    reduced = np.asarray(Image.fromarray(image).resize((-(-445 // by), -(-331 // by)), Image.Resampling.BOX))
    smaller = whole.shrunk((reduced.shape[0], reduced.shape[1]), by)
    found, moved = render(reduced, smaller, (64, 64))
    x1, y1, x2, y2 = boxes[0].round().astype(int)
    np.testing.assert_allclose(found[y1:y2, x1:x2].astype(int), pixels[y1:y2, x1:x2].astype(int), atol=12)
    np.testing.assert_allclose(moved, boxes, atol=1.0)
    assert whole.shrinks((64, 64)) == pytest.approx(307 / 64, rel=0.1)


def test_a_window_of_less_than_a_pixel_of_output_is_still_a_pixel() -> None:
    source, target = view((10, 10), Window(-2000, -2000, 10, 10)).placed((32, 32))
    assert source == (0, 0, 10, 10)
    assert target == (31, 31, 32, 32)
