"""Which parameter is in which group, and what a group's rate and decay are."""

import pytest
import torch
from torch import nn

from edgewise.config import OptimizerConfig
from edgewise.model import DFine
from edgewise.presets import preset, trainable
from edgewise.train.optimizer import build_optimizer, parameter_groups, set_rate
from tests.train.tiny import tiny_model

CONFIG = OptimizerConfig(lr=1e-3, backbone_lr=1e-4, weight_decay=0.01)


def members(model: nn.Module) -> dict[str, set[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        str(group["name"]): {names[id(one)] for one in group["params"]}  # type: ignore[attr-defined]
        for group in parameter_groups(model, CONFIG)
    }


def test_every_parameter_that_trains_is_in_one_group() -> None:
    model = tiny_model()
    groups = members(model)
    assert set(groups) == {"backbone/decayed", "backbone/plain", "rest/decayed", "rest/plain"}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))
    assert set().union(*groups.values()) == {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def test_filters_and_matrices_decay_and_nothing_else() -> None:
    model = tiny_model()
    groups = members(model)
    sizes = {name: parameter.ndim for name, parameter in model.named_parameters()}
    for part in ("backbone", "rest"):
        assert all(sizes[name] >= 2 for name in groups[f"{part}/decayed"])
        assert all(sizes[name] == 1 for name in groups[f"{part}/plain"])
    assert "backbone.stem.stem1.conv.weight" in groups["backbone/decayed"]
    assert "backbone.stem.stem1.bn.weight" in groups["backbone/plain"]
    assert "backbone.stem.stem1.lab.scale" in groups["backbone/plain"]
    assert "decoder.denoising_class_embed.weight" in groups["rest/decayed"]
    assert "decoder.enc_score_head.bias" in groups["rest/plain"]
    attention = {name for name in groups["rest/plain"] if ".in_proj_" in name}
    assert attention
    assert all(name.endswith("in_proj_bias") for name in attention)


def test_rates_and_decay_of_the_groups() -> None:
    groups = {group["name"]: group for group in parameter_groups(tiny_model(), CONFIG)}
    assert {name: (one["lr"], one["weight_decay"]) for name, one in groups.items()} == {
        "backbone/decayed": (1e-4, 0.01),
        "backbone/plain": (1e-4, 0),
        "rest/decayed": (1e-3, 0.01),
        "rest/plain": (1e-3, 0),
    }


def test_a_frozen_stem_is_in_no_group() -> None:
    with torch.device("meta"):
        frozen, free = DFine(preset("l", 2)), DFine(trainable(preset("l", 2)))

    def stem(model: DFine) -> set[str]:
        every = set().union(*members(model).values())
        return {name for name in every if name.startswith("backbone.stem.")}

    assert not stem(frozen)
    assert len(stem(free)) == 5 * 3  # filters, and scale and shift of the norms


def test_set_rate_scales_what_the_group_began_with() -> None:
    optimizer = build_optimizer(tiny_model(), CONFIG)
    for rate in (0.5, 0.25, 1.0):
        set_rate(optimizer, rate)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
            [rate * group["initial_lr"] for group in optimizer.param_groups]
        )
    assert {group["initial_lr"] for group in optimizer.param_groups} == {1e-3, 1e-4}


def test_decay_shrinks_a_matrix_without_gradient_but_not_its_bias() -> None:
    linear = nn.Linear(2, 2)
    weight, bias = linear.weight.detach().clone(), linear.bias.detach().clone()
    optimizer = build_optimizer(linear, CONFIG)
    for parameter in linear.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(linear.weight.detach(), weight * (1 - 1e-3 * 0.01))
    assert torch.equal(linear.bias.detach(), bias)
