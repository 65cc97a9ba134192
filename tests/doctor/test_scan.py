"""Reading every image once."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edgewise.doctor.scan import scan_image, scan_images
from tests.doctor.folders import photo, turned


def test_an_upright_image(tmp_path: Path) -> None:
    photo(0).save(tmp_path / "a.png")
    scan = scan_image(tmp_path / "a.png")
    assert (scan.size, scan.stored_size, scan.orientation, scan.error) == ((64, 96), (64, 96), 1, "")
    assert scan.thumbnail is not None
    assert scan.thumbnail.shape == (64, 64)
    assert abs(float(scan.thumbnail.mean()) - float(np.asarray(photo(0).convert("L")).mean())) < 1


def test_a_turned_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(turned(photo(0), 6))
    scan = scan_image(tmp_path / "a.jpg")
    assert (scan.size, scan.stored_size, scan.orientation) == ((96, 64), (64, 96), 6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty; expected an image. Fetch or export it again"),
        (b"hello", "not an image; expected one of .bmp"),
        (turned(photo(0), 1)[:-300], "cannot be decoded: image file is truncated"),
    ],
)
def test_what_is_no_image_says_why(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    scan = scan_image(tmp_path / "a.jpg")
    assert scan.size is scan.stored_size is scan.thumbnail is None
    assert scan.error.startswith(message)


def test_each_file_is_read_once_and_missing_ones_are_passed_over(tmp_path: Path) -> None:
    for seed in range(3):
        photo(seed).save(tmp_path / f"{seed}.png")
    (tmp_path / "folder.png").mkdir()
    names = ["2.png", "0.png", "missing.png", "2.png", "folder.png", "1.png"]
    written = io.StringIO()
    found = scan_images([tmp_path / name for name in names], Console(file=written))
    assert [path.name for path in found] == ["2.png", "0.png", "1.png"]
    assert len({scan.digest for scan in found.values()}) == 3
    assert written.getvalue() == ""  # a bar is for terminals


def test_progress_is_shown_on_a_terminal(tmp_path: Path) -> None:
    photo(0).save(tmp_path / "a.png")
    written = io.StringIO()
    scan_images([tmp_path / "a.png"], Console(file=written, force_terminal=True))
    assert "reading images" in written.getvalue()
