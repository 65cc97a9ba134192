from dataclasses import replace

import pytest
import torch
from torch import Tensor

from edgewise.distributions import edge_kl
from edgewise.model import DFine, anytime
from edgewise.model.anytime import change
from edgewise.structures import LayerOutput, ModelOutput


def batch(generator: torch.Generator, count: int = 3) -> Tensor:
    return torch.rand(count, 3, 64, 96, generator=generator)


def assert_equal(ours: LayerOutput, theirs: LayerOutput) -> None:
    for key in ("logits", "boxes", "edge_logits"):
        assert torch.equal(getattr(ours, key), getattr(theirs, key))


@pytest.fixture
def all_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model is sure of nothing; here every query has a say."""
    monkeypatch.setattr(anytime, "SURE", 0.0)


def changes(output: ModelOutput) -> Tensor:
    """[L-1, B]"""
    return torch.stack([change(a, b) for a, b in zip(output.layers[:-1], output.layers[1:], strict=True)])


# ── fewer layers and queries ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["training", "inference"])
@torch.inference_mode()
def test_a_cut_model_is_the_whole_one_so_far(tiny: DFine, generator: torch.Generator, form: str) -> None:
    model = tiny if form == "training" else tiny.fused("all")
    images = batch(generator)
    whole = model(images)
    for layers in (1, 2, 3):
        cut = model.at(layers=layers)
        assert cut.config.decoder.num_layers == layers
        output = cut(images)
        assert len(output.layers) == layers
        for ours, theirs in zip(output.layers, whole.layers, strict=False):
            assert_equal(ours, theirs)
        assert torch.equal(output.initial.boxes, whole.initial.boxes)
    assert tiny.config.decoder.num_layers == len(tiny.decoder.dec_bbox_head) == 3


@torch.inference_mode()
def test_fewer_queries_are_the_best_of_the_encoder(tiny: DFine, generator: torch.Generator) -> None:
    images = batch(generator)
    whole, few = tiny(images), tiny.at(queries=7)(images)
    assert few.logits.shape[1] == 7
    assert torch.equal(few.encoder.index, whole.encoder.index[:, :7])
    torch.testing.assert_close(few.encoder.boxes, whole.encoder.boxes[:, :7])


@torch.inference_mode()
def test_a_cut_model_loads_into_a_fresh_one_and_fuses(tiny: DFine, generator: torch.Generator) -> None:
    cut = tiny.at(layers=2, queries=5)
    images = batch(generator)
    again = DFine(cut.config).eval()
    again.load_state_dict(cut.state_dict())
    assert_equal(again(images).layers[-1], cut(images).layers[-1])
    torch.testing.assert_close(cut.fused()(images).boxes, cut(images).boxes, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"layers": 4}, "layers=4: this model has 3; expected 1 to 3"),
        ({"layers": 0}, "layers=0: this model has 3; expected 1 to 3"),
        ({"queries": 21}, "queries=21: this model has 20; expected 1 to 20"),
        ({"exit": -1.0}, "exit: Input should be greater than or equal to 0 \\(given -1.0\\)"),
    ],
)
def test_what_there_is_not_is_refused(tiny: DFine, asked: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        tiny.at(**asked)


def test_the_inference_form_of_the_last_layer_is_not_cut(tiny: DFine) -> None:
    with pytest.raises(ValueError, match="scores of its last layer alone; cut the model it came from"):
        tiny.fused().at(layers=2)


# ── how much a layer changed ───────────────────────────────────────────────────────────────────────


def test_divergence_by_hand(generator: torch.Generator) -> None:
    later, earlier = (torch.tensor(p).log().expand(4, 3) for p in ([0.5, 0.25, 0.25], [0.25, 0.25, 0.5]))
    expected = 0.5 * torch.tensor(2.0).log() + 0.25 * torch.tensor(0.5).log()
    torch.testing.assert_close(edge_kl(later, earlier), expected.expand(4))
    same = torch.randn(2, 4, 33, generator=generator)
    torch.testing.assert_close(
        edge_kl(same, same + 3), torch.zeros(2, 4), rtol=0, atol=1e-6
    )  # a shift is none


def test_only_sure_queries_count(generator: torch.Generator) -> None:
    edges = torch.randn(2, 3, 4, 33, generator=generator)
    before = LayerOutput(torch.full((2, 3, 5), -9.0), torch.zeros(2, 3, 4), edges)
    moved = edges.clone()
    moved[0, 1, 2, 0] += 4
    moved[0, 2, 3, 0] += 9  # more, but of a query that nobody will see
    after = replace(before, edge_logits=moved, logits=before.logits.clone())
    assert torch.equal(change(before, after), torch.zeros(2))
    after.logits[0, 1, 4] = 0.0
    found = change(before, after)
    assert found[0] == edge_kl(moved[0, 1], edges[0, 1])[2]
    assert found[1] == 0


# ── dynamic exit ───────────────────────────────────────────────────────────────────────────────────


@torch.inference_mode()
def test_the_limit_decides(tiny: DFine, generator: torch.Generator, all_sure: None) -> None:
    images = batch(generator, 1)
    whole = tiny(images)
    second = changes(whole)[0].item()
    assert second > 0
    for limit, layers in ((0.0, 3), (second / 2, 3), (second, 3), (second * 1.01, 2), (1e9, 2)):
        model = tiny.at(exit=limit)
        output = model(images)
        assert len(output.layers) == layers
        for ours, theirs in zip(output.layers, whole.layers, strict=False):
            assert_equal(ours, theirs)
    assert_equal(tiny.at(exit=1e9)(images).layers[-1], tiny.at(layers=2)(images).layers[-1])
    assert tiny.config.decoder.exit == 0


@torch.inference_mode()
def test_a_batch_goes_on_until_all_have_settled(
    tiny: DFine, generator: torch.Generator, all_sure: None
) -> None:
    images = batch(generator)
    low, *_, high = sorted(changes(tiny(images))[0].tolist())
    assert low < high
    between = tiny.at(exit=(low + high) / 2)
    assert len(between(images).layers) == 3
    assert sorted({len(between(one[None]).layers) for one in images}) == [2, 3]
    assert len(tiny.at(exit=high * 1.01)(images).layers) == 2


@torch.inference_mode()
def test_where_nothing_is_sure_there_is_nothing_to_wait_for(tiny: DFine, generator: torch.Generator) -> None:
    assert len(tiny.at(exit=1e-9)(batch(generator)).layers) == 2


def test_training_never_stops_early(tiny: DFine, generator: torch.Generator) -> None:
    model = tiny.at(exit=1e9).train()
    assert len(model(batch(generator)).layers) == 3


@torch.inference_mode()
def test_inference_forms(tiny: DFine, generator: torch.Generator) -> None:
    """That of every layer stops too; that of the last one runs them all."""
    model, images = tiny.at(exit=1e9), batch(generator)
    assert len(model.fused("all")(images).layers) == 2
    torch.testing.assert_close(model.fused()(images).boxes, tiny(images).boxes, rtol=0, atol=1e-5)
