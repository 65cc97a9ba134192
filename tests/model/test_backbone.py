import pytest
import torch

from edgewise.config import ModelConfig
from edgewise.model.backbone import Backbone, ConvUnit, Stem
from edgewise.model.layers import Affine, FrozenBatchNorm
from edgewise.presets import preset


def test_maps_are_those_asked_for(tiny_config: ModelConfig) -> None:
    maps = Backbone(tiny_config.backbone)(torch.rand(2, 3, 64, 96))
    assert [x.shape for x in maps] == [(2, 16, 8, 12), (2, 16, 4, 6), (2, 16, 2, 3)]
    last = Backbone(tiny_config.updated({"backbone.returned": (3,), "decoder.num_points": (4,)}).backbone)
    assert [x.shape for x in last(torch.rand(2, 3, 64, 96))] == [(2, 16, 2, 3)]


@pytest.mark.parametrize("size", ["n", "m", "l"])
def test_frozen_only_where_the_settings_say(size: str) -> None:
    config = preset(size, 80).backbone
    with torch.device("meta"):
        backbone = Backbone(config)
    frozen = {name for name, value in backbone.named_parameters() if not value.requires_grad}
    expected = {f"stem.{name}" for name, _ in backbone.stem.named_parameters()} if size == "l" else set()
    assert frozen == expected
    assert any(isinstance(part, FrozenBatchNorm) for part in backbone.modules()) == (size == "l")
    assert any(isinstance(part, Affine) for part in backbone.modules()) == (size != "l")


def test_the_stem_quarters_the_size(tiny_config: ModelConfig, generator: torch.Generator) -> None:
    stem = Stem(tiny_config.backbone).eval()
    assert stem(torch.rand(1, 3, 32, 64, generator=generator)).shape == (1, 8, 8, 16)


def unit(config: ModelConfig, scale: float, frozen: bool) -> ConvUnit:
    """A unit whose every weight matters, in float64."""
    torch.manual_seed(5)
    unit = ConvUnit(config.backbone.model_copy(update={"freeze_norms": frozen, "affine": True}), 3, 6, 3)
    assert isinstance(unit.lab, Affine)
    with torch.no_grad():
        unit.bn.weight.uniform_(0.5, 1.5)
        unit.bn.bias.normal_()
        unit.lab.scale.fill_(scale)
        unit.lab.bias.fill_(-0.7)
    return unit.double().train()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("scale", [1.7, 0.0, -0.6])
def test_a_training_unit_computes_what_its_parts_do(
    tiny_config: ModelConfig, generator: torch.Generator, scale: float, frozen: bool
) -> None:
    joined, plain = unit(tiny_config, scale, frozen), unit(tiny_config, scale, frozen)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=generator)
    weight = torch.randn(2, 6, 8, 8, dtype=torch.float64, generator=generator)
    ours, theirs = joined(x), plain.lab(plain.act(plain.bn(plain.conv(x))))
    torch.testing.assert_close(ours, theirs)
    for one in (ours, theirs):
        (one * weight).sum().backward()
    for (name, a), (_, b) in zip(joined.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), (_, b) in zip(joined.named_buffers(), plain.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_a_training_unit_keeps_half_precision(tiny_config: ModelConfig, generator: torch.Generator) -> None:
    x = torch.randn(2, 3, 8, 8, generator=generator)
    for training in (True, False):
        half = unit(tiny_config, 1.7, frozen=False).float().train(training)
        exact = unit(tiny_config, 1.7, frozen=False).float().train(training)(x)
        with torch.autocast("cpu", torch.bfloat16):
            out = half(x)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.float(), exact, rtol=0.02, atol=0.03)
        out.sum().backward()
        gradients = [parameter.grad for parameter in half.parameters()]
        assert all(one is not None and one.dtype == torch.float32 for one in gradients)
