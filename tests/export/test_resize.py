import numpy as np
import pytest
import torch

from edgewise.export.resize import ONE, SPLIT, resized, taps
from edgewise.preprocess import preprocess


@pytest.mark.parametrize(
    "shape",
    [(64, 96), (128, 192), (97, 300), (50, 60), (240, 150), (31, 500), (700, 500), (64, 97), (900, 20)],
)
def test_resized_is_preprocess(shape: tuple[int, int]) -> None:
    """To the last bit: a step of 1/255 in few pixels moves boxes by more than a proof allows."""
    images = np.random.default_rng(2).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    found = resized(torch.from_numpy(images), (64, 96)).numpy()
    expected = np.stack([preprocess(image, (64, 96))[0] for image in images])
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_weights_by_hand() -> None:
    """Half the size: 1, 3, 3, 1 eighths; the size it has: itself."""
    upper, lower = taps(8, 4).chunk(2)
    whole = (upper.double() * SPLIT + lower) / ONE
    assert whole[1].tolist() == [0, 0.125, 0.375, 0.375, 0.125, 0, 0, 0]
    torch.testing.assert_close(whole[0, :4], torch.tensor([3, 3, 1, 0]).double() / 7, atol=1e-6, rtol=0)
    upper, lower = taps(32, 32).chunk(2)
    assert torch.equal(upper * SPLIT + lower, torch.eye(32) * ONE)
