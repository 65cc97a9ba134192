"""Where pixels and boxes go in images made of several: by hand, and for any draw."""

import numpy as np
import pytest

from edgewise.data.dense import COVERED, copy_blend, mixup, mosaic
from edgewise.sample import Sample


def flat(value: int, boxes: list[list[float]], size: tuple[int, int] = (60, 80), label: int = 0) -> Sample:
    return Sample(
        np.full((*size, 3), value, np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), label),
        image_id=value,
        path=f"{value}.png",
    )


def painted(label: int, rng: np.random.Generator) -> Sample:
    """Rectangles of a level of their own, 100 + 10 · label, on black: pixels say where boxes must be."""
    image, boxes = np.zeros((96, 128, 3), np.uint8), []
    for x, y in ((8, 8), (72, 8), (40, 56)):
        w, h = rng.integers(20, 36, 2)
        image[y : y + h, x : x + w] = 100 + 10 * label
        boxes.append([x, y, x + w, y + h])
    return Sample(image, np.array(boxes, np.float32), np.full(3, label))


@pytest.mark.parametrize("seed", range(8))
def test_a_mosaic_is_four_images_around_a_point(seed: int) -> None:
    images = [flat(value, [[0, 0, 80, 60]], label=value) for value in (10, 20, 30, 40)]
    found = mosaic(images, (64, 96), np.random.default_rng(seed))
    pixels = found.image[..., 0]
    x, y = int((pixels[0] == 10).sum()), int((pixels[:, 0] == 10).sum())
    assert 0.29 * 96 <= x <= 0.7 * 96
    assert 0.29 * 64 <= y <= 0.7 * 64
    quarters = pixels[:y, :x], pixels[:y, x:], pixels[y:, :x], pixels[y:, x:]
    assert [np.unique(one).tolist() for one in quarters] == [[10], [20], [30], [40]]
    corners = {10: [0, 0, x, y], 20: [x, 0, 96, y], 30: [0, y, x, 64], 40: [x, y, 96, 64]}
    for label, box in zip(found.labels.tolist(), found.boxes_xyxy.tolist(), strict=True):
        assert box == corners[label]  # an image that is one box fills its quarter
    assert (found.image_id, found.path) == (10, "10.png")


@pytest.mark.parametrize("seed", range(8))
def test_boxes_of_a_mosaic_are_around_their_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = mosaic([painted(label, rng) for label in range(4)], (192, 256), rng)
    assert len(found.labels)
    covered = np.zeros(found.size, bool)
    for (x1, y1, x2, y2), label in zip(found.boxes_xyxy, found.labels, strict=True):
        inner = found.image[int(np.ceil(y1)) + 2 : int(y2) - 2, int(np.ceil(x1)) + 2 : int(x2) - 2, 0]
        assert (np.abs(inner.astype(int) - (100 + 10 * label)) <= 1).all()
        covered[max(0, int(y1) - 2) : int(y2) + 3, max(0, int(x1) - 2) : int(x2) + 3] = True
    # What is left uncovered are pieces of dropped boxes: less than a quarter of one each.
    assert (found.image[..., 0] > 50)[~covered].sum() < 12 * 0.25 * 36 * 36


def test_small_leftovers_are_dropped() -> None:
    kept, all_of_them = 0, 0
    for seed in range(50):
        found = mosaic([flat(1, [[30, 20, 60, 44]])] * 4, (64, 96), np.random.default_rng(seed))
        all_of_them += 4
        kept += len(found.labels)
        sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
        assert (sides >= 1).all()
    assert 0.4 * all_of_them < kept < all_of_them


def test_mosaic_without_boxes() -> None:
    found = mosaic([flat(1, [])] * 4, (32, 32), np.random.default_rng(0))
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.boxes_xyxy.dtype == np.float32


def test_mixup_has_both() -> None:
    a, b = flat(100, [[0, 0, 9, 9]], label=1), flat(200, [[5, 5, 20, 20], [1, 2, 3, 4]], label=2)
    found = mixup(a, b, np.random.default_rng(0))
    assert 145 <= found.image.min() == found.image.max() <= 155
    assert found.labels.tolist() == [1, 2, 2]
    assert found.boxes_xyxy.tolist() == [[0, 0, 9, 9], [5, 5, 20, 20], [1, 2, 3, 4]]
    assert found.image_id == 100


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    shared = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    return float(shared / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()))


@pytest.mark.parametrize("seed", range(10))
def test_pasted_objects_lie_free_and_where_their_pixels_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, donor = flat(0, [[0, 0, 50, 50]], (96, 128)), painted(5, rng)
    before = target.image.copy()
    found = copy_blend(target, donor, rng)
    assert np.array_equal(target.image, before)  # its own copy
    assert found.boxes_xyxy[0].tolist() == [0, 0, 50, 50]
    for index, box in enumerate(found.boxes_xyxy[1:], 1):
        assert found.labels[index] == 5
        assert (box >= 0).all()
        assert (box <= [128, 96, 128, 96]).all()
        assert all(overlap(box, other) <= COVERED + 1e-6 for other in found.boxes_xyxy[:index])
        x1, y1, x2, y2 = box.astype(int)
        blended = found.image[y1:y2, x1:x2, 0]
        assert 0.44 * 150 <= np.median(blended) <= 0.56 * 150 + 1


def test_objects_are_pasted_at_all() -> None:
    target, donor = flat(0, [], (96, 128)), painted(5, np.random.default_rng(0))
    counts = {len(copy_blend(target, donor, np.random.default_rng(seed)).labels) for seed in range(20)}
    assert max(counts) == 3


@pytest.mark.parametrize("box", [[0, 0, 9, 9], [0, 0, 64, 60]], ids=["small", "large"])
def test_what_is_too_small_or_too_large_is_not_pasted(box: list[float]) -> None:
    target = flat(0, [[1, 1, 5, 5]])
    found = copy_blend(target, flat(200, [box]), np.random.default_rng(0))
    assert np.array_equal(found.image, target.image)
    assert len(found.labels) == 1


def test_a_full_image_takes_no_more() -> None:
    target = flat(0, [[0, 0, 80, 60]])
    assert len(copy_blend(target, flat(200, [[0, 0, 20, 20]]), np.random.default_rng(0)).labels) == 1
