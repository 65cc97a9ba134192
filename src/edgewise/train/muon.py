"""Muon: hidden matrices and filters move by their momentum made orthogonal, all else by AdamW."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW

MOMENTUM = 0.95
STEPS = 5  # of Newton and Schulz
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's: steepest at 0, singular values end in 0.7 to 1.2
RMS = 0.2  # of an update at rate 1, about AdamW's, so that one rate serves both (arXiv 2502.16982)


class Muon(AdamW):
    """AdamW (β 0.9 and 0.999, ε 1e-8, fused) but for the groups whose `matrices` is not 0.

    Their parameters, of at least two axes, are `matrices` matrices on each other, every further axis counting
    as columns; each moves on its own. Decay is AdamW's. One state, one list of groups.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, fused=True)
        self._step_supports_amp_scaling = False  # a scaler shall look for infinities before `step`

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; parameters without gradient stay."""
        groups = self.param_groups
        self.param_groups = [one for one in groups if not one["matrices"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group["matrices"]:
                self._move(group)

    def _move(self, group: dict[str, Any]) -> None:
        for (rows, columns), parameters in _by_shape(group):
            updates = torch.cat([self._momentum(one).reshape(-1, rows, columns) for one in parameters])
            updates = orthogonal(updates) * RMS * max(rows, columns) ** 0.5
            for one, update in zip(parameters, updates.split(group["matrices"]), strict=True):
                one.mul_(1 - group["lr"] * group["weight_decay"])
                one.sub_(update.reshape(one.shape), alpha=group["lr"])

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        """Nesterov's: the gradient blended with the average that it has just gone into."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:  # the count is there because AdamW's loading looks for it
            state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(parameter))
        average: Tensor = state["exp_avg"].lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(average, MOMENTUM)


def _by_shape(group: dict[str, Any]) -> Iterator[tuple[tuple[int, int], list[nn.Parameter]]]:
    """The parameters with a gradient by (rows, columns) of their matrices: what is alike goes together."""
    found: dict[tuple[int, int], list[nn.Parameter]] = {}
    for one in group["params"]:
        if one.grad is not None:
            rows = one.shape[0] // group["matrices"]
            found.setdefault((rows, one[0].numel()), []).append(one)
    yield from found.items()


def orthogonal(matrices: Float[Tensor, "K m n"]) -> Float[Tensor, "K m n"]:
    """About U·Vᵀ of each matrix U·S·Vᵀ: its singular values, but for very small ones, become 0.7 to 1.2.

    Newton and Schulz's iteration with a polynomial of degree 5, in bfloat16, which is enough for a direction;
    a matrix of zeros stays one. (Muon, kellerjordan.github.io/posts/muon.)
    """
    a, b, c = COEFFICIENTS
    x = matrices.to(torch.bfloat16)
    x = x if x.shape[1] <= x.shape[2] else x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if matrices.shape[1] <= matrices.shape[2] else x.mT).to(matrices.dtype)
