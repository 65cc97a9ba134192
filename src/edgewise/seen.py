"""Which images a detector was trained on, in a few kilobytes: honesty is not measured on them. No torch."""

import base64
import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import UInt64
from pydantic import NonNegativeInt

from edgewise.config import Settings

MOST = 4096  # hashes kept: 43 kB in a checkpoint's header
PART = 1 << 12  # bytes read at either end of a file: in JPEGs tables and pixels differ there


def file_hash(path: str | Path) -> int:
    """64 bits that follow from a file's size, its first and its last 4 kB; its name does not count."""
    with Path(path).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        digest = hashlib.blake2b(size.to_bytes(8, "little") + file.read(PART), digest_size=8)
        file.seek(max(PART, size - PART))
        digest.update(file.read(PART))
    return int.from_bytes(digest.digest(), "little")


class SeenImages(Settings):
    """The training images by hash: all of them, or of more than `MOST` those with the smallest hashes.

    A hash says nothing about its image, so the smallest are a random sample that two sets share: of other
    images with hashes as small, those that were trained on are found without fail. `hashes` is base64 of
    their little-endian 64 bits, rising.
    """

    images: NonNegativeInt
    hashes: str

    @classmethod
    def of(cls, paths: Iterable[str | Path]) -> "SeenImages":
        """Reads the ends of every file; those that cannot be read are left out."""
        found = _hashes(paths)
        return cls(images=len(found), hashes=base64.b64encode(found[:MOST].astype("<u8").tobytes()).decode())

    def share(self, paths: Iterable[str | Path]) -> float:
        """The share of these image files that was trained on, estimated from those the sample can tell."""
        seen = np.frombuffer(base64.b64decode(self.hashes), "<u8")
        others = _hashes(paths)
        if self.images > len(seen):
            others = others[others <= seen[-1:].max(initial=0)]
        return float(np.isin(others, seen).mean()) if len(others) else 0.0


def _hashes(paths: Iterable[str | Path]) -> UInt64[np.ndarray, " n"]:
    """Rising, each once; without the files that cannot be read, which are no reason to stop a run."""
    found = []
    for path in paths:
        with suppress(OSError):
            found.append(file_hash(path))
    return np.unique(np.array(found, np.uint64))
