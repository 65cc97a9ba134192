"""A batch in as many pieces as a GPU's memory asks for."""

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


class Pieces:
    """Runs at most `most` images at once; fewer once a GPU's memory has turned out too small for them.

    `free` gives back what was allocated in vain.
    """

    def __init__(self, most: int = sys.maxsize, free: Callable[[], None] = torch.cuda.empty_cache) -> None:
        self.most = most
        self._free = free

    def __call__(self, run: Callable[[Sequence[T]], list[R]], images: Sequence[T]) -> list[R]:
        """What `run` says of each image. Fewer at once than were given is warned of, when it is found.

        MemoryError where not one image fits.
        """
        rows: list[R] = []
        reason = ""
        while len(rows) < len(images):
            part = images[len(rows) : len(rows) + self.most]
            try:
                rows += run(part)
                continue
            except torch.OutOfMemoryError as error:
                reason = str(error).partition("\n")[0].rstrip(".")
            # From here on the error is gone, and with it the tensors that its traceback held.
            self._free()
            if len(part) == 1:
                raise MemoryError(
                    f"not one image fits into the GPU's memory ({reason}); take a smaller size, or the CPU"
                )
            self.most = 1 << (len(part) - 1).bit_length() - 1  # the next smaller power of two
        if reason:
            warnings.warn(
                f"the GPU's memory is too small for so many images at once ({reason}); it gets {self.most} "
                "at a time now",
                stacklevel=2,
            )
        return rows
