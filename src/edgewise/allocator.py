"""The C library's allocator: whether memory that was freed is kept for the next time."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of mallopt, from malloc.h
EVERYTHING = -1  # of the first
MIB = 1 << 20

_wishes: list[int] = []  # of this process: what mallopt was told cannot be asked for


def keep_freed_memory(most: int) -> None:
    """From here on up to `most` bytes that this process frees stay with it.

    glibc by itself gives large blocks back at once, and the system clears the pages that it hands out anew: a
    training step of size n on a CPU met 90,000 of them, a seventh of its time, and eight images through
    `model.fast` of size s 173,000, a third. Nothing happens where the C library has no mallopt, as on macOS
    and Windows.
    """
    _wishes.append(most)
    _apply()


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """All of it within; afterwards what is free is given back, and as much is kept as is wished otherwise."""
    keep_freed_memory(EVERYTHING)
    try:
        yield
    finally:
        _wishes.remove(EVERYTHING)
        _apply()
        if libc := _glibc():
            libc.malloc_trim(ctypes.c_size_t(0))


def _apply() -> None:
    """Tells glibc of the greatest wish; without one it does as by itself once large blocks were freed."""
    if libc := _glibc():
        most = EVERYTHING if EVERYTHING in _wishes else max(_wishes, default=64 * MIB)
        libc.mallopt(MMAP_MAX, 0 if _wishes else 65536)  # 0: no block has a mapping of its own
        libc.mallopt(MMAP_THRESHOLD, 32 * MIB)  # where its own adjusting ends, as with 64 for trimming
        libc.mallopt(TRIM_THRESHOLD, most)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") else None
