"""`transformers.DFineForObjectDetection` is the oracle, in both directions."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgewise import classes
from edgewise.checkpoint import Checkpoint, build, load, save_transformers
from edgewise.checkpoint.transformers import published_names, their_names
from edgewise.model import DFine
from edgewise.presets import preset


@pytest.fixture(scope="module")
def oracle() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformers").DFineForObjectDetection


def from_recipe(size: str, recipe: ModuleType) -> Checkpoint:
    """The golden weights: large enough that a wrong name or order cannot hide."""
    model = DFine(preset(size, 80))
    filled = {key: recipe.fill(key, tensor.shape) for key, tensor in model.state_dict().items()}
    weights = {
        k: t if filled[k] is None else torch.from_numpy(filled[k]) for k, t in model.state_dict().items()
    }
    return Checkpoint(model.config, weights, classes.COCO, classes.COCO_IDS)


def assert_equal_outputs(ours: DFine, theirs: Any, images: np.ndarray) -> None:
    """In float64, where no rounding exchanges two queries."""
    batch = torch.from_numpy(images).double()
    with torch.inference_mode():
        found, expected = ours.double()(batch), theirs.double().eval()(batch)
    assert expected.pred_boxes.std() > 0.1
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.boxes, expected.pred_boxes, rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", ["n", "s", *(pytest.param(size, marks=pytest.mark.slow) for size in "mlx")])
def test_both_directions_give_equal_outputs(size: str, oracle: Any, recipe: ModuleType, tmp_path: Path):
    ours = from_recipe(size, recipe)
    save_transformers(ours, tmp_path / "ours")
    theirs, report = oracle.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    images = recipe.images("edge", 2, 256, 256)
    assert_equal_outputs(build(ours), theirs, images)

    theirs.float().save_pretrained(tmp_path / "theirs")
    loaded = load(tmp_path / "theirs")
    assert loaded.config == ours.config
    assert loaded.class_names == classes.COCO
    assert loaded.category_ids == classes.COCO_IDS
    assert_same(loaded, ours)
    assert_equal_outputs(build(loaded), theirs, images)


def assert_same(found: Checkpoint, expected: Checkpoint) -> None:
    counters = {key for key in expected.weights if key.endswith("num_batches_tracked")}
    assert found.weights.keys() | counters == expected.weights.keys()
    for key in found.weights.keys() - counters:
        assert torch.equal(found.weights[key], expected.weights[key]), key


# ── names ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("backbone.stem.stem2a.bn.weight", "model.backbone.model.embedder.stem2a.normalization.weight"),
        (
            "backbone.stages.2.blocks.0.layers.1.conv2.conv.weight",
            "model.backbone.model.encoder.stages.2.blocks.0.layers.1.conv2.convolution.weight",
        ),
        ("encoder.input_proj.1.norm.bias", "model.encoder_input_proj.1.1.bias"),
        ("decoder.input_proj.0.conv.weight", "model.decoder_input_proj.0.0.weight"),
        (
            "encoder.pan_blocks.0.cv2.0.conv1.conv.weight",
            "model.encoder.pan_blocks.0.csp_rep1.conv1.conv.weight",
        ),
        ("encoder.fpn_blocks.1.cv3.1.norm.bias", "model.encoder.fpn_blocks.1.conv3.norm.bias"),
        ("encoder.downsample_convs.0.0.cv2.norm.bias", "model.encoder.downsample_convs.0.conv2.norm.bias"),
        ("encoder.encoder.0.layers.0.norm2.bias", "model.encoder.encoder.0.layers.0.final_layer_norm.bias"),
        ("decoder.decoder.layers.2.norm1.bias", "model.decoder.layers.2.self_attn_layer_norm.bias"),
        ("decoder.decoder.layers.2.linear2.bias", "model.decoder.layers.2.fc2.bias"),
        ("decoder.reg_scale", "model.decoder.reg_scale"),
        ("decoder.enc_output.norm.bias", "model.enc_output.1.bias"),
        ("decoder.dec_bbox_head.1.layers.2.bias", "model.decoder.bbox_embed.1.layers.2.bias"),
        ("decoder.denoising_class_embed.weight", "model.denoising_class_embed.weight"),
    ],
)
def test_their_names(ours: str, theirs: str):
    assert their_names(ours) == (theirs,)


def test_a_joint_projection_is_split_in_three():
    prefix = "model.decoder.layers.0.self_attn."
    names = their_names("decoder.decoder.layers.0.self_attn.in_proj_bias")
    assert names == (f"{prefix}q_proj.bias", f"{prefix}k_proj.bias", f"{prefix}v_proj.bias")


@pytest.mark.parametrize("size", ["n", "x"])  # x has all there is
def test_no_two_tensors_share_a_name(size: str):
    keys = [key for key in DFine(preset(size, 1)).state_dict() if not key.startswith("decoder.decoder.")]
    names = [name for key in keys for name in their_names(key)]
    assert len(set(names)) == len(names)


def version_5(name: str) -> str:
    """The name that a module of version 5 has in memory."""
    name = name.replace("model.encoder.encoder.", "model.encoder.aifi.").replace("out_proj", "o_proj")
    name = name.replace(".fc1.", ".mlp.layers.0.").replace(".fc2.", ".mlp.layers.1.")
    return name.replace("model.decoder.class_embed.", "class_embed.")


def test_names_of_version_4_and_5_and_both_copies_of_the_heads_load(saved: Checkpoint, tmp_path: Path):
    save_transformers(saved, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    renamed: dict[str, Tensor] = {version_5(name): tensor for name, tensor in weights.items()}
    assert renamed.keys() != weights.keys()
    heads = {
        f"model.decoder.{name}": t.clone() for name, t in renamed.items() if name.startswith("class_embed")
    }
    for variant in (renamed, renamed | heads):
        save_file(variant, tmp_path / "model.safetensors")
        assert_same(load(tmp_path), saved)


def test_frozen_norms_of_theirs_have_no_counters(saved: Checkpoint, tmp_path: Path):
    save_transformers(saved, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    counters = {name for name in weights if "backbone" in name and name.endswith("num_batches_tracked")}
    save_file(
        {name: t for name, t in weights.items() if name not in counters}, tmp_path / "model.safetensors"
    )
    assert_same(load(tmp_path), saved)


def test_unknown_names_are_kept_for_the_report():
    tensor = torch.zeros(1)
    found = published_names({"model.denoising_class_embed.weight": tensor, "x": tensor}, ["decoder.up"])
    assert set(found) == {"model.denoising_class_embed.weight", "x"}


# ── the folder ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(saved: Checkpoint, tmp_path: Path) -> Path:
    save_transformers(replace(saved, category_ids=None), tmp_path)
    return tmp_path


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_there_and_back(folder: Path, saved: Checkpoint):
    for loaded in (load(folder), load(str(folder / "model.safetensors"))):
        assert loaded.config == saved.config  # the image size too
        assert loaded.class_names == saved.class_names
        assert_same(loaded, saved)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip


def test_settings_outside_the_tensors_are_read(folder: Path):
    edit(folder / "config.json", num_queries=100, encoder_attention_heads=4)
    config = load(folder).config
    assert (config.decoder.num_queries, config.encoder.num_heads) == (100, 4)


def test_placeholder_names_are_no_names(folder: Path):
    edit(folder / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})
    with pytest.warns(UserWarning, match="does not name its 3 classes"):
        assert load(folder).class_names == ("class_0", "class_1", "class_2")


def test_without_a_preprocessor_file_images_are_640(folder: Path):
    (folder / "preprocessor_config.json").unlink()
    assert load(folder).config.size == (640, 640)


def test_weights_without_their_config_say_so(folder: Path):
    (folder / "config.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"config.json: not there; weights in the transformers layout need"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("file", "changes", "text"),
    [
        ("config.json", {"eval_idx": 1}, r"config.json: eval_idx is 1; this package computes with -1 only"),
        ("config.json", {"model_type": "rt_detr"}, r"config.json: model_type is 'rt_detr'"),
        ("config.json", {"num_queries": 0}, r"num_queries"),
        ("config.json", {"id2label": {"0": "cat"}}, r"classes has 1 names, but the weights have 3 rows"),
        (
            "preprocessor_config.json",
            {"do_normalize": True},
            r"preprocessor_config.json: do_normalize is True",
        ),
        (
            "preprocessor_config.json",
            {"size": {"height": 600, "width": 640}},
            r"600 is not a positive multiple",
        ),
        (
            "preprocessor_config.json",
            {"size": {"height": "640"}},
            r"preprocessor_config.json: size is .* expected integers",
        ),
    ],
)
def test_what_we_compute_otherwise_is_refused(folder: Path, file: str, changes: dict[str, object], text: str):
    edit(folder / file, **changes)
    with pytest.raises(ValueError, match=rf"model.safetensors: (.|\n)*{text}"):
        load(folder)


def test_a_config_that_is_not_json_says_so(folder: Path):
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: not a JSON object .* download the folder again"):
        load(folder)
