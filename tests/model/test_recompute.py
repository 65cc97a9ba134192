"""Gradient checkpointing changes memory and time alone."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from edgewise.model import DFine
from edgewise.model.recompute import run, statistics_kept
from edgewise.structures import DenoisingQueries
from tests.train.tiny import tiny_model


def step(model: DFine, generator: torch.Generator) -> dict[str, Tensor]:
    """Gradients of a sum of all outputs, and the batch norms' statistics after it."""
    images = torch.rand(2, 3, 64, 64, generator=generator)
    labels = torch.randint(3, (2, 4), generator=generator)
    noised = DenoisingQueries(labels, torch.randn(2, 4, 4, generator=generator), groups=1, group_size=4)
    output = model(images, noised)
    assert output.denoising is not None
    assert output.initial.logits is not None
    total = output.encoder.logits.mean() + output.encoder.boxes.mean() + output.initial.logits.mean()
    for layer in (*output.layers, *output.denoising.layers):
        total = total + layer.logits.square().mean() + layer.boxes.mean() + layer.edge_logits.square().mean()
    total.backward()
    gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return gradients | dict(model.named_buffers())


def test_gradients_and_running_statistics_are_the_same() -> None:
    plain = tiny_model().train()
    recomputing = deepcopy(plain)
    recomputing.set_recompute(True)
    one, other = (step(model, torch.Generator().manual_seed(0)) for model in (plain, recomputing))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=0, msg=name)
    assert int(one["backbone.stages.1.downsample.bn.num_batches_tracked"]) == 1


class Counted(nn.Module):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.sin().exp()


def test_a_part_runs_again_for_the_gradient_alone() -> None:
    part, x = Counted(), torch.ones(3, requires_grad=True)
    run(part, x, recompute=True).sum().backward()
    assert part.calls == 2
    with torch.no_grad():
        run(part, x, recompute=True)
    assert part.calls == 3
    run(part, x, recompute=False).sum().backward()
    assert part.calls == 4


@pytest.mark.parametrize("value", [0.5, torch.nan])
def test_statistics_can_be_kept(value: float) -> None:
    model = tiny_model().train()
    before = {name: one.clone() for name, one in model.state_dict().items()}

    def changed() -> set[str]:
        return {
            name.rpartition(".")[2]
            for name, one in model.state_dict().items()
            if not torch.equal(one, before[name])
        }

    with statistics_kept(model), torch.no_grad():
        model(torch.full((1, 3, 64, 64), value))
        assert changed() == {"running_mean", "running_var", "num_batches_tracked"}
    assert not changed()
