"""The moving average: one update by hand, and what is averaged at all."""

import torch
from torch import nn

from edgewise.train.ema import MovingAverage


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.fixed = nn.Parameter(torch.ones(1), requires_grad=False)


def test_begins_as_a_copy_in_evaluation_form() -> None:
    model = Small().train()
    average = MovingAverage(model)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), average.model.state_dict().values(), strict=True)
    )
    assert not average.model.training
    assert model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert average.model.linear.weight is not model.linear.weight


def test_one_update_by_hand() -> None:
    model = Small()
    average = MovingAverage(model)
    before = average.model.linear.weight.clone()
    with torch.no_grad():
        model.linear.weight += 1
        model.norm.running_mean += 4  # type: ignore[operator]
    average.update(0.75)
    torch.testing.assert_close(average.model.linear.weight, before + 0.25)
    torch.testing.assert_close(average.model.norm.running_mean, torch.ones(2))


def test_constants_and_counters_stay() -> None:
    model = Small()
    average = MovingAverage(model)
    with torch.no_grad():
        model.fixed += 1
        model.norm(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    average.update(0.0)
    assert average.model.fixed == 1
    assert average.model.norm.num_batches_tracked == 0
    assert torch.equal(average.model.norm.running_var, model.norm.running_var)  # type: ignore[arg-type]


def test_the_two_ends_of_the_decay() -> None:
    model = Small()
    average = MovingAverage(model)
    before = average.model.linear.weight.clone()
    with torch.no_grad():
        model.linear.weight *= 3
    average.update(1.0)
    assert torch.equal(average.model.linear.weight, before)
    average.update(0.0)
    torch.testing.assert_close(average.model.linear.weight, model.linear.weight.detach())


def test_follows_a_model_whose_state_is_loaded_in_place() -> None:
    model = Small()
    average = MovingAverage(model)
    model.load_state_dict({key: torch.full_like(value, 2) for key, value in model.state_dict().items()})
    average.update(0.0)
    torch.testing.assert_close(average.model.linear.bias, torch.full((2,), 2.0))
