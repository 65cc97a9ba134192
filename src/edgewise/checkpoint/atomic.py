"""A file appears whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

WRITING = (OSError, RuntimeError, SafetensorError)  # what Python, torch and safetensors say of a full disk
ROOM = (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what may be a lack of room


def atomic_write(path: str | Path, write: Callable[[Path], object]) -> None:
    """Has `write` fill a temporary file beside `path`, syncs it to the disk, and gives it the name.

    A crash at any moment leaves the old file or the new one, never a part. Missing folders are made. Raises
    OSError, naming the file, where it cannot be written; then the old one is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with writing(path, *WRITING):
            temporary.touch()
            mode = temporary.stat().st_mode  # what the user's umask gives; some writers make private files
            write(temporary)
            temporary.chmod(mode)
            _sync(temporary, os.O_RDWR)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere a folder cannot be opened; the rename is durable without
        _sync(path.parent, os.O_RDONLY)


def remove_unfinished(folder: Path) -> None:
    """Removes the temporary files that a killed process left in a folder."""
    for path in folder.glob(".*.[0-9]*.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, *failures: type[Exception]) -> Iterator[None]:
    """For what writes `path`: OSError in place of `failures`.

    It says why that could not be written, what became of the old one, and how much room there is unless
    the system names another reason.
    """
    try:
        yield
    except failures as error:
        text = next(iter(str(error).strip().splitlines()), type(error).__name__)
        facts = ["what it held before is as it was"] if path.exists() else []
        if getattr(error, "errno", None) in ROOM:
            there = next(folder for folder in path.absolute().parents if folder.exists())
            facts.append(f"{shutil.disk_usage(there).free / 1e6:,.0f} MB are free there")
        told = f" ({'; '.join(facts)})" if facts else ""
        raise OSError(f"{path}: cannot be written: {text}{told}") from error


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
