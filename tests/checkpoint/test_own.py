import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from edgewise.checkpoint import (
    Checkpoint,
    build,
    load,
    own,
    save,
    store_calibration,
    store_thresholds,
)
from edgewise.model import DFine
from edgewise.presets import trainable
from edgewise.seen import SeenImages
from edgewise.thresholds import Thresholds
from tests.test_calibration import calibration


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        values: dict[str, Any] = json.loads(file.metadata()["edgewise"])
        return values


def with_header(path: Path, header: object) -> Path:
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.offset_keys()}
    save_file(tensors, path, {"edgewise": header if isinstance(header, str) else json.dumps(header)})
    return path


def test_there_and_back_is_equal_to_the_bit(saved: Checkpoint, tmp_path: Path):
    save(tmp_path / "a.safetensors", saved)
    loaded = load(tmp_path / "a.safetensors")
    assert replace(loaded, weights={}) == replace(saved, weights={})
    assert loaded.weights.keys() == saved.weights.keys()
    for key, tensor in saved.weights.items():
        assert loaded.weights[key].dtype == tensor.dtype
        assert torch.equal(loaded.weights[key], tensor), key


def test_the_loaded_model_computes_the_same(saved: Checkpoint, tmp_path: Path, generator: torch.Generator):
    save(tmp_path / "a.safetensors", saved)
    images = torch.rand(1, 3, 96, 128, generator=generator)
    with torch.inference_mode():
        expected, found = build(saved)(images), build(load(tmp_path / "a.safetensors"))(images)
    assert torch.equal(expected.logits, found.logits)
    assert expected.logits.std() > 0
    assert torch.equal(expected.boxes, found.boxes)


def test_float16_halves_the_file_and_comes_back_within_rounding(saved: Checkpoint, tmp_path: Path):
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save(full, saved)
    save(half, saved, dtype=torch.float16)
    assert half.stat().st_size < 0.55 * full.stat().st_size
    for key, tensor in load(half).weights.items():
        assert tensor.dtype == saved.weights[key].dtype
        torch.testing.assert_close(tensor, saved.weights[key], rtol=2**-11, atol=2**-24, msg=key)


def test_a_weight_too_large_for_float16_is_named(saved: Checkpoint, tmp_path: Path):
    key = "backbone.stem.stem1.bn.running_var"
    weights = {**saved.weights, key: torch.full((16,), 1e6)}
    with pytest.raises(
        ValueError, match=rf"{key}: 1e\+06 is too large for torch.float16; save it as float32"
    ):
        save(tmp_path / "a.safetensors", replace(saved, weights=weights), dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_frozen_or_trainable_norms_come_back_as_they_were(saved: Checkpoint, tmp_path: Path):
    counter = "backbone.stem.stem1.bn.num_batches_tracked"
    frozen = saved.config.updated({"backbone.freeze_norms": True, "backbone.freeze_stem": True})
    for config, counts in ((trainable(frozen), True), (frozen, False)):
        save(tmp_path / "a.safetensors", replace(saved, config=config, weights=DFine(config).state_dict()))
        loaded = load(tmp_path / "a.safetensors")
        assert loaded.config == config
        assert (counter in loaded.weights) == counts


def test_the_header_is_one_versioned_json(saved: Checkpoint, tmp_path: Path):
    save(tmp_path / "a.safetensors", replace(saved, metrics={"AP": float("nan")}))
    header = header_of(tmp_path / "a.safetensors")
    assert header["version"] == own.VERSION
    assert header["class_names"] == ["cat", "dog", "bird"]
    assert header["category_ids"] == [7, 3, 11]
    assert header["model"]["size"] == [320, 256]
    assert header["preprocessing"]["colour"] == "RGB"
    assert header["metrics"] == {"AP": None}  # JSON has no nan


def test_classes_rename_the_rows(saved: Checkpoint, tmp_path: Path):
    save(tmp_path / "a.safetensors", saved)
    loaded = load(tmp_path / "a.safetensors", classes=["Katze", "Hund", "Vogel"])
    assert loaded.class_names == ("Katze", "Hund", "Vogel")
    assert loaded.category_ids == (7, 3, 11)
    with pytest.raises(ValueError, match=r"a.safetensors: classes has 2 names, but the weights have 3 rows"):
        load(tmp_path / "a.safetensors", classes=["Katze", "Hund"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"version": 4},
            r"version 4, but this edgewise reads 1 to 3; update it with pip install -U edgewise",
        ),
        ({"version": "1"}, r"version '1', but this edgewise reads 1 to 3"),
        ({"colour": 1}, r"unknown key colour; expected one of version, model"),
        ({"preprocessing": {"colour": "BGR"}}, r"preprocessing.colour: .*'RGB' \(given 'BGR'\)"),
        ({"class_names": ["cat"]}, r"classes has 1 names, but the weights have 3 rows"),
        ({"step": -1}, r"step: .*greater than or equal to 0 \(given -1\)"),
    ],
)
def test_a_header_that_is_wrong_says_where(
    saved: Checkpoint, tmp_path: Path, changes: dict[str, object], text: str
):
    path = tmp_path / "a.safetensors"
    save(path, saved)
    with pytest.raises(ValueError, match=f"a.safetensors: header: {text}"):
        load(with_header(path, header_of(path) | changes))


def test_settings_edited_into_nonsense_say_which(saved: Checkpoint, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save(path, saved)
    header = header_of(path)
    header["model"]["decoder"]["num_bins"] = 31
    with pytest.raises(ValueError, match=r"header: model.decoder: num_bins=31: expected an even number"):
        load(with_header(path, header))
    header["model"]["decoder"] |= {"num_bins": 32, "num_layers": 4}
    with pytest.raises(
        ValueError, match=r"a.safetensors: .*tensors are there(.|\n)*missing: decoder.decoder.lay"
    ):
        load(with_header(path, header))


@pytest.mark.parametrize("header", ["{", "[]", "{}"])
def test_a_header_without_a_version_says_so(saved: Checkpoint, tmp_path: Path, header: str):
    save(tmp_path / "a.safetensors", saved)
    with pytest.raises(ValueError, match=r"a.safetensors: header: not JSON with a version"):
        load(with_header(tmp_path / "a.safetensors", header))


def test_an_older_header_goes_through_its_upgrades(
    saved: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.safetensors"
    save(path, saved)
    header = header_of(path)
    header["classes"] = header.pop("class_names")
    with_header(path, header)

    def named_class_names(header: dict[str, Any]) -> dict[str, Any]:
        return {("class_names" if key == "classes" else key): value for key, value in header.items()}

    monkeypatch.setattr(own, "VERSION", own.VERSION + 1)
    monkeypatch.setitem(own.UPGRADES, own.VERSION - 1, named_class_names)
    assert load(path).class_names == saved.class_names


VALIDATION = {
    "best_threshold": 0.5,
    "per_class": {
        "dog": {"count": 9, "best_threshold": 0.4},
        "cat": {"count": 0, "best_threshold": None},
        "bird": {"count": 2, "best_threshold": 0.7},
    },
}


def test_thresholds_of_a_file_of_version_1_come_from_its_metrics(saved: Checkpoint, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save(path, replace(saved, metrics=VALIDATION))
    header = header_of(path) | {"version": 1}
    del header["thresholds"]
    assert load(with_header(path, header)).thresholds == FOUND
    assert load(with_header(path, header | {"metrics": None})).thresholds is None
    assert load(with_header(path, header | {"metrics": {"ap": 0.5}})).thresholds is None


def test_the_committed_file_of_version_1_still_loads():
    path = Path(__file__).resolve().parents[2] / "benchmarks/results/bccd/best.safetensors"
    assert header_of(path)["version"] == 1
    loaded = load(path)
    assert loaded.thresholds is not None
    assert loaded.thresholds.split == "val"
    assert loaded.thresholds.counts == (83, 967, 87)
    build(loaded)


FOUND = Thresholds(split="val", shared=0.5, by_class=(None, 0.4, 0.7), counts=(0, 9, 2))


def test_thresholds_come_back(saved: Checkpoint, tmp_path: Path):
    for dtype in (None, torch.float16):
        save(tmp_path / "a.safetensors", replace(saved, thresholds=FOUND), dtype)
        assert load(tmp_path / "a.safetensors").thresholds == FOUND


def test_thresholds_are_put_into_a_file_that_stays_what_it_is(saved: Checkpoint, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save(path, saved, torch.float16)
    with safe_open(path, "pt") as file:
        before = {key: file.get_tensor(key) for key in file.offset_keys()}
    store_thresholds(path, FOUND)
    with safe_open(path, "pt") as file:
        after = {key: file.get_tensor(key) for key in file.offset_keys()}
    assert before.keys() == after.keys()
    assert all(after[key].dtype == one.dtype and torch.equal(after[key], one) for key, one in before.items())
    loaded = load(path)
    assert loaded.thresholds == FOUND
    assert replace(loaded, weights={}, thresholds=None) == replace(saved, weights={})


def test_only_our_file_has_a_place_for_thresholds(saved: Checkpoint, tmp_path: Path):
    save_file(dict(saved.weights), tmp_path / "flat.safetensors")
    (tmp_path / "a.pth").write_bytes(b"x" * 100)
    for ref in (tmp_path / "flat.safetensors", tmp_path / "a.pth", tmp_path, "dfine-s-coco"):
        with pytest.raises(
            ValueError,
            match=r"not an Edgewise file, so it has no place for thresholds or a calibration",
        ):
            store_thresholds(ref, FOUND)


def test_thresholds_are_one_a_class(saved: Checkpoint):
    few = Thresholds(split="val", shared=0.5, by_class=(None,), counts=(0,))
    with pytest.raises(ValueError, match="thresholds are of 1 classes, but the weights have 3 rows"):
        replace(saved, thresholds=few)


def test_a_calibration_and_the_images_it_has_seen_come_back(saved: Checkpoint, tmp_path: Path):
    full = replace(saved, calibration=calibration(), seen=SeenImages(images=0, hashes=""))
    save(tmp_path / "a.safetensors", full)
    loaded = load(tmp_path / "a.safetensors")
    assert (loaded.calibration, loaded.seen) == (full.calibration, full.seen)


def test_a_calibration_is_put_into_a_file_or_a_copy_of_it(saved: Checkpoint, tmp_path: Path):
    path, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save(path, saved, torch.float16)
    store_calibration(path, calibration(), FOUND, out)
    assert load(path).calibration is None
    assert load(out).calibration == calibration()
    store_calibration(path, calibration(), FOUND)
    assert path.read_bytes() == out.read_bytes()
    assert load(path).thresholds == FOUND


def test_a_calibration_edited_by_hand_is_refused(saved: Checkpoint, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save(path, replace(saved, calibration=calibration()))
    header = header_of(path)
    header["calibration"]["scale"] = [0.5, 1, 1, 1]
    with pytest.raises(
        ValueError,
        match=r"a.safetensors: header: the calibration was altered after it was fitted; fit it anew",
    ):
        load(with_header(path, header))


def test_a_header_of_version_2_has_no_calibration(saved: Checkpoint, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save(path, replace(saved, thresholds=FOUND))
    header = {k: v for k, v in header_of(path).items() if k not in ("calibration", "seen")}
    loaded = load(with_header(path, header | {"version": 2}))
    assert (loaded.calibration, loaded.seen, loaded.thresholds) == (None, None, FOUND)
