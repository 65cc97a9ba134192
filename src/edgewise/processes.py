"""What the processes of a run tell one another: alone, every answer is one's own. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Processes:
    """One process alone; `train.distributed.joined` makes the `Group` of those that run together.

    Every method but `share` is a meeting: all processes call it, in the same order. Numbers and objects
    travel by the host, tensors by the device they are on.
    """

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """This process' part of 0 … total - 1: consecutive, and of all processes' nearly equally long."""
        return range(self.rank * total // self.count, (self.rank + 1) * total // self.count)

    def sums(self, numbers: Sequence[N]) -> tuple[N, ...]:
        """The sum of each number over all processes, in one message."""
        return tuple(numbers)

    def largest(self, number: int) -> int:
        """The largest of all processes' numbers."""
        return number

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return bool(self.largest(int(flag)))

    def wait(self) -> None:
        """Until all are here."""
        self.any(False)

    def add(self, tensors: Sequence[Any]) -> None:
        """Puts into each tensor its sum over all processes, in one message."""

    def average(self, tensors: Sequence[Any]) -> None:
        """Puts into each tensor its mean over all processes."""

    def gathered(self, value: T) -> list[T]:
        """Every process' value by rank in the main process; none in the others."""
        return [value]

    def told(self, value: T | None) -> T:
        """The main process' value in all processes; what the others give is not read."""
        return value  # type: ignore[return-value]  # the main process gives one


ALONE = Processes()
