import numpy as np
import pytest
import torch

from edgewise.boxes import cxcywh_to_xyxy
from edgewise.data.collate import collate, multi_scale_sizes
from edgewise.sample import Sample


def sample(height: int, width: int, boxes: list[list[float]], image_id: int = 0) -> Sample:
    image = np.random.default_rng(image_id).integers(0, 256, (height, width, 3), np.uint8)
    return Sample(
        image, np.array(boxes, np.float32).reshape(-1, 4), np.arange(len(boxes), dtype=np.int64), image_id
    )


def test_batch_of_images_of_different_sizes() -> None:
    samples = [
        sample(40, 100, [[0, 0, 100, 40], [25, 10, 50, 30]], 7),
        sample(64, 32, [], 8),
        sample(30, 30, [[15, 0, 30, 30]], 9),
    ]
    batch = collate(samples, (64, 96))
    assert batch.images.shape == (3, 3, 64, 96)
    assert batch.images.dtype == torch.float32
    assert batch.image_ids == (7, 8, 9)
    assert batch.targets.counts == (2, 0, 1)
    assert batch.targets.labels.tolist() == [0, 1, 0]
    expected = [[0.5, 0.5, 1, 1], [0.375, 0.5, 0.25, 0.5], [0.75, 0.5, 0.5, 1]]
    torch.testing.assert_close(batch.targets.boxes, torch.tensor(expected))


def test_one_image_equals_the_same_image_in_a_batch() -> None:
    samples = [sample(40, 100, [[1, 2, 30, 40]], 1), sample(50, 60, [[0, 0, 9, 9]], 2)]
    alone, both = collate(samples[:1], (64, 64)), collate(samples, (64, 64))
    assert torch.equal(alone.images[0], both.images[0])
    assert torch.equal(alone.targets.boxes, both.targets.boxes[:1])


def test_a_box_below_a_pixel_at_model_size_is_dropped() -> None:
    batch = collate([sample(320, 320, [[0, 0, 9.9, 320], [0, 0, 10.1, 320]])], (32, 32))
    assert batch.targets.labels.tolist() == [1]
    torch.testing.assert_close(cxcywh_to_xyxy(batch.targets.boxes)[0, 2] * 320, torch.tensor(10.1))


def test_a_batch_without_any_box() -> None:
    batch = collate([sample(32, 32, []), sample(32, 32, [])], (32, 32))
    assert batch.targets.boxes.shape == (0, 4)
    assert batch.targets.labels.dtype == torch.int64


def test_sizes_of_the_paper() -> None:
    sides = [480, 512, 544, 576, 608, 640, 640, 640, 800, 768, 736, 704, 672]
    assert multi_scale_sizes((640, 640), 0.25, 3) == [(side, side) for side in sides]


@pytest.mark.parametrize("size", [(384, 640), (640, 384)])
def test_sizes_of_a_rectangle_keep_its_aspect(size: tuple[int, int]) -> None:
    sizes = multi_scale_sizes(size, 0.25, 1)
    assert size in sizes
    assert len(sizes) == len(set(sizes)) == 11
    for height, width in sizes:
        assert height % 32 == width % 32 == 0
        assert abs(min(height, width) - 0.6 * max(height, width)) <= 16
        assert (height < width) == (size[0] < size[1])


def test_sizes_without_spread_are_the_base() -> None:
    assert multi_scale_sizes((640, 384), 0.0, 2) == [(640, 384)] * 2


def test_sizes_stay_positive() -> None:
    sizes = multi_scale_sizes((64, 32), 1.5, 1)
    assert min(min(size) for size in sizes) == 32
    assert (64, 32) in sizes


def test_sizes_of_a_wrong_base() -> None:
    with pytest.raises(ValueError, match="650 is not a positive multiple of 32; use 640 or 672"):
        multi_scale_sizes((650, 640), 0.25, 1)
