"""Training a copy: what a run would do, without the run noticing."""

from collections.abc import Sequence
from copy import deepcopy

import torch

from edgewise.config import TrainConfig
from edgewise.distributions import bin_values
from edgewise.model import DFine
from edgewise.structures import Batch, Targets
from edgewise.train.optimizer import build_optimizer, set_rate
from edgewise.train.step import descend, gradient_scaler, training_form


class Probe:
    """A copy of `model` on `device` that takes the steps of the run, with an optimizer of its own.

    Raises ValueError where all weights are frozen.
    """

    def __init__(self, model: DFine, config: TrainConfig, device: torch.device) -> None:
        self.model = deepcopy(model).to(device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub
        training_form(self.model, config)
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise ValueError(
                "no weight of the model trains: all are frozen; model.requires_grad_(True) frees them"
            )
        self.config = config
        self.optimizer = build_optimizer(self.model, config.optimizer)
        decoder = model.config.decoder
        self._scaler = gradient_scaler(config, device)
        self._values = bin_values(decoder.num_bins, decoder.a, decoder.c, device=device)

    def step(self, batch: Batch, step: int = 0, rate: float = 1.0) -> dict[str, float]:
        """One update with the noise of `step`, at `rate` times the full rate: the loss terms before it.

        Raises FloatingPointError, before any weight changes, where something is not finite.
        """
        found = descend(self.model, self.optimizer, self._scaler, batch, step, self.config, self._values)
        if found.faults:
            raise FloatingPointError(f"step {step}: {', '.join(found.faults)}")
        if found.taken:  # not where float16's scale is still being found
            set_rate(self.optimizer, rate)
            self.optimizer.step()
        return found.losses


def some_of(batch: Batch, images: Sequence[int]) -> Batch:
    """The batch of these images alone."""
    targets, offsets = batch.targets, batch.targets.offsets
    rows = [slice(offsets[index], offsets[index] + targets.counts[index]) for index in images]
    return Batch(
        batch.images[list(images)],
        Targets.of([targets.labels[one] for one in rows], [targets.boxes[one] for one in rows]),
        tuple(batch.image_ids[index] for index in images),
    )
