import numpy as np
import pytest
import torch

from edgewise.export.resize import resized, taps
from edgewise.preprocess import preprocess


@pytest.mark.parametrize("shape", [(64, 96), (128, 192), (97, 300), (50, 60), (240, 150), (31, 500)])
def test_resized_is_preprocess(shape: tuple[int, int]) -> None:
    """But for the last of 255 steps, where rounding between both passes decides."""
    images = np.random.default_rng(2).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    found = resized(torch.from_numpy(images), (64, 96)).numpy()
    expected = np.stack([preprocess(image, (64, 96))[0] for image in images])
    steps = np.abs(found - expected) * 255
    assert steps.max() < 1.01
    if shape[0] * 96 <= shape[1] * 64:  # wide ones, which Pillow makes narrow first
        assert (steps > 0.5).mean() < 0.01


def test_the_size_it_has_already_is_left_alone() -> None:
    assert torch.equal(taps(32, 32), torch.eye(32))


def test_weights_by_hand() -> None:
    """Half the size: 1, 3, 3, 1 eighths; at the border what is left of them."""
    rows = taps(8, 4)
    assert rows[1].tolist() == [0, 0.125, 0.375, 0.375, 0.125, 0, 0, 0]
    torch.testing.assert_close(rows[0, :4], torch.tensor([3, 3, 1, 0]) / 7, atol=1e-6, rtol=0)
