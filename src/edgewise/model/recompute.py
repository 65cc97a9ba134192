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


def statistics(model: nn.Module) -> list[Tensor]:
    """The running statistics of the model's batch norms, which a forward pass in training mode changes."""
    return [buffer for name, buffer in model.named_buffers() if name.endswith(STATISTICS)]


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Forward passes in here leave the running statistics as they were."""
    live = statistics(model)
    before = [one.clone() for one in live]
    try:
        yield
    finally:
        for one, value in zip(live, before, strict=True):
            one.copy_(value)
