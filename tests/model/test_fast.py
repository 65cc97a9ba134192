"""The inference form as a CPU, or a GPU, computes it fastest."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgewise.model import DFine
from edgewise.model.attention import sample_bags, sample_grid
from edgewise.model.fast import (
    FastConvolution,
    FastForm,
    FastLinear,
    GpuForm,
    OwnLinear,
    greatest_of_four,
)
from edgewise.model.fused import Clamp


@pytest.mark.parametrize("exit", [0.0, 0.5])
@pytest.mark.parametrize("form", [FastForm, GpuForm])
def test_float32_says_what_the_model_says(
    form: type[FastForm | GpuForm],
    recorded_model: Callable[[str], DFine],
    generator: torch.Generator,
    exit: float,
) -> None:
    model = recorded_model("n").eval().at(exit=exit)
    pixels = torch.randint(256, (2, 96, 128, 3), generator=generator, dtype=torch.uint8)
    with torch.inference_mode():
        expected = model(pixels.permute(0, 3, 1, 2) / 255)
    found = form(model)(pixels)
    assert torch.equal(found.encoder.index, expected.encoder.index)
    for name in ("logits", "boxes", "edge_logits"):
        one, other = (getattr(output.layers[-1], name) for output in (found, expected))
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.initial.boxes, expected.initial.boxes, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "dtype"), [(FastForm, torch.bfloat16), (GpuForm, torch.bfloat16), (GpuForm, torch.float16)]
)
def test_16_bits_leave_scores_and_boxes_in_float32(
    kind: type[FastForm | GpuForm],
    dtype: torch.dtype,
    recorded_model: Callable[[str], DFine],
    generator: torch.Generator,
) -> None:
    model = recorded_model("n").eval()
    form = kind(model, dtype)
    pixels = torch.randint(256, (1, 96, 128, 3), generator=generator, dtype=torch.uint8)
    found = form(pixels)
    last = found.layers[-1]
    assert {one.dtype for one in (last.logits, last.boxes, last.edge_logits, found.initial.boxes)} == {
        torch.float32
    }
    kinds = {name: one.dtype for name, one in form.model.named_parameters()}
    assert next(form.model.backbone.stem.stem1.parameters()).dtype == dtype
    assert kinds["decoder.enc_score_head.weight"] == torch.float32
    assert kinds["decoder.decoder.layers.0.linear1.weight"] == dtype
    assert torch.equal(
        form.model.decoder.decoder.layers[0].cross_attn.num_points_scale,
        model.decoder.decoder.layers[0].cross_attn.num_points_scale,
    )
    whole = kind(model)(pixels).layers[-1]
    near = (last.logits.amax(-1).sort().values - whole.logits.amax(-1).sort().values).abs()
    assert 0 < near.max() < 0.2 * whole.logits.std() + 0.2


def test_the_greatest_of_four(generator: torch.Generator) -> None:
    x = torch.randn(2, 3, 7, 5, generator=generator)
    assert torch.equal(greatest_of_four(x), F.max_pool2d(x, 2, stride=1))


@pytest.mark.parametrize(
    "act", [nn.Identity(), nn.ReLU(), nn.SiLU(), Clamp(0.1, None), Clamp(None, 0.1)], ids=repr
)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 1), (5, 1, 8)])
def test_a_convolution_with_its_activation(
    act: nn.Module, shape: tuple[int, int, int], generator: torch.Generator
) -> None:
    kernel, stride, groups = shape
    conv = nn.Conv2d(8, 16, kernel, stride, kernel // 2, groups=groups)
    x = torch.randn(2, 8, 9, 6, generator=generator).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(FastConvolution(conv, act)(x), act(conv(x)), atol=1e-5, rtol=1e-5)


def test_an_activation_that_is_not_there() -> None:
    with pytest.raises(TypeError, match="Softsign: not an activation of a convolution here"):
        FastConvolution(nn.Conv2d(1, 1, 1), nn.Softsign())


@pytest.mark.parametrize("kind", [FastLinear, OwnLinear])
def test_a_linear_layer_keeps_its_precision(kind: type[OwnLinear], generator: torch.Generator) -> None:
    linear, x = nn.Linear(6, 4), torch.randn(2, 3, 6, generator=generator)
    with torch.inference_mode():
        torch.testing.assert_close(kind(linear)(x), linear(x))
        assert kind(linear)(x.bfloat16()).dtype == torch.float32


@given(st.integers(0, 2**31), st.sampled_from([(1, 1), (2, 5), (7, 3)]), st.integers(1, 3))
def test_bags_read_what_the_grid_reads(seed: int, size: tuple[int, int], points: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes, num_points = (size, (3, 4)), (points, 2)
    tokens = sum(height * width for height, width in sizes)
    values = torch.randn(4, tokens, 5, generator=generator)
    locations = torch.rand(4, 6, points + 2, 2, generator=generator) * 2 - 0.5  # beyond the borders too
    weights = torch.rand(4, 6, points + 2, generator=generator)
    given = (values, sizes, num_points, locations, weights)
    torch.testing.assert_close(sample_bags(*given), sample_grid(*given), atol=1e-5, rtol=1e-4)
