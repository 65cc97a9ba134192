"""The C library's allocator: whether memory that was freed is kept for the next time."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of mallopt, from malloc.h
EVERYTHING = -1  # of the first
MIB = 1 << 20


def keep_freed_memory(most: int = EVERYTHING) -> None:
    """From here on up to `most` bytes that this process frees stay with it.

    glibc by itself gives large blocks back at once, and the system clears the pages that it hands out anew: a
    training step of size n on a CPU met 90,000 of them, a seventh of its time, and eight images through
    `model.fast` 59,000, a fifth. Nothing happens where the C library has no mallopt, as on macOS and Windows.
    """
    if libc := _glibc():
        libc.mallopt(MMAP_MAX, 0)  # no block has a mapping of its own, all are of the heap
        libc.mallopt(TRIM_THRESHOLD, most)


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """All of it within; afterwards what is free is given back."""
    keep_freed_memory()
    try:
        yield
    finally:
        if libc := _glibc():
            libc.mallopt(MMAP_MAX, 65536)
            libc.mallopt(MMAP_THRESHOLD, 32 * MIB)  # where its own adjusting ends once such blocks were freed
            libc.mallopt(TRIM_THRESHOLD, 64 * MIB)
            libc.malloc_trim(ctypes.c_size_t(0))


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") else None
