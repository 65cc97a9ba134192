"""Gradient checkpointing: what a part holds inside is made again in the backward pass, not kept for it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def run(part: nn.Module, *inputs: Any, recompute: bool) -> Any:
    """`part(*inputs)`; with `recompute`, gradients need the memory of inputs and output only.

    The part must draw nothing at random. Its batch norms count the batch once.
    """
    if not (recompute and torch.is_grad_enabled()):
        return part(*inputs)
    return checkpoint(
        part,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), statistics_kept(part)),
    )


class Statistics:
    """The running statistics of a model's batch norms, which a forward pass in training mode changes."""

    def __init__(self, model: nn.Module) -> None:
        self._live: list[Tensor] = [one for name, one in model.named_buffers() if name.endswith(STATISTICS)]
        self._kept = [one.clone() for one in self._live]

    def restore(self) -> None:
        """They become what they were when this was made."""
        for live, kept in zip(self._live, self._kept, strict=True):
            live.copy_(kept)


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Forward passes in here leave the running statistics as they were."""
    before = Statistics(model)
    try:
        yield
    finally:
        before.restore()


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Means and variances of the batch norms that are in training mode."""
    return [
        one
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm) and module.training
        for one in (module.running_mean, module.running_var)
        if one is not None
    ]
