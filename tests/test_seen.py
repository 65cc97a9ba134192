from pathlib import Path

import pytest

from edgewise import seen
from edgewise.seen import SeenImages, file_hash


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    for i in range(40):
        (tmp_path / f"{i}.png").write_bytes(bytes([i]) * 100)
    return sorted(tmp_path.iterdir())


def test_a_file_is_known_by_its_bytes_whatever_its_name(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "b").write_bytes(b"x" * 10)
    (tmp_path / "c").write_bytes(b"x" * 11)
    assert file_hash(tmp_path / "a") == file_hash(tmp_path / "b") != file_hash(tmp_path / "c")


def test_a_large_file_is_known_by_its_ends(tmp_path: Path):
    whole = bytearray(3 * seen.PART)
    (tmp_path / "a").write_bytes(whole)
    for place in (0, seen.PART - 1, 2 * seen.PART, 3 * seen.PART - 1):
        other = bytearray(whole)
        other[place] = 1
        (tmp_path / "b").write_bytes(other)
        assert file_hash(tmp_path / "a") != file_hash(tmp_path / "b")


def test_the_share_that_was_trained_on(paths: list[Path]):
    trained = SeenImages.of(paths[:30])
    assert trained.images == 30
    assert trained.share(paths[:10]) == 1
    assert trained.share(paths[30:]) == 0
    assert trained.share(paths[20:]) == pytest.approx(0.5)
    assert trained.share([]) == 0
    assert SeenImages.of([]).share(paths) == 0


def test_of_many_images_a_sample_is_kept(paths: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(seen, "MOST", 12)
    trained = SeenImages.of(paths[:30])
    assert trained.images == 30
    assert len(trained.hashes) == 12 * 8 * 4 // 3
    assert trained.share(paths[:30]) == 1
    assert trained.share(paths[30:]) == 0
    assert SeenImages.model_validate_json(trained.model_dump_json()) == trained
