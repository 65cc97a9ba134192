from pathlib import Path

import pytest

from edgewise.checkpoint import atomic_write


def test_the_file_appears_with_its_folder_and_leaves_nothing_beside(tmp_path: Path):
    atomic_write(tmp_path / "run/a.txt", lambda path: path.write_text("new"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["a.txt"]
    assert (tmp_path / "run/a.txt").read_text() == "new"


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path):
    (tmp_path / "a.txt").write_text("old")

    def write(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic_write(tmp_path / "a.txt", write)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_nothing_has_the_name_before_all_is_written(tmp_path: Path):
    def write(path: Path) -> None:
        path.write_text("half")
        assert path.parent == tmp_path
        assert not (tmp_path / "a.txt").exists()

    atomic_write(tmp_path / "a.txt", write)
    assert (tmp_path / "a.txt").exists()
