import pytest
import torch
from torch import nn

from edgewise.config import ModelConfig
from edgewise.model import DFine
from edgewise.model.backbone import ConvUnit
from edgewise.model.fused import fold_norms
from edgewise.model.layers import Affine, FrozenBatchNorm
from edgewise.structures import DenoisingQueries
from tests.model.conftest import scatter


def test_equals_the_training_form(tiny: DFine, generator: torch.Generator) -> None:
    tiny, images = tiny.double(), torch.rand(2, 3, 64, 96, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        expected, last, every = tiny(images), tiny.fused()(images), tiny.fused("all")(images)
    for out in (last, every):
        assert torch.equal(out.encoder.index, expected.encoder.index)
        torch.testing.assert_close(out.logits, expected.logits, rtol=0, atol=1e-10)
        torch.testing.assert_close(out.boxes, expected.boxes, rtol=0, atol=1e-10)
        assert out.initial.logits is None
    assert len(last.layers) == 1
    assert len(every.layers) == 3
    for ours, theirs in zip(every.layers, expected.layers, strict=True):
        torch.testing.assert_close(ours.edge_logits, theirs.edge_logits, rtol=0, atol=1e-10)
        torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=1e-10)


def test_nothing_of_training_is_left(tiny: DFine) -> None:
    fused = tiny.fused()
    kinds = (nn.BatchNorm2d, FrozenBatchNorm, Affine, nn.Embedding)
    assert not [part for part in fused.modules() if isinstance(part, kinds)]
    assert not [name for name, value in fused.named_parameters() if value.requires_grad]
    assert sum(p.numel() for p in fused.parameters()) < sum(p.numel() for p in tiny.parameters())


def test_the_original_stays(tiny: DFine) -> None:
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    tiny.train().fused()
    assert tiny.training
    assert all(torch.equal(value, before[key]) for key, value in tiny.state_dict().items())


def test_frozen_norms_fold_too(tiny_config: ModelConfig, generator: torch.Generator) -> None:
    config = tiny_config.updated({"backbone.freeze_norms": True, "backbone.affine": False})
    model = scatter(DFine(config), generator).eval()
    images = torch.rand(1, 3, 64, 64, generator=generator)
    assert not [part for part in model.fused().modules() if isinstance(part, FrozenBatchNorm)]
    torch.testing.assert_close(model.fused()(images).boxes, model(images).boxes, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("scale", "bias"), [(1.5, 0.3), (-0.7, 0.3), (0.0, -0.2), (0.5, -2.0)])
def test_any_affine_folds(
    tiny_config: ModelConfig, generator: torch.Generator, scale: float, bias: float
) -> None:
    net = nn.Sequential(ConvUnit(tiny_config.backbone, 3, 4, 3)).eval()
    with torch.no_grad():
        net[0].lab.scale.fill_(scale)
        net[0].lab.bias.fill_(bias)
    x = torch.randn(2, 3, 5, 5, generator=generator)
    expected = net(x)
    fold_norms(net)
    assert len(list(net.modules())) == 4  # sequence, sequence, convolution, clamp
    torch.testing.assert_close(net(x), expected)


def test_denoising_is_refused(tiny: DFine) -> None:
    queries = DenoisingQueries(torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2, 4), 1, 2)
    with pytest.raises(ValueError, match="denoising queries given to the inference form"):
        tiny.fused()(torch.rand(1, 3, 64, 64), queries)


def test_an_inference_form_is_not_fused_again(tiny: DFine) -> None:
    with pytest.raises(ValueError, match="inference form already"):
        tiny.fused().fused("all")
