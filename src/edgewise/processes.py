"""What the processes of a run tell one another. Alone, every answer is one's own and nothing is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Processes:
    """This process and how many there are; `train.distributed.joined` makes those of a running group.

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
        return self._reduced(numbers, "SUM")

    def largest(self, number: int) -> int:
        """The largest of all processes' numbers."""
        return self._reduced([number], "MAX")[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return bool(self.largest(int(flag)))

    def wait(self) -> None:
        """Until all are here."""
        self.any(False)

    def _reduced(self, numbers: Sequence[N], how: str) -> tuple[N, ...]:
        if self.count == 1:
            return tuple(numbers)
        whole = all(isinstance(one, int) for one in numbers)
        packed = torch.tensor(numbers, dtype=torch.int64 if whole else torch.float64)
        dist.all_reduce(packed, getattr(dist.ReduceOp, how))
        return tuple(packed.tolist())

    @torch.no_grad()
    def add(self, tensors: Sequence[Tensor]) -> None:
        """Puts into each tensor its sum over all processes, in one message."""
        if self.count == 1 or not tensors:
            return
        packed = torch.cat([one.flatten() for one in tensors])
        dist.all_reduce(packed)
        for one, total in zip(tensors, packed.split([one.numel() for one in tensors]), strict=True):
            one.copy_(total.view_as(one))

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Puts into each tensor its mean over all processes."""
        if self.count > 1 and tensors:
            self.add(tensors)
            torch._foreach_div_(list(tensors), self.count)

    def gathered(self, value: T) -> list[T]:
        """Every process' value by rank in the main process; none in the others."""
        if self.count == 1:
            return [value]
        values: list[Any] | None = [None] * self.count if self.main else None
        dist.gather_object(value, values)
        return values or []

    def told(self, value: T | None) -> T:
        """The main process' value in all processes; what the others give is not read."""
        if self.count > 1:
            packed = [value]
            dist.broadcast_object_list(packed)
            (value,) = packed
        return value  # type: ignore[return-value]  # the main process gives one


ALONE = Processes()
