"""The same image under another name, size or compression.

Candidates have nearly the same difference hash [N. Krawetz, "Kind of like that", 2013], here along both
axes; thumbnails then tell the same picture from one that merely resembles it, such as the next frame of a
video. The bounds were read off five data sets of photographs, video frames, microscopy and circuit boards:
the same image at half its size or a JPEG quality of 40 stays within 7 gray levels in every cell of the
thumbnail, and no two different ones are nearer than 18.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

CELLS = 16  # a side of the grid that is hashed
MAX_HASH_DISTANCE = 0.2  # share of bits
SAME_MAX = 12  # gray levels, in any cell of the thumbnails
ALIKE_MEAN = 2  # gray levels, over all cells
CANDIDATES = 16  # thumbnails looked at for an image, nearest hashes first
ROWS = 1024  # hashes compared at a time


@dataclass(frozen=True)
class Likeness:
    """Image `first` of one list resembles image `second` of another; `same` where it is the same picture."""

    first: int
    second: int
    same: bool


def difference_hash(thumbnails: UInt8[np.ndarray, "n 64 64"]) -> Bool[np.ndarray, "n 480"]:
    """Whether brightness rises from each cell of a 16x16 grid to the next on its right, and to that below."""
    n, side = len(thumbnails), thumbnails.shape[1] // CELLS
    cells = thumbnails.reshape(n, CELLS, side, CELLS, side).mean((2, 4))
    right, below = np.diff(cells, axis=2) > 0, np.diff(cells, axis=1) > 0
    return np.concatenate([right.reshape(n, -1), below.reshape(n, -1)], 1)


def lookalikes(first: UInt8[np.ndarray, "n 64 64"], second: UInt8[np.ndarray, "m 64 64"]) -> list[Likeness]:
    """For each image of `first` that looks like one of `second`: the one it is most like, in order."""
    if not len(first) or not len(second):
        return []
    hashes, others = _signs(first), _signs(second)
    found = []
    for start in range(0, len(first), ROWS):
        agreement = hashes[start : start + ROWS] @ others.T  # 1 - 2 · share of bits that differ
        near = np.argsort(-agreement, 1, kind="stable")[:, :CANDIDATES]
        for row, columns in enumerate(near):
            columns = columns[agreement[row, columns] >= 1 - 2 * MAX_HASH_DISTANCE]
            difference = np.abs(first[start + row].astype(np.int16) - second[columns])
            most, mean = difference.max((1, 2)), difference.mean((1, 2))
            for best in np.lexsort([columns, mean, most > SAME_MAX])[:1]:  # the same before the alike
                if most[best] <= SAME_MAX or mean[best] <= ALIKE_MEAN:
                    found.append(Likeness(start + row, int(columns[best]), bool(most[best] <= SAME_MAX)))
    return found


def _signs(thumbnails: UInt8[np.ndarray, "n 64 64"]) -> Float32[np.ndarray, "n 480"]:
    """The hash as unit vectors, so that a product of matrices compares all with all."""
    bits = difference_hash(thumbnails)
    signs: np.ndarray = (2 * bits.astype(np.float32) - 1) / np.sqrt(np.float32(bits.shape[1]))
    return signs
