import numpy as np
import pytest

from edgewise.config import AugmentConfig
from edgewise.data import transforms
from edgewise.data.transforms import augment, iou_crop, sanitize, zoom_out
from edgewise.data.view import View, Window, render
from edgewise.sample import Sample

ALWAYS = AugmentConfig(photometric=1, zoom_out=1, crop=1, flip=1, vertical_flip=1)
NEVER = AugmentConfig(photometric=0, zoom_out=0, crop=0, flip=0, vertical_flip=0)
SIZE = (90, 120)


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


def whole(sample: Sample) -> View:
    height, width = sample.size
    return View((height, width), Window(0, 0, width, height), sample.boxes_xyxy, sample.labels)


def seen(sample: Sample, view: View) -> tuple[np.ndarray, np.ndarray]:
    """The view in its own pixels: nothing is resampled."""
    return render(sample.image, view, view.window.size)


def painted_boxes(image: np.ndarray, label: int) -> list[int]:
    """x1, y1, x2, y2 of the pixels of box `label`."""
    rows, columns = np.nonzero(image[..., 0] == 250 - 50 * label)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("seed", range(20))
def test_boxes_follow_their_pixels(seed: int) -> None:
    """Exactly, where nothing is resampled."""
    config = ALWAYS.model_copy(update={"photometric": 0.0})
    sample = painted(seed=seed)
    view = transforms.draw_view(whole(sample), config, True, np.random.default_rng(seed))
    image, boxes = seen(sample, view)
    for box, label in zip(boxes, view.labels, strict=True):
        assert box.tolist() == painted_boxes(image, label)


@pytest.mark.parametrize("seed", range(20))
def test_boxes_follow_their_pixels_to_another_size(seed: int) -> None:
    """Within the pixel that resampling blurs: inside of a box, a pixel off its edges, there is its colour."""
    config = ALWAYS.model_copy(update={"photometric": 0.0})
    out = augment(painted(seed=seed), config, True, np.random.default_rng(seed), (160, 192))
    assert (out.image_id, out.path, out.size) == (5, "a.png", (160, 192))
    for (x1, y1, x2, y2), label in zip(out.boxes_xyxy, out.labels, strict=True):
        blur = 1 + 192 / 30  # a bilinear filter reaches a pixel of the source
        inner = out.image[int(y1 + blur) : int(y2 - blur), int(x1 + blur) : int(x2 - blur), 0]
        assert (inner == 250 - 50 * label).all()


def test_the_same_generator_gives_the_same_sample() -> None:
    sample = painted()
    one, same, other = (
        augment(sample, ALWAYS, True, np.random.default_rng(seed), SIZE) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.boxes_xyxy, same.boxes_xyxy)
    assert (one.image != other.image).any()


def test_the_given_sample_is_left_alone() -> None:
    sample = painted()
    image, boxes = sample.image.copy(), sample.boxes_xyxy.copy()
    for seed in range(10):
        augment(sample, ALWAYS, True, np.random.default_rng(seed), SIZE)
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.boxes_xyxy, boxes)


def test_chance_zero_and_weak_change_nothing() -> None:
    sample = painted()
    for config, strong in (
        (NEVER, True),
        (ALWAYS.model_copy(update={"flip": 0.0, "vertical_flip": 0.0}), False),
    ):
        out = augment(sample, config, strong, np.random.default_rng(0), SIZE)
        np.testing.assert_array_equal(out.image, sample.image)
        np.testing.assert_array_equal(out.boxes_xyxy, sample.boxes_xyxy)


@pytest.mark.parametrize("seed", range(10))
def test_negatives_stay_negatives(seed: int) -> None:
    out = augment(painted(0), ALWAYS, True, np.random.default_rng(seed), SIZE)
    assert out.boxes_xyxy.shape == (0, 4)
    assert out.boxes_xyxy.dtype == np.float32


def test_zoom_out_puts_the_image_on_black() -> None:
    sample = painted()
    for seed in range(20):
        canvas, boxes = seen(sample, zoom_out(whole(sample), 4.0, np.random.default_rng(seed)))
        assert 90 <= canvas.shape[0] <= 360
        assert abs(canvas.shape[1] / canvas.shape[0] - 120 / 90) < 0.02
        left, top = (boxes - sample.boxes_xyxy)[0, :2].astype(int)
        np.testing.assert_array_equal(canvas[top : top + 90, left : left + 120], sample.image)
        assert canvas.sum() == sample.image.sum()


def test_crop_window_and_kept_boxes() -> None:
    cropped = 0
    for seed in range(60):
        sample = painted(seed=seed)
        view = iou_crop(whole(sample), np.random.default_rng(seed))
        image, boxes = seen(sample, view)
        height, width = image.shape[:2]
        cropped += image.shape != sample.image.shape
        assert int(0.3 * 90) <= height <= 90
        assert int(0.3 * 120) <= width <= 120
        assert 0.5 <= width / height <= 2
        assert 1 <= len(boxes) == len(view.labels)
        assert (boxes >= 0).all()
        assert (boxes <= [width, height, width, height]).all()
        for box, label in zip(boxes, view.labels, strict=True):
            assert box.tolist() == painted_boxes(image, label)
    assert cropped > 30


def test_crop_keeps_a_box_by_its_centre() -> None:
    """Each box left out has its centre outside: less than a quarter of it may be seen."""
    for seed in range(60):
        sample = painted(seed=seed)
        view = iou_crop(whole(sample), np.random.default_rng(seed))
        image, _ = seen(sample, view)
        for label in set(range(3)) - set(view.labels.tolist()):
            x1, y1, x2, y2 = sample.boxes_xyxy[label]
            assert (image[..., 0] == 250 - 50 * label).sum() <= 0.5 * (x2 - x1) * (y2 - y1)


def test_crop_overlaps_a_box_by_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "CROP_OVERLAPS", (0.5,))
    boxes = np.array([[20, 20, 80, 80], [0, 0, 4, 4]], np.float32)
    view = View((100, 100), Window(0, 0, 100, 100), boxes, np.arange(2))
    for seed in range(20):
        found = iou_crop(view, np.random.default_rng(seed))
        kept = found.boxes_xyxy
        shared = (kept[0, 2:] - kept[0, :2]).prod()
        assert shared / (60 * 60 + np.prod(found.window.size) - shared) >= 0.5


def test_crop_that_no_window_fits_keeps_the_image() -> None:
    """A box of one pixel has no window of IoU 0.1 or more: only 0 and 1 can be drawn in the end."""
    boxes = np.array([[50, 50, 51, 51]], np.float32)
    view = View((100, 100), Window(0, 0, 100, 100), boxes, np.zeros(1, int))
    for seed in range(20):
        found = iou_crop(view, np.random.default_rng(seed))
        assert len(found.boxes_xyxy) == 1
        assert found.window.size[0] >= 30


def test_a_box_beyond_the_image_is_not_cropped_to() -> None:
    """One's own data set may have such a box. A window around it alone would hold nothing of the image."""
    sample = Sample(
        np.full((64, 64, 3), 9, np.uint8), np.array([[70, 70, 90, 90]], np.float32), np.zeros(1, int)
    )
    for seed in range(100):
        view = transforms.draw_view(whole(sample), ALWAYS, True, np.random.default_rng(seed))
        assert min(view.placed(SIZE)[0].size) > 0


def test_sanitize_drops_boxes_below_a_pixel() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.9, 5], [3, 3, 3, 9]], np.float32)
    kept, labels = sanitize(boxes, np.array([4, 5, 6]))
    assert kept.tolist() == [[0, 0, 1, 1]]
    assert labels.tolist() == [4]


def test_chances_are_as_configured() -> None:
    """Half of the plain samples are flipped."""
    sample, config = painted(), NEVER.model_copy(update={"flip": 0.5})
    flipped = sum(
        bool((augment(sample, config, False, np.random.default_rng(seed), SIZE).image != sample.image).any())
        for seed in range(200)
    )
    assert 70 < flipped < 130
