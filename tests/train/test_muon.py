"""Orthogonal updates, by the singular values; what stays AdamW's; state that can be saved and goes on."""

import io

import pytest
import torch
from torch import Generator, nn
from torch.optim import AdamW

from edgewise.config import OptimizerConfig
from edgewise.train.muon import Muon, orthogonal
from edgewise.train.optimizer import build_optimizer, parameter_groups, set_rate
from tests.train.tiny import tiny_model

CONFIG = OptimizerConfig(kind="muon", lr=1e-2, backbone_lr=1e-2, weight_decay=0.1)


def fill(model: nn.Module, generator: Generator) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize(("rows", "columns"), [(8, 24), (24, 8), (40, 41)])
def test_singular_values_become_about_one(rows: int, columns: int, generator: Generator) -> None:
    matrices = torch.randn(3, rows, columns, generator=generator)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    values = (u.mT @ orthogonal(matrices) @ v.mT).diagonal(dim1=1, dim2=2)  # in the basis of the input
    assert ((values > 0.6) & (values < 1.3)).sum() >= 0.9 * values.numel()
    assert values.min() > -0.05
    assert values.max() < 1.3


def test_matrices_do_not_see_each_other_and_scale_does_not_matter(generator: Generator) -> None:
    matrices = torch.randn(2, 6, 9, generator=generator)
    alone = torch.cat([orthogonal(one[None]) for one in matrices])
    torch.testing.assert_close(orthogonal(matrices * 1024), alone, atol=0.02, rtol=0)


def test_zeros_stay() -> None:
    assert not orthogonal(torch.zeros(1, 3, 4)).any()


def test_which_parameters_move_so() -> None:
    model = tiny_model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kinds = {names[id(one)]: group for group in parameter_groups(model, CONFIG) for one in group["params"]}
    assert kinds.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    def matrices(name: str) -> int:
        return int(kinds[name]["matrices"])

    assert matrices("decoder.decoder.layers.0.linear1.weight") == 1
    assert matrices("backbone.stem.stem1.conv.weight") == 1
    assert matrices("decoder.decoder.layers.0.self_attn.in_proj_weight") == 3
    for name in (
        "decoder.denoising_class_embed.weight",
        "decoder.dec_score_head.0.weight",
        "decoder.dec_bbox_head.0.layers.0.weight",
        "decoder.decoder.lqe_layers.0.reg_conf.layers.0.weight",
        "decoder.query_pos_head.layers.0.weight",
        "decoder.decoder.layers.0.linear1.bias",
        "backbone.stem.stem1.bn.weight",
    ):
        assert matrices(name) == 0, name
    depthwise = [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim == 4 and parameter.shape[1] == 1
    ]
    assert depthwise
    assert not any(matrices(name) for name in depthwise)


@pytest.mark.parametrize("shape", [(8, 16), (8, 4, 3, 3)])
def test_one_step_by_hand(shape: tuple[int, ...], generator: Generator) -> None:
    parameter = nn.Parameter(torch.randn(shape, generator=generator))
    parameter.grad = torch.randn(shape, generator=generator)
    before, gradient = parameter.detach().clone(), parameter.grad.reshape(1, 8, -1)
    group = {"params": [parameter], "lr": 0.5, "weight_decay": 0.1, "matrices": 1}
    Muon([group]).step()
    blend = gradient.lerp(0.05 * gradient, 0.95)  # the average began with zeros
    moved = orthogonal(blend).reshape(shape) * 0.2 * gradient.shape[2] ** 0.5
    torch.testing.assert_close(parameter.detach(), before * 0.95 - 0.5 * moved)
    assert (moved.square().mean().sqrt() - 0.2).abs() < 0.04  # about AdamW's


def test_stacked_matrices_are_three(generator: Generator) -> None:
    threes = nn.Parameter(torch.zeros(12, 4))
    threes.grad = (
        torch.randn(12, 4, generator=generator) * torch.tensor([1e3, 1, 1e-3]).repeat_interleave(4)[:, None]
    )
    ones = [nn.Parameter(torch.zeros(4, 4)) for _ in range(3)]
    for one, gradient in zip(ones, threes.grad.split(4), strict=True):
        one.grad = gradient.clone()
    settings = {"lr": 1.0, "weight_decay": 0.0}
    Muon(
        [{"params": [threes], "matrices": 3, **settings}, {"params": ones, "matrices": 1, **settings}]
    ).step()
    torch.testing.assert_close(threes.detach(), torch.cat([one.detach() for one in ones]))


def test_the_rest_is_adamw(generator: Generator) -> None:
    ours, theirs = tiny_model(), tiny_model()
    muon = build_optimizer(ours, CONFIG)
    adamw = build_optimizer(theirs, CONFIG.model_copy(update={"kind": "adamw"}))
    assert type(adamw) is AdamW
    for _ in range(3):
        fill(ours, generator)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = one.grad
        muon.step()
        adamw.step()
    moved = {id(one) for group in muon.param_groups if group["matrices"] for one in group["params"]}
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other) == (id(one) not in moved), name


def test_without_gradient_nothing_moves() -> None:
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    build_optimizer(model, CONFIG).step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_saved_state_goes_on_to_the_bit(generator: Generator) -> None:
    """Through a file that executes nothing."""
    model, other = tiny_model(), tiny_model()
    optimizer = build_optimizer(model, CONFIG)
    fill(model, generator)
    optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(model.state_dict())
    resumed = build_optimizer(other, CONFIG)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    fill(model, generator)
    for one, twin in zip(model.parameters(), other.parameters(), strict=True):
        twin.grad = one.grad
    for each in (optimizer, resumed):
        set_rate(each, 0.5)
        each.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_a_quadratic_is_descended(generator: Generator) -> None:
    goal = torch.randn(6, 10, generator=generator)
    weight = nn.Parameter(torch.zeros(6, 10))
    muon = Muon([{"params": [weight], "lr": 0.1, "weight_decay": 0.0, "matrices": 1}])
    for _ in range(200):
        muon.zero_grad()
        (weight - goal).square().sum().backward()
        muon.step()
    assert (weight - goal).square().mean() < 0.01 * goal.square().mean()
