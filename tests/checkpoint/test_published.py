import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edgewise import classes
from edgewise.checkpoint import build, load, load_backbone
from edgewise.checkpoint.contents import check_fit
from edgewise.checkpoint.published import config_of, points_of
from edgewise.model import DFine
from edgewise.presets import SIZES, preset
from tests.checkpoint.conftest import drawn

State = dict[str, Tensor]


@pytest.fixture
def state(model: DFine) -> State:
    """As the authors store it: `reg_scale` in int64, twice, and the anchors of their image size."""
    state = dict(model.state_dict())
    scale = torch.tensor([4])
    return state | {"decoder.reg_scale": scale, "decoder.decoder.reg_scale": scale}


def equal(loaded: State, state: State) -> bool:
    return all(torch.equal(tensor, state[key]) for key, tensor in loaded.items())


@pytest.mark.parametrize("layout", ["model", "ema", "flat", "DDP"])
def test_every_layout_of_a_pth_file_loads(state: State, tmp_path: Path, layout: str):
    stale = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    files: dict[str, Any] = {
        "model": {"model": state},
        "ema": {"ema": {"module": state, "updates": 9}, "model": stale, "last_epoch": 3, "optimizer": {}},
        "flat": state,
        "DDP": {"model": {f"module.{key}": tensor for key, tensor in state.items()}},
    }
    torch.save(files[layout], tmp_path / "a.pth")
    loaded = load(tmp_path / "a.pth", classes=["cat", "dog", "bird"])
    assert equal(dict(loaded.weights), state)
    assert loaded.config == preset("n", 3)
    assert loaded.category_ids is None
    build(loaded)


def test_a_safetensors_file_of_published_names_loads(state: State, tmp_path: Path):
    save_file({key: tensor.clone() for key, tensor in state.items()}, tmp_path / "a.safetensors")
    assert equal(dict(load(tmp_path / "a.safetensors", classes=["cat", "dog", "bird"]).weights), state)


@pytest.mark.parametrize("size", SIZES)
def test_the_size_is_found_from_the_shapes(size: str):
    config = config_of(DFine(preset(size, 2)).state_dict())
    assert config == preset(size, 2)
    assert config.backbone.freeze_norms == (size in "lx")
    assert config.decoder.c == (0.125 if size == "x" else 0.25)


def test_the_stored_constants_decide(state: State, tmp_path: Path):
    key = "decoder.decoder.layers.{}.cross_attn.num_points_scale"
    state |= {key.format(i): torch.tensor([1 / 4] * 4 + [1 / 8] * 8) for i in range(3)}
    state |= {"decoder.reg_scale": torch.tensor([8]), "decoder.up": torch.tensor([0.25])}
    torch.save(state, tmp_path / "a.pth")
    decoder = load(tmp_path / "a.pth", classes=["cat", "dog", "bird"]).config.decoder
    assert (decoder.c, decoder.a, decoder.num_points) == (0.125, 0.25, (4, 8))


def test_points_of():
    assert points_of(torch.tensor([1 / 3] * 3 + [1 / 6] * 6 + [1 / 3] * 3)) == (3, 6, 3)


def test_the_anchors_of_another_image_size_do_not_matter(state: State, tmp_path: Path):
    state["decoder.anchors"], state["decoder.valid_mask"] = torch.zeros(1, 5, 4), torch.ones(1, 5, 1).bool()
    torch.save(state, tmp_path / "a.pth")
    built = build(load(tmp_path / "a.pth", classes=["cat", "dog", "bird"]))
    assert built.state_dict()["decoder.anchors"].shape == (1, 2000, 4)


@pytest.mark.parametrize(("rows", "names"), [(80, classes.COCO), (366, classes.OBJECTS365)])
def test_80_and_366_rows_have_their_names(tmp_path: Path, rows: int, names: tuple[str, ...]):
    torch.save(DFine(preset("n", rows)).state_dict(), tmp_path / "a.pth")
    loaded = load(tmp_path / "a.pth")
    assert loaded.class_names == names
    assert loaded.category_ids == classes.category_ids(names)


def test_other_rows_are_numbered_with_a_warning(state: State, tmp_path: Path):
    torch.save(state, tmp_path / "a.pth")
    with pytest.warns(UserWarning, match=r"a.pth: the file does not name its 3 classes; .* give classes="):
        assert load(tmp_path / "a.pth").class_names == ("class_0", "class_1", "class_2")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["cat", "dog"], "classes has 2 names, but the weights have 3 rows"),
        (["cat", "dog", "dog"], "class name 'dog' stands twice, in rows 1 and 2"),
    ],
)
def test_wrong_classes_say_so(state: State, tmp_path: Path, names: list[str], text: str):
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=f"a.pth: {text}"):
        load(tmp_path / "a.pth", classes=names)


@pytest.mark.parametrize("size", ["n", "l"])
def test_the_golden_key_lists_are_recognised(shared: Path, size: str):
    golden = json.loads((shared / "golden" / size / "model.json").read_text())["state_dict"]
    constants = {"up": torch.tensor([0.5]), "reg_scale": torch.tensor([4])}
    constants["num_points_scale"] = torch.tensor(
        [1 / 6] * 12 if size == "n" else [1 / 3] * 3 + [1 / 6] * 6 + [1 / 3] * 3
    )
    state = {
        entry["key"]: constants.get(
            entry["key"].rpartition(".")[2], torch.empty(entry["shape"], device="meta")
        )
        for entry in golden
    }
    assert config_of(state) == preset(size, 80)
    check_fit(DFine(preset(size, 80)).state_dict(), state)


# ── what cannot be loaded ──────────────────────────────────────────────────────────────────────────


class Code:
    """Unpickled without care, this makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_a_file_with_code_is_refused_and_the_code_not_run(state: State, tmp_path: Path):
    torch.save({"model": state, "extra": Code(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(
        ValueError, match=r"a.pth: refused, .* nothing was run. Where you trust its source, save"
    ):
        load(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert (tmp_path / "ran").exists()  # so the file was armed


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_cut_off_pth_says_so(state: State, tmp_path: Path, share: float):
    torch.save(state, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"a.pth: .* cut off"):
        load(tmp_path / "a.pth")


@pytest.mark.parametrize("text", ["hello\n" * 30, "<!DOCTYPE html><title>404</title>"])
def test_a_file_of_another_kind_says_what_is_expected(tmp_path: Path, text: str):
    (tmp_path / "a.pth").write_text(text)
    with pytest.raises(
        ValueError, match=r"a.pth: not a readable PyTorch file .* expected .safetensors, .pth or .pt"
    ):
        load(tmp_path / "a.pth")


def test_the_state_of_a_run_names_its_detectors(state: State, tmp_path: Path):
    torch.save({"model": state, "average": state, "optimizer": {}, "step": 3}, tmp_path / "last.state")
    with pytest.raises(ValueError) as caught:
        load(tmp_path / "last.state")
    assert str(caught.value) == (
        f"{tmp_path / 'last.state'}: the state of a run, from which `edgewise train --resume` goes on; its "
        f"detectors are {tmp_path / 'best.safetensors'} and {tmp_path / 'last.safetensors'}"
    )


def test_tensors_without_names_are_no_state_dict(tmp_path: Path):
    torch.save({0: torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth: no state dict found, but keys 0; expected tensors by name"):
        load(tmp_path / "a.pth")


@pytest.mark.parametrize("share", [0.0, -1.0, math.inf, math.nan, 0.1])
def test_impossible_points_are_refused(share: float):
    with pytest.raises(ValueError, match=r"num_points_scale: .* is not 1/n for any of the 6 points"):
        points_of(torch.full((6,), share))


def test_weights_of_another_program_say_what_was_found(tmp_path: Path):
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth: no state dict found, but keys state_dict, epoch; expected"):
        load(tmp_path / "a.pth")
    torch.save({"model": {"conv1.weight": torch.zeros(1), "conv1.bias": torch.zeros(1)}}, tmp_path / "b.pth")
    with pytest.raises(
        ValueError, match=r"b.pth: not weights of D-FINE: there is no backbone.* among conv1.weight"
    ):
        load(tmp_path / "b.pth")


def test_a_size_nobody_published_lists_those_there_are(state: State, tmp_path: Path):
    state["backbone.stem.stem1.conv.weight"] = torch.zeros(20, 3, 3, 3)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        ValueError, match=r"a.pth: no published size has 20 channels .* expected n: 16 and 128, s: 16"
    ):
        load(tmp_path / "a.pth")


def test_a_missing_tensor_is_named(state: State, tmp_path: Path):
    del state["decoder.enc_output.proj.bias"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth: (.|\n)*1 missing: decoder.enc_output.proj.bias \[128\]"):
        load(tmp_path / "a.pth", classes=["cat", "dog", "bird"])


# ── a backbone alone ───────────────────────────────────────────────────────────────────────────────


def backbone_of(model: DFine) -> State:
    return dict(model.backbone.state_dict())


def test_a_backbone_file_starts_a_training(model: DFine, tmp_path: Path):
    torch.save(backbone_of(model), tmp_path / "PPHGNetV2_B0_stage1.pth")
    fresh = DFine(preset("n", 5))
    before = fresh.encoder.state_dict()["lateral_convs.0.conv.weight"].clone()
    load_backbone(tmp_path / "PPHGNetV2_B0_stage1.pth", fresh)
    assert equal(backbone_of(fresh), backbone_of(model))
    assert torch.equal(fresh.encoder.state_dict()["lateral_convs.0.conv.weight"], before)


def test_a_backbone_file_without_counters_loads_too(model: DFine, tmp_path: Path):
    state = {key: t for key, t in backbone_of(model).items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "a.pth")
    load_backbone(tmp_path / "a.pth", drawn(preset("n", 5)))


def test_another_backbone_is_reported_before_anything_is_written(model: DFine, tmp_path: Path):
    state = {key: t for key, t in backbone_of(model).items() if ".lab." not in key}
    torch.save(state | {"fc.weight": torch.zeros(2)}, tmp_path / "a.pth")
    fresh = DFine(preset("n", 5))
    before = backbone_of(fresh)["stem.stem1.conv.weight"].clone()
    with pytest.raises(
        ValueError, match=r"a.pth: (.|\n)*missing: stem.stem1.lab.scale \[1\](.|\n)*unexpected: fc"
    ):
        load_backbone(tmp_path / "a.pth", fresh)
    assert torch.equal(backbone_of(fresh)["stem.stem1.conv.weight"], before)


def test_a_missing_backbone_file_says_which(model: DFine, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"b.pth: no such backbone file; download PPHGNetV2"):
        load_backbone(tmp_path / "b.pth", model)


def test_a_backbone_is_no_detector(model: DFine, tmp_path: Path):
    torch.save(backbone_of(model), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth: this is a backbone alone; start a training from it"):
        load(tmp_path / "a.pth")
