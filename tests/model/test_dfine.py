import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from edgewise.config import ModelConfig
from edgewise.model import DFine
from edgewise.presets import preset
from edgewise.structures import DenoisingQueries, LayerOutput, ModelOutput
from tests.model.conftest import Recording

Recordings = Callable[[str, str], Recording]
Models = Callable[[str], DFine]


# ── against the recordings of the published code ───────────────────────────────────────────────────


@pytest.mark.parametrize("size", ["n", "l"])
def test_state_dict_is_the_published_one(shared: Path, size: str) -> None:
    published = json.loads((shared / "golden" / size / "model.json").read_text())["state_dict"]
    with torch.device("meta"):
        model = DFine(preset(size, 80))
    ours = model.state_dict()
    assert list(ours) == [entry["key"] for entry in published]
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for entry in published:
        key, dtype = entry["key"], entry["dtype"]
        assert list(ours[key].shape) == entry["shape"]
        if "reg_scale" not in key:  # theirs is an integer
            assert ours[key].dtype == getattr(torch, dtype)
        assert (key in parameters) == (entry["kind"] == "parameter")
        if "trainable" in entry:
            assert parameters[key].requires_grad == entry["trainable"]


def grid(maps: Tensor, steps: int = 4) -> Tensor:
    """A coarse sample of feature maps, as the recordings have it."""
    for axis in (1, 2, 3):
        n = maps.shape[axis]
        maps = maps.index_select(axis, torch.tensor([i * (n - 1) // (steps - 1) for i in range(steps)]))
    return maps


def aligned(output: ModelOutput, index: Tensor, values: Tensor) -> Tensor:
    """`values` [B, Q, …] of the queries that began at the cells `index` [B, Q], in that order."""
    order = (output.encoder.index[:, None] == index[:, :, None]).int().argmax(2)
    assert torch.equal(output.encoder.index.gather(1, order), index)
    return torch.stack([one[rows] for one, rows in zip(values, order, strict=True)])


def difference(output: ModelOutput, recorded: Recording, prefix: str = "") -> tuple[float, float]:
    """Greatest differences of logits and boxes."""
    index = recorded["enc_topk_index"]
    return tuple(
        (aligned(output, index, ours) - recorded[f"{prefix}{key}"]).abs().max().item()
        for key, ours in (("pred_logits", output.logits), ("pred_boxes", output.boxes))
    )


@pytest.mark.parametrize("size", ["n", "l"])
def test_evaluation_equals_the_recording(
    recorded_model: Models, recording: Recordings, recipe: ModuleType, size: str
) -> None:
    """Float32, feature maps included; twice the recorded difference of the published code's own runs."""
    model, recorded = recorded_model(size).eval(), recording(size, "eval")
    maps: dict[str, list[Tensor]] = {}
    for part in ("backbone", "encoder"):
        getattr(model, part).register_forward_hook(
            lambda _module, _inputs, out, part=part: maps.update({part: out})
        )
    with torch.inference_mode():
        output = model(torch.from_numpy(recipe.images(recorded.facts["input"], 2)))
    for part, levels in maps.items():
        for i, level in enumerate(levels):
            stats = recorded.facts["stats"][f"{part}.{i}"]
            torch.testing.assert_close(grid(level), recorded[f"{part}.{i}.grid"], rtol=1e-4, atol=2e-5)
            assert level.mean().item() == pytest.approx(stats["mean"], abs=1e-5)
            assert level.std(correction=0).item() == pytest.approx(stats["std"], abs=1e-5)
            assert level.min().item() == pytest.approx(stats["min"], abs=5e-5)
            assert level.max().item() == pytest.approx(stats["max"], abs=5e-5)
    logits, boxes = difference(output, recorded)
    noise = recorded.facts["noise"]
    assert logits <= 2 * max(noise["pred_logits"].values())
    assert boxes <= 2 * max(noise["pred_boxes"].values())


@pytest.mark.parametrize("size", ["n", pytest.param("l", marks=pytest.mark.slow)])
def test_evaluation_equals_the_recording_in_float64(
    recorded_model: Models, recording: Recordings, recipe: ModuleType, size: str
) -> None:
    """To the last digit of the recording, which is rounded to float32."""
    recorded = recording(size, "eval")
    images = torch.from_numpy(recipe.images(recorded.facts["input"], 2)).double()
    with torch.inference_mode():
        output = recorded_model(size).double().eval()(images)
    assert max(difference(output, recorded, "f64.")) <= 5e-7


def test_training_equals_the_recording_in_float64(
    recorded_model: Models, recording: Recordings, recipe: ModuleType
) -> None:
    """Batch statistics and denoising queries included."""
    recorded = recording("n", "train")
    groups = recorded.facts["dn_meta"]["dn_num_group"]
    queries = DenoisingQueries(
        recorded["dn.labels"],
        recorded["dn.bbox_unact"].double(),
        groups,
        recorded["dn.labels"].shape[1] // groups,
    )
    images = torch.from_numpy(recipe.images(recorded.facts["input"], 3)).double()
    with torch.no_grad():
        output = recorded_model("n").double().train()(images, queries)
    index = recorded["f64.enc_topk_index"]
    for key, ours in (
        ("pred_logits", output.logits),
        ("pred_boxes", output.boxes),
        ("ref_points", output.initial.boxes),
        ("enc.pred_boxes", output.encoder.boxes),
    ):
        ours, atol = aligned(output, index, ours).float(), 2e-5 if "logits" in key else 5e-7
        torch.testing.assert_close(ours, recorded[f"f64.{key}"], rtol=0, atol=atol)
    first = output.denoising.layers[0].boxes.float()
    torch.testing.assert_close(first, recorded["f64.dn.0.pred_boxes"], rtol=0, atol=5e-7)


@pytest.mark.parametrize("size", ["n", "l"])
def test_inference_form_equals_the_training_form(
    recorded_model: Models, recording: Recordings, recipe: ModuleType, size: str
) -> None:
    """Float32; twice the recorded difference of the published code's own runs."""
    recorded = recording(size, "eval")
    images = torch.from_numpy(recipe.images(recorded.facts["input"], 2)[:1])
    model = recorded_model(size).eval()
    with torch.inference_mode():
        expected, output = model(images), model.fused()(images)
    for key, ours, theirs in (
        ("pred_logits", output.logits, expected.logits),
        ("pred_boxes", output.boxes, expected.boxes),
    ):
        ours = aligned(output, expected.encoder.index, ours)
        atol = 2 * max(recorded.facts["noise"][key].values())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


# ── by itself ──────────────────────────────────────────────────────────────────────────────────────


def images(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape[0], 3, *shape[1:], generator=generator)


def denoising(generator: torch.Generator, batch: int) -> DenoisingQueries:
    """Two groups of four."""
    labels = torch.randint(0, 8, (batch, 8), generator=generator)
    return DenoisingQueries(labels, torch.randn(batch, 8, 4, generator=generator), 2, 4)


def assert_layers_close(ours: tuple[LayerOutput, ...], theirs: tuple[LayerOutput, ...]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        for key in ("logits", "boxes", "edge_logits"):
            torch.testing.assert_close(getattr(a, key), getattr(b, key), rtol=1e-4, atol=1e-5)


def test_shapes_of_everything(tiny: DFine, generator: torch.Generator) -> None:
    output = tiny.train()(images(generator, 2, 64, 96), denoising(generator, 2))
    assert len(output.layers) == 3
    for part, queries in ((output, 20), (output.denoising, 8)):
        assert part.initial.boxes.shape == (2, queries, 4)
        assert part.initial.logits.shape == (2, queries, 7)
        for layer in part.layers:
            assert layer.logits.shape == (2, queries, 7)
            assert layer.boxes.shape == (2, queries, 4)
            assert layer.edge_logits.shape == (2, queries, 4, 33)
    assert output.encoder.logits.shape == (2, 20, 7)
    assert output.encoder.boxes.shape == (2, 20, 4)
    best = output.encoder.logits.amax(2)
    assert (best[:, 1:] <= best[:, :-1]).all()  # best first


def test_one_image_equals_the_same_image_in_a_batch(tiny: DFine, generator: torch.Generator) -> None:
    batch = images(generator, 3, 64, 64)
    together = tiny(batch)
    for i in range(3):
        alone = tiny(batch[i : i + 1])
        assert torch.equal(alone.encoder.index[0], together.encoder.index[i])
        torch.testing.assert_close(alone.logits[0], together.logits[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.boxes[0], together.boxes[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "queries"), [(32, 32, 20), (96, 32, 20), (64, 160, 20)])
def test_any_multiple_of_32(tiny: DFine, height: int, width: int, queries: int) -> None:
    output = tiny(torch.zeros(1, 3, height, width))
    assert output.boxes.shape == (1, queries, 4)
    assert output.boxes.isfinite().all()


def test_a_small_image_has_as_many_queries_as_cells(tiny_config: ModelConfig) -> None:
    config = tiny_config.updated({"decoder.num_queries": 300})
    output = DFine(config).eval()(torch.zeros(1, 3, 32, 32))
    assert output.boxes.shape == (1, 4 * 4 + 2 * 2 + 1, 4)
    assert output.encoder.index.sort().values.tolist() == [list(range(21))]


def test_other_sizes_are_refused(tiny: DFine) -> None:
    with pytest.raises(ValueError, match=r"size 64x70 .*70 is not a positive multiple of 32; use 64 or 96"):
        tiny(torch.zeros(1, 3, 64, 70))


def test_denoising_queries_do_not_touch_the_others(tiny: DFine, generator: torch.Generator) -> None:
    batch = images(generator, 2, 64, 64)
    plain, noised = tiny(batch), tiny(batch, denoising(generator, 2))
    assert plain.denoising is None
    assert_layers_close(noised.layers, plain.layers)


def test_denoising_groups_do_not_touch_each_other(tiny: DFine, generator: torch.Generator) -> None:
    batch, queries = images(generator, 1, 64, 64), denoising(generator, 1)
    both = tiny(batch, queries).denoising
    second = DenoisingQueries(queries.labels[:, 4:], queries.references[:, 4:], 1, 4)
    alone = tiny(batch, second).denoising
    torch.testing.assert_close(both.boxes[:, 4:], alone.boxes, rtol=1e-4, atol=1e-5)


def test_samplers_give_the_same_boxes(tiny: DFine, generator: torch.Generator) -> None:
    other = DFine(tiny.config.updated({"decoder.sampler": "gather"})).eval()
    other.load_state_dict(tiny.state_dict())
    batch = images(generator, 1, 64, 96)
    assert_layers_close(other(batch).layers, tiny(batch).layers)


def test_fresh_layers_agree(tiny_config: ModelConfig, generator: torch.Generator) -> None:
    """All start as copies, and every edge distribution as the uniform one: boxes stay where they begin."""
    model = DFine(tiny_config)
    weights = [layer.state_dict() for layer in model.decoder.decoder.layers]
    assert all(torch.equal(other[key], weights[0][key]) for other in weights[1:] for key in other)
    output = model.eval()(images(generator, 1, 64, 64))
    for layer in output.layers:
        assert not layer.edge_logits.any()
        torch.testing.assert_close(layer.boxes, output.initial.boxes)
    for head in (model.decoder.enc_score_head, *model.decoder.dec_score_head):
        assert head.bias.sigmoid().allclose(torch.tensor(0.01))


def test_fresh_weights_follow_the_seed(tiny_config: ModelConfig) -> None:
    with torch.random.fork_rng():
        states = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            states.append(DFine(tiny_config).state_dict())
    first, again, other = states
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(
        first["encoder.input_proj.0.conv.weight"], other["encoder.input_proj.0.conv.weight"]
    )


def test_where_gradients_end(tiny: DFine, generator: torch.Generator) -> None:
    """The last layer's boxes train all corner heads, for edge logits add up, but no box they began from."""
    tiny.train()(images(generator, 2, 64, 64)).boxes.sum().backward()
    with_gradient = {name for name, value in tiny.named_parameters() if value.grad is not None}
    for head in ("dec_bbox_head.0", "dec_bbox_head.2", "query_pos_head"):
        assert any(f"decoder.{head}" in name for name in with_gradient)
    for head in ("pre_bbox_head", "enc_bbox_head", "enc_output", "enc_score_head", "dec_score_head"):
        assert not any(f"decoder.{head}" in name for name in with_gradient)


def test_every_parameter_learns(tiny: DFine, generator: torch.Generator) -> None:
    output = tiny.train()(images(generator, 2, 64, 64), denoising(generator, 2))
    total = output.encoder.boxes.sum() + output.encoder.logits.sum()
    for part in (output, output.denoising):
        total = total + part.initial.boxes.sum() + part.initial.logits.sum()
        total = total + sum(layer.logits.sum() + layer.boxes.sum() for layer in part.layers)
    total.backward()
    idle = [name for name, value in tiny.named_parameters() if value.grad is None]
    assert idle == ["decoder.up", "decoder.reg_scale"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(tiny: DFine, generator: torch.Generator, dtype: torch.dtype) -> None:
    batch = images(generator, 1, 64, 64)
    expected, output = tiny(batch), tiny.to(dtype)(batch.to(dtype))
    precise = torch.float64 if dtype == torch.float64 else torch.float32
    for layer in output.layers:
        assert {layer.logits.dtype, layer.boxes.dtype, layer.edge_logits.dtype} == {precise}
    tolerance = 0.1 if dtype == torch.bfloat16 else 1e-3
    assert (output.boxes.mean(1) - expected.boxes.mean(1)).abs().max() < tolerance


def test_autocast_keeps_boxes_precise(tiny: DFine, generator: torch.Generator) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = tiny(images(generator, 1, 64, 64), denoising(generator, 1))
    layer = output.layers[-1]
    assert {layer.logits.dtype, layer.boxes.dtype, layer.edge_logits.dtype} == {torch.float32}
    assert not torch.equal(layer.boxes, layer.boxes.bfloat16().float())


def test_constants_made_in_inference_can_train(tiny: DFine, generator: torch.Generator) -> None:
    batch = images(generator, 2, 32, 224)  # a shape of its own
    with torch.inference_mode():
        tiny(batch)
    tiny.train()(batch).boxes.sum().backward()


# ── loading ────────────────────────────────────────────────────────────────────────────────────────


def test_weights_of_another_image_size_load(tiny: DFine, generator: torch.Generator) -> None:
    other = DFine(tiny.config.updated({"size": (96, 64)})).eval()
    own = other.decoder.anchors.clone()
    other.load_state_dict(tiny.state_dict())
    assert torch.equal(other.decoder.anchors, own)
    batch = images(generator, 1, 64, 64)
    assert_layers_close(other(batch).layers, tiny(batch).layers)


def test_published_forms_load(tiny: DFine) -> None:
    """The integer scale of the published files, and files without what follows from the settings."""
    state = tiny.state_dict()
    state["decoder.reg_scale"] = torch.tensor([4])
    state["decoder.decoder.reg_scale"] = torch.tensor([4])
    assert DFine(tiny.config).load_state_dict(state).missing_keys == []
    for key in ("up", "reg_scale", "decoder.up", "decoder.reg_scale", "anchors", "valid_mask"):
        del state[f"decoder.{key}"]
    model = DFine(tiny.config)
    assert model.load_state_dict(state).missing_keys == []
    assert model.decoder.reg_scale.dtype == torch.float32


def test_weights_of_other_bins_are_refused(tiny: DFine) -> None:
    with pytest.raises(RuntimeError, match=r"decoder.reg_scale is 8, but the settings say 1 / c = 4"):
        tiny.load_state_dict(tiny.state_dict() | {"decoder.reg_scale": torch.tensor([8])})
