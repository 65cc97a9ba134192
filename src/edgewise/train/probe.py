"""Training a copy: what a run would do, without the run noticing."""

from collections.abc import Sequence
from copy import deepcopy

import torch

from edgewise.config import TrainConfig
from edgewise.model import DFine
from edgewise.structures import Batch, Targets
from edgewise.train.learner import Learner, placed, training_form
from edgewise.train.optimizer import set_rate
from edgewise.train.step import descend, named


class Probe:
    """A copy of `model` on `device` that takes the steps of the run, with an optimizer of its own.

    `class_names` are those of its rows, by which a teacher is matched. Raises ValueError where all weights
    are frozen.
    """

    def __init__(
        self, model: DFine, config: TrainConfig, class_names: Sequence[str], device: torch.device
    ) -> None:
        copy = placed(deepcopy(model), device)
        training_form(copy, config)
        if not any(parameter.requires_grad for parameter in copy.parameters()):
            raise ValueError(
                "no weight of the model trains: all are frozen; model.requires_grad_(True) frees them"
            )
        self._learner = Learner.of(copy, config, class_names)

    def step(self, batch: Batch, step: int = 0, rate: float = 1.0) -> dict[str, float]:
        """One update with the noise of `step`, at `rate` times the full rate: the loss terms before it.

        Raises FloatingPointError, before any weight changes, where something is not finite.
        """
        found = descend(self._learner, batch, step)
        if found.faults:
            raise FloatingPointError(f"step {step}: {named(found.faults)}")
        if found.taken:  # not where float16's scale is still being found
            set_rate(self._learner.optimizer, rate)
            self._learner.optimizer.step()
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
