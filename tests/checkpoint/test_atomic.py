import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgewise.checkpoint.atomic import atomic_write, remove_unfinished


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


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Files cannot grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(bytes(100_000)),
        lambda path: torch.save(torch.zeros(100_000), path),
        lambda path: save_file({"a": torch.zeros(100_000)}, path),
    ],
    ids=["Python", "torch", "safetensors"],
)
def test_a_full_disk_is_one_clear_error_whoever_writes(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "a.state"
    path.write_text("old")
    with files_of_at_most(50_000), pytest.raises(OSError) as caught:
        atomic_write(path, write)
    assert str(caught.value).startswith(f"{path}: cannot be written: ")
    assert "what it held before is as it was" in str(caught.value)
    assert "MB are free there" in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["a.state"]
    assert path.read_text() == "old"


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    for name in (".last.state.123.tmp", "last.state"):
        (tmp_path / name).write_text("")
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.state"]


def test_another_reason_than_room_says_nothing_of_room(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot be written: .*") as caught:
        atomic_write(tmp_path / "file/a.state", Path.touch)
    assert "MB are free" not in str(caught.value)
