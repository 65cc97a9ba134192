import pytest
import torch
from torch import Tensor, nn

from edgewise.config import DecoderConfig
from edgewise.model.attention import (
    DeformableAttention,
    SelfAttention,
    attend,
    sample_gather,
    sample_grid,
)


def test_self_attention_equals_torch(generator: torch.Generator) -> None:
    ours, reference = SelfAttention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    reference.load_state_dict(ours.state_dict())
    x, position = torch.randn(2, 2, 5, 12, generator=generator)
    blocked = torch.zeros(5, 5, dtype=torch.bool)
    blocked[:3, 3:] = True
    for mask in (None, blocked):
        expected, _ = reference(x + position, x + position, x, attn_mask=mask)
        torch.testing.assert_close(ours(x, position, mask), expected)


def test_blocked_queries_are_not_seen(generator: torch.Generator) -> None:
    attention, blocked = SelfAttention(8, 2), torch.zeros(4, 4, dtype=torch.bool)
    blocked[0, 3] = True
    x = torch.randn(1, 4, 8, generator=generator)
    moved = x.clone()
    moved[:, 3] += 1
    before, after = (attention(y, torch.zeros(1, 4, 8), blocked) for y in (x, moved))
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1], after[:, 1])


@pytest.mark.parametrize("some_blocked", [True, False])
def test_attention_in_bfloat16_has_the_values_and_gradients_of_float64(
    some_blocked: bool, generator: torch.Generator
) -> None:
    inputs = [torch.randn(2, 3, 20, 8, generator=generator).bfloat16().requires_grad_() for _ in range(3)]
    exact = [one.detach().double().requires_grad_() for one in inputs]
    blocked = torch.zeros(20, 20, dtype=torch.bool)
    blocked[:5, 5:] = blocked[5:9, :5] = True
    found, expected = (attend(*given, blocked if some_blocked else None) for given in (inputs, exact))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, atol=0.02, rtol=0.02)
    weights = torch.randn(found.shape, generator=generator).bfloat16()
    pulled = torch.autograd.grad(found, inputs, weights)
    for own, true in zip(pulled, torch.autograd.grad(expected, exact, weights.double()), strict=True):
        assert (own.double() - true).square().mean().sqrt() < 0.01 * true.square().mean().sqrt()


def sampling(generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Values of a 5x7 and a 3x4 map, and points of which some lie outside."""
    values = torch.randn(4, 47, 3, generator=generator, dtype=dtype)
    locations = torch.rand(4, 6, 5, 2, generator=generator, dtype=dtype) * 1.6 - 0.3
    return values, locations, torch.rand(4, 6, 5, generator=generator, dtype=dtype)


def test_samplers_are_equal(generator: torch.Generator) -> None:
    values, locations, weights = sampling(generator, torch.float32)
    grid, gather = (
        sample(values, ((5, 7), (3, 4)), (3, 2), locations, weights)
        for sample in (sample_grid, sample_gather)
    )
    torch.testing.assert_close(gather, grid, rtol=1e-5, atol=1e-5)


def test_samplers_have_equal_gradients(generator: torch.Generator) -> None:
    inputs = [x.requires_grad_() for x in sampling(generator, torch.float64)]
    values, locations, weights = inputs
    grid, gather = (
        torch.autograd.grad(
            sample(values, ((5, 7), (3, 4)), (3, 2), locations, weights).square().sum(), inputs
        )
        for sample in (sample_grid, sample_gather)
    )
    torch.testing.assert_close(gather, grid)


@pytest.mark.parametrize("sample", [sample_grid, sample_gather])
def test_a_cell_is_read_at_its_centre(sample: type) -> None:
    """Cell (y, x) = (1, 2) of a 3x4 map has its centre at ((2 + 0.5) / 4, (1 + 0.5) / 3)."""
    values = torch.arange(12.0).reshape(1, 12, 1)
    location = torch.tensor([2.5 / 4, 1.5 / 3]).reshape(1, 1, 1, 2)
    between = torch.tensor([3.0 / 4, 1.5 / 3]).reshape(1, 1, 1, 2)
    one = torch.ones(1, 1, 1)
    assert sample(values, ((3, 4),), (1,), location, one).item() == pytest.approx(6.0)
    assert sample(values, ((3, 4),), (1,), between, one).item() == pytest.approx(6.5)


@pytest.mark.parametrize("sampler", ["gather", "grid_sample"])
def test_deformable_attention_equals_the_recording(functions: dict[str, Tensor], sampler: str) -> None:
    config = DecoderConfig(dim=16, num_heads=2, num_points=(3, 2), sampler=sampler)
    attention = DeformableAttention(config)
    prefix = "attention/state/"
    state = {key.removeprefix(prefix): value for key, value in functions.items() if key.startswith(prefix)}
    attention.load_state_dict(attention.state_dict() | state)
    values = functions["attention/memory"].unflatten(2, (2, 8)).transpose(1, 2).flatten(0, 1)
    out = attention(
        functions["attention/query"], functions["attention/ref"][:, :, 0], values, ((5, 7), (3, 4))
    )
    torch.testing.assert_close(out, functions["attention/out"], rtol=1e-6, atol=1e-6)


def test_points_begin_as_rays_around_the_box() -> None:
    attention = DeformableAttention(DecoderConfig(dim=16, num_heads=8, num_points=(3, 1)))
    rays = attention.sampling_offsets.bias.view(8, 4, 2)
    torch.testing.assert_close(rays[0], torch.tensor([[1.0, 0], [2, 0], [3, 0], [1, 0]]))
    torch.testing.assert_close(rays[1, 1], torch.tensor([2.0, 2]))  # 45 degrees, downwards: y grows
    for zero in (attention.sampling_offsets.weight, *attention.attention_weights.parameters()):
        assert not zero.any()
