import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from edgewise.preprocess import preprocess, resize


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_values_layout_and_geometry() -> None:
    image = picture(40, 100)
    scaled, geometry = preprocess(image, (64, 96))
    assert scaled.shape == (3, 64, 96)
    assert scaled.dtype == np.float32
    assert scaled.flags.c_contiguous
    assert geometry.original_size == (40, 100)
    assert geometry.model_size == (64, 96)
    reference = Image.fromarray(image).resize((96, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(scaled, np.asarray(reference, np.float32).transpose(2, 0, 1) / 255)


def test_the_same_size_keeps_every_pixel() -> None:
    image = picture(32, 64)
    assert resize(image, (32, 64)) is image
    scaled, _ = preprocess(image, (32, 64))
    np.testing.assert_array_equal(np.rint(scaled * 255).transpose(1, 2, 0), image)
    assert scaled.max() <= 1


def test_shrinking_is_antialiased() -> None:
    """A chessboard of single pixels becomes gray, not black or white."""
    board = np.zeros((128, 128, 3), np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 255
    assert abs(resize(board, (32, 32))[2:-2, 2:-2].astype(int) - 127).max() <= 2


def test_boxes_go_there_and_back() -> None:
    _, geometry = preprocess(picture(40, 100), (64, 96))
    box_cxcywh = np.array([[0.5, 0.25, 0.2, 0.5]], np.float32)
    np.testing.assert_allclose(geometry.to_pixels(box_cxcywh), [[40, 0, 60, 20]], atol=1e-5)


def test_views_are_fine() -> None:
    image = picture(50, 70)
    flipped, _ = preprocess(image[:, ::-1], (32, 32))
    np.testing.assert_array_equal(flipped, preprocess(np.ascontiguousarray(image[:, ::-1]), (32, 32))[0])


def test_a_size_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="100 is not a positive multiple of 32; use 96 or 128"):
        preprocess(picture(8, 8), (96, 100))


def test_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import edgewise.images, edgewise.preprocess"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_columns_come_first_whatever_the_version_of_pillow() -> None:
    """One pass at a time: 13 does both the other way round for an image that is to lose height."""
    image = np.random.default_rng(0).integers(0, 256, (200, 50, 3), dtype=np.uint8)
    narrow = Image.fromarray(image).resize((64, 200), Image.Resampling.BILINEAR)
    expected = np.asarray(narrow.resize((64, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize(image, (32, 64)), expected)
