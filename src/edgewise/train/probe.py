"""Training a copy: what a run would do, without the run noticing."""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch

from edgewise.config import TrainConfig
from edgewise.distributions import bin_values
from edgewise.losses import stop_unless_finite
from edgewise.model import DFine
from edgewise.structures import Batch, Targets
from edgewise.train.optimizer import build_optimizer, set_rate
from edgewise.train.step import step_losses


class Probe:
    """A copy of `model` on `device` that takes the steps of the run, with an optimizer of its own."""

    def __init__(self, model: DFine, config: TrainConfig, device: torch.device) -> None:
        self.model = deepcopy(model).to(device).train()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub
        self.config = config
        self.optimizer = build_optimizer(self.model, config.optimizer)
        decoder = model.config.decoder
        self._values = bin_values(decoder.num_bins, decoder.a, decoder.c, device=device)
        self._trained = [p for p in self.model.parameters() if p.requires_grad]

    def step(self, batch: Batch, step: int = 0, rate: float = 1.0) -> float:
        """One update with the noise of `step`, at `rate` times the full rate: the loss before it.

        Raises FloatingPointError where a loss term or the gradient is not finite.
        """
        losses = step_losses(self.model, batch, step, self.config, self._values)
        total = math.fsum(stop_unless_finite(losses, step).values())
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self._trained, self.config.optimizer.clip_norm))
        if not math.isfinite(norm):
            raise FloatingPointError(f"step {step}: the gradient's norm is {norm}")
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        return total


def some_of(batch: Batch, images: Sequence[int]) -> Batch:
    """The batch of these images alone."""
    targets, offsets = batch.targets, batch.targets.offsets
    rows = [slice(offsets[index], offsets[index] + targets.counts[index]) for index in images]
    return Batch(
        batch.images[list(images)],
        Targets.of([targets.labels[one] for one in rows], [targets.boxes[one] for one in rows]),
        tuple(batch.image_ids[index] for index in images),
    )
