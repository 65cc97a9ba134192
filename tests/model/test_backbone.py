import pytest
import torch

from edgewise.config import ModelConfig
from edgewise.model.backbone import Backbone, Stem
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
