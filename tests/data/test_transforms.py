import colorsys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from edgewise.config import AugmentConfig
from edgewise.data import transforms
from edgewise.data.transforms import (
    augment,
    flip_horizontal,
    flip_vertical,
    iou_crop,
    photometric_distort,
    sanitize,
    zoom_out,
)
from edgewise.sample import Sample

ALWAYS = AugmentConfig(photometric=1, zoom_out=1, crop=1, flip=1, vertical_flip=1)
NEVER = AugmentConfig(photometric=0, zoom_out=0, crop=0, flip=0, vertical_flip=0)


def painted(count: int = 3, height: int = 90, width: int = 120, seed: int = 0) -> Sample:
    """Gray, with boxes that do not touch; box i is filled with colour 250 - 50 i and bears label i."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 10, np.uint8)
    boxes = []
    for i in range(count):
        x1 = i * width // count + int(rng.integers(0, 5))
        y1 = int(rng.integers(0, height // 2))
        boxes.append([x1, y1, x1 + int(rng.integers(8, width // count - 5)), y1 + int(rng.integers(8, 40))])
        image[y1 : boxes[-1][3], x1 : boxes[-1][2]] = 250 - 50 * i
    return Sample(image, np.array(boxes, np.float32).reshape(-1, 4), np.arange(count), 5, "a.png")


def painted_boxes(image: np.ndarray, label: int) -> list[int]:
    """x1, y1, x2, y2 of the pixels of box `label`."""
    rows, columns = np.nonzero(image[..., 0] == 250 - 50 * label)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("seed", range(20))
def test_boxes_follow_their_pixels(seed: int) -> None:
    config = ALWAYS.model_copy(update={"photometric": 0.0})
    sample = painted(seed=seed)
    out = augment(sample, config, True, np.random.default_rng(seed))
    assert (out.image_id, out.path) == (5, "a.png")
    for box, label in zip(out.boxes_xyxy, out.labels, strict=True):
        assert box.tolist() == painted_boxes(out.image, label)


@pytest.mark.parametrize("flip", [flip_horizontal, flip_vertical])
def test_flipping_moves_the_box_and_twice_is_nothing(
    flip: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> None:
    sample = painted()
    image, boxes = flip(sample.image, sample.boxes_xyxy)
    assert [box.tolist() for box in boxes] == [painted_boxes(image, label) for label in range(3)]
    assert not np.array_equal(boxes, sample.boxes_xyxy)
    image, boxes = flip(image, boxes)
    np.testing.assert_array_equal(image, sample.image)
    np.testing.assert_array_equal(boxes, sample.boxes_xyxy)


def test_flip_by_hand() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    boxes = np.array([[1, 2, 5, 8]], np.float32)
    assert flip_horizontal(image, boxes)[1].tolist() == [[15, 2, 19, 8]]
    assert flip_vertical(image, boxes)[1].tolist() == [[1, 2, 5, 8]]
    assert flip_vertical(image, boxes + np.float32(1))[1].tolist() == [[2, 1, 6, 7]]


def test_the_same_generator_gives_the_same_sample() -> None:
    sample = painted()
    one, same, other = (augment(sample, ALWAYS, True, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.boxes_xyxy, same.boxes_xyxy)
    assert one.image.shape != other.image.shape or (one.image != other.image).any()


def test_the_given_sample_is_left_alone() -> None:
    sample = painted()
    image, boxes = sample.image.copy(), sample.boxes_xyxy.copy()
    for seed in range(10):
        augment(sample, ALWAYS, True, np.random.default_rng(seed))
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.boxes_xyxy, boxes)


def test_chance_zero_and_weak_change_nothing() -> None:
    sample = painted()
    for config, strong in (
        (NEVER, True),
        (ALWAYS.model_copy(update={"flip": 0.0, "vertical_flip": 0.0}), False),
    ):
        out = augment(sample, config, strong, np.random.default_rng(0))
        np.testing.assert_array_equal(out.image, sample.image)
        np.testing.assert_array_equal(out.boxes_xyxy, sample.boxes_xyxy)


@pytest.mark.parametrize("seed", range(10))
def test_negatives_stay_negatives(seed: int) -> None:
    out = augment(painted(0), ALWAYS, True, np.random.default_rng(seed))
    assert out.boxes_xyxy.shape == (0, 4)
    assert out.boxes_xyxy.dtype == np.float32


def test_photometric_off_is_identity_and_on_stays_uint8() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(photometric_distort(image, 0.0, np.random.default_rng(0)), image)
    seen = [photometric_distort(image, 1.0, np.random.default_rng(seed)) for seed in range(5)]
    assert all(one.dtype == np.uint8 and one.shape == image.shape for one in seen)
    assert all((one != image).any() for one in seen)


def test_photometric_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brightness within 1/8: white dims to at least 223 when nothing else happens; gray stays gray."""
    gray = np.full((4, 4, 3), 100, np.uint8)
    levels = []
    for seed in range(200):
        out = photometric_distort(gray, 1.0, np.random.default_rng(seed))
        assert (out == out[0, 0, 0]).all()  # contrast, saturation and hue leave a flat gray as it is
        levels.append(int(out[0, 0, 0]))
    assert 87 <= min(levels) <= 90
    assert 110 <= max(levels) <= 113


@pytest.mark.parametrize("turn", [-0.05, 0.03, 0.05])
def test_hue_turns_by_a_share_of_the_circle(turn: float) -> None:
    image = np.full((2, 2, 3), (200, 100, 50), np.uint8)
    turned = np.asarray(transforms._turn_hue(Image.fromarray(image), turn))[0, 0]
    hue, saturation, value = colorsys.rgb_to_hsv(200 / 255, 100 / 255, 50 / 255)
    expected = np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)) * 255
    np.testing.assert_allclose(turned, expected, atol=4)  # HSV of 8 bits


def test_zoom_out_puts_the_image_on_black() -> None:
    sample = painted()
    for seed in range(20):
        canvas, boxes = zoom_out(sample.image, sample.boxes_xyxy, 4.0, np.random.default_rng(seed))
        assert 90 <= canvas.shape[0] <= 360
        assert abs(canvas.shape[1] / canvas.shape[0] - 120 / 90) < 0.02
        left, top = (boxes - sample.boxes_xyxy)[0, :2].astype(int)
        np.testing.assert_array_equal(canvas[top : top + 90, left : left + 120], sample.image)
        assert canvas.sum() == sample.image.sum()


def test_zoom_out_of_a_large_image_shrinks_it_with_its_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "CANVAS_PIXELS", 90 * 120)
    sample = painted()
    for seed in range(10):
        canvas, boxes = zoom_out(sample.image, sample.boxes_xyxy, 4.0, np.random.default_rng(seed))
        assert 0.9 * 90 * 120 < canvas.shape[0] * canvas.shape[1] <= 90 * 120
        inner = boxes[0] + np.array([1, 1, -1, -1])
        x1, y1, x2, y2 = inner.round().astype(int)
        if x2 > x1 and y2 > y1:
            assert (canvas[y1:y2, x1:x2] > 200).all()


def test_crop_window_and_kept_boxes() -> None:
    cropped = 0
    for seed in range(60):
        sample = painted(seed=seed)
        image, boxes, labels = iou_crop(
            sample.image, sample.boxes_xyxy, sample.labels, np.random.default_rng(seed)
        )
        height, width = image.shape[:2]
        cropped += image.shape != sample.image.shape
        assert int(0.3 * 90) <= height <= 90
        assert int(0.3 * 120) <= width <= 120
        assert 0.5 <= width / height <= 2
        assert 1 <= len(boxes) == len(labels)
        assert (boxes >= 0).all()
        assert (boxes <= [width, height, width, height]).all()
        for box, label in zip(boxes, labels, strict=True):
            assert box.tolist() == painted_boxes(image, label)
    assert cropped > 30


def test_crop_keeps_a_box_by_its_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each box left out has its centre outside: less than a quarter of it may be seen."""
    for seed in range(60):
        sample = painted(seed=seed)
        image, _, labels = iou_crop(
            sample.image, sample.boxes_xyxy, sample.labels, np.random.default_rng(seed)
        )
        for label in set(range(3)) - set(labels.tolist()):
            x1, y1, x2, y2 = sample.boxes_xyxy[label]
            assert (image[..., 0] == 250 - 50 * label).sum() <= 0.5 * (x2 - x1) * (y2 - y1)


def test_crop_overlaps_a_box_by_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "CROP_OVERLAPS", (0.5,))
    image = np.zeros((100, 100, 3), np.uint8)
    boxes = np.array([[20, 20, 80, 80], [0, 0, 4, 4]], np.float32)
    for seed in range(20):
        window, kept, _ = iou_crop(image, boxes, np.arange(2), np.random.default_rng(seed))
        shared = (kept[0, 2:] - kept[0, :2]).prod()
        assert shared / (60 * 60 + window.shape[0] * window.shape[1] - shared) >= 0.5


def test_crop_that_no_window_fits_keeps_the_image() -> None:
    """A box of one pixel has no window of IoU 0.1 or more: only 0 and 1 can be drawn in the end."""
    image = np.zeros((100, 100, 3), np.uint8)
    boxes = np.array([[50, 50, 51, 51]], np.float32)
    for seed in range(20):
        window, kept, _ = iou_crop(image, boxes, np.zeros(1, int), np.random.default_rng(seed))
        assert len(kept) == 1
        assert window.shape[0] >= 30


def test_sanitize_drops_boxes_below_a_pixel() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.9, 5], [3, 3, 3, 9]], np.float32)
    kept, labels = sanitize(boxes, np.array([4, 5, 6]))
    assert kept.tolist() == [[0, 0, 1, 1]]
    assert labels.tolist() == [4]


def test_chances_are_as_configured() -> None:
    """Half of the plain samples are flipped."""
    sample, config = painted(), NEVER.model_copy(update={"flip": 0.5})
    flipped = sum(
        bool((augment(sample, config, False, np.random.default_rng(seed)).image != sample.image).any())
        for seed in range(200)
    )
    assert 70 < flipped < 130
