"""Exponential moving average of a model's weights and batch statistics."""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class MovingAverage(Generic[M]):
    """Keeps `.model`, an evaluation copy that follows the trained one by v ← d·v + (1 - d)·model.

    Averaged: parameters that train, and running statistics. All other entries are constants of the model.
    """

    def __init__(self, model: M) -> None:
        self.model = deepcopy(model).eval().requires_grad_(False)
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        names += [n for n, _ in model.named_buffers() if n.endswith(("running_mean", "running_var"))]
        source, average = model.state_dict(), self.model.state_dict()
        self._source: list[Tensor] = [source[name] for name in names]
        self._average: list[Tensor] = [average[name] for name in names]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """One step towards the trained model, whose weights are changed in place by its optimizer."""
        torch._foreach_lerp_(self._average, self._source, 1 - decay)
