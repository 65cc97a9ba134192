"""Difference hashes and thumbnails: what is the same picture, and what only resembles it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edgewise.doctor.likeness import Likeness, difference_hash, lookalikes
from edgewise.doctor.scan import Scan, scan_image
from tests.doctor.folders import photo


def thumbnails(tmp_path: Path, *pictures: Image.Image | bytes) -> np.ndarray:
    found = []
    for picture in pictures:
        path = tmp_path / "one.jpg"
        path.write_bytes(picture) if isinstance(picture, bytes) else picture.save(path, quality=95)
        scan = scan_image(path)
        assert isinstance(scan, Scan)
        found.append(scan.thumbnail)
    return np.array(found)


def compressed(picture: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return data.getvalue()


def test_hash_says_where_brightness_rises() -> None:
    to_the_right = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    bits = difference_hash(np.stack([to_the_right, to_the_right.T]))
    assert bits.shape == (2, 480)
    assert bits[0, :240].all()
    assert not bits[0, 240:].any()
    assert (bits[1] == ~bits[0]).all()


@pytest.mark.parametrize("quality", [40, 95])
@pytest.mark.parametrize("size", [(96, 64), (72, 48), (200, 150)])
def test_the_same_picture_at_any_size_and_quality(
    size: tuple[int, int], quality: int, tmp_path: Path
) -> None:
    again = compressed(photo(0).resize(size), quality)
    first = thumbnails(tmp_path, photo(1), photo(0))
    assert lookalikes(first, thumbnails(tmp_path, photo(2), photo(3), again)) == [Likeness(1, 2, True)]


def test_a_small_thing_that_moved_makes_it_another_picture(tmp_path: Path) -> None:
    moved = photo(0)
    ImageDraw.Draw(moved).rectangle((60, 40, 66, 46), fill="white")
    first, second = thumbnails(tmp_path, photo(0)), thumbnails(tmp_path, moved)
    assert lookalikes(first, second) == [Likeness(0, 0, False)]
    assert lookalikes(first, np.concatenate([second, first])) == [Likeness(0, 1, True)]


def test_other_pictures_are_others(tmp_path: Path) -> None:
    pictures = thumbnails(tmp_path, *(photo(seed) for seed in range(12)))
    assert lookalikes(pictures[:6], pictures[6:]) == []
    assert lookalikes(pictures, pictures) == [Likeness(i, i, True) for i in range(12)]


def test_nothing_to_compare() -> None:
    none = np.zeros((0, 64, 64), np.uint8)
    assert lookalikes(none, np.zeros((1, 64, 64), np.uint8)) == lookalikes(none, none) == []
