"""`Detector`, as a user meets it: predict, train on a folder, evaluate, save, load, go on."""

import io
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from edgewise import Detector
from edgewise.api import Run
from edgewise.config import TrainConfig, write_settings
from edgewise.data.open import open_dataset
from edgewise.data.scenes import CLASS_NAMES, SceneDataset, write_coco
from edgewise.detections import Detections
from edgewise.model import DFine
from edgewise.presets import preset, trainable
from edgewise.train.transfer import CLASS_TENSORS
from tests.test_detections import promise
from tests.train.tiny import NAMES, Patches, settings, tiny_config

QUICK = settings(schedule__epochs=1, schedule__plain_epochs=0)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes to train on and two to validate with, as COCO files."""
    path = tmp_path_factory.mktemp("scenes")
    write_coco(path, [SceneDataset(4, size=(96, 96)), SceneDataset(2, split="val", size=(96, 96))])
    return path


def tiny(names: tuple[str, ...] = NAMES, seed: int = 0) -> Detector:
    return Detector(tiny_config(len(names)), names, seed=seed, device="cpu")


def same(one: Detections, other: Detections) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("boxes_xyxy", "scores", "labels", "edge_std")
    )


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)


# ── making one ─────────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_detector_of_a_published_size() -> None:
    det = Detector("n", classes=["cat", "dog"], device="cpu")
    assert det.class_names == ("cat", "dog")
    assert det.category_ids is None
    assert det.config == preset("n", 2)
    assert det.trained == "fresh"
    assert repr(det) == "Detector('n', 2 classes, 640x640)"


def test_the_model_gives_every_layer() -> None:
    det = tiny()
    output = det.model(torch.rand(2, 3, 64, 96))
    assert len(output.layers) == 2
    for layer in output.layers:
        assert layer.logits.shape == (2, 10, 3)
        assert layer.boxes.shape == (2, 10, 4)
        assert layer.edge_logits.shape == (2, 10, 4, 33)
    assert output.initial.boxes.shape == output.encoder.boxes.shape == (2, 10, 4)
    assert output.encoder.logits.shape == (2, 10, 3)
    assert output.encoder.index.shape == (2, 10)
    assert output.denoising is None
    assert output.logits is output.layers[-1].logits
    assert output.boxes is output.layers[-1].boxes
    assert not det.model.training


def test_weights_follow_from_the_seed_and_leave_torchs_generator_alone() -> None:
    def weight(seed: int) -> torch.Tensor:
        return tiny(seed=seed).model.state_dict()["backbone.stem.stem1.conv.weight"]

    before = torch.random.get_rng_state()
    first, again, other = weight(0), weight(0), weight(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("n",), 'classes is empty; name at least one, as in classes=["cat", "dog"]'),
        (("n", ["cat", "cat"]), "class name 'cat' stands twice, in rows 0 and 1; names must differ"),
        (("n", "cat"), "classes is the text 'cat'; expected a list: classes=['cat']"),
        (
            ("dfine-n-coco",),
            "unknown size dfine-n-coco; expected one of n, s, m, l, x; trained weights are loaded by "
            "Detector.from_pretrained('dfine-n-coco')",
        ),
        (
            (tiny_config(3), ["cat", "dog"]),
            "classes has 2 names, but the settings have num_classes=3; expected as many",
        ),
    ],
)
def test_what_cannot_be_made(arguments: tuple[Any, ...], expected: str) -> None:
    assert refusal(lambda: Detector(*arguments, device="cpu")) == expected


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of size l in no time: tensors that have a shape only."""
    monkeypatch.setattr("edgewise.api._fresh", lambda config, seed: _on_meta(config))
    monkeypatch.setattr("edgewise.api.resolve_device", lambda name: torch.device("meta"))


def _on_meta(config: Any) -> DFine:
    with torch.device("meta"):
        return DFine(config)


@pytest.mark.parametrize("size", ["l", "x"])
def test_fresh_weights_are_all_trainable(size: str, without_weights: None) -> None:
    det = Detector(size, ["cat"])
    assert det.config == trainable(preset(size, 1))
    assert all(
        parameter.requires_grad
        for name, parameter in det.model.named_parameters()
        if not name.endswith((".up", ".reg_scale"))
    )


def test_fresh_weights_on_a_published_backbone_keep_it_frozen(
    without_weights: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr("edgewise.checkpoint.load_backbone", lambda path, model: loaded.append(path))
    det = Detector("l", ["cat"], backbone="PPHGNetV2_B4_stage1.pth")
    assert loaded == ["PPHGNetV2_B4_stage1.pth"]
    assert det.config == preset("l", 1)
    assert det.trained == "backbone"


# ── predicting ─────────────────────────────────────────────────────────────────────────────────────


def test_one_image_one_answer(image: np.ndarray) -> None:
    found = tiny().predict(image, threshold=0.0)
    assert isinstance(found, Detections)
    assert len(found) > 0
    assert found.size == (50, 70)
    assert found.class_names == NAMES


def test_many_images_many_answers(image: np.ndarray) -> None:
    det = tiny()
    one = det.predict(image, threshold=0.0)
    listed = det.predict([image, image], threshold=0.0, batch=1)
    streamed = list(det.predict([image, image], threshold=0.0, batch=1, stream=True))
    assert isinstance(listed, list)
    assert len(listed) == len(streamed) == 2
    assert all(same(one, other) for other in (*listed, *streamed))


def test_a_size_is_a_side_or_a_pair(image: np.ndarray) -> None:
    det = tiny()
    at_own, at_side, at_pair = (det.predict(image, 0.0, size=size) for size in (64, 96, (96, 96)))
    assert same(at_own, det.predict(image, 0.0))
    assert same(at_side, at_pair)
    assert not same(at_own, at_side)
    assert refusal(lambda: det.predict(image, size=100)) == (
        "size 100x100 (height x width): 100 is not a positive multiple of 32; use 96 or 128"
    )


# ── saving and loading ─────────────────────────────────────────────────────────────────────────────


def test_saved_and_loaded_it_predicts_the_same(image: np.ndarray, tmp_path: Path) -> None:
    det = tiny()
    det.save(tmp_path / "rgb.safetensors")
    loaded = Detector.from_pretrained(tmp_path / "rgb.safetensors", device="cpu")
    assert same(det.predict(image, 0.0), loaded.predict(image, 0.0))
    assert (loaded.class_names, loaded.category_ids, loaded.config) == (NAMES, None, det.config)
    assert loaded.trained == "detector"
    assert not loaded.model.training
    assert loaded.file_bytes == (tmp_path / "rgb.safetensors").stat().st_size
    assert loaded.at(queries=5).file_bytes is None  # that is another detector


def test_saved_and_loaded_it_promises_the_same(image: np.ndarray, tmp_path: Path) -> None:
    det = tiny()
    det.calibration = promise(temperature=(0.5, 1.0, 2.0, 3.0)).sealed()
    det.save(tmp_path / "rgb.safetensors")
    loaded = Detector.from_pretrained(tmp_path / "rgb.safetensors", device="cpu")
    found, again = (one.predict(image, 0.0, edges=True) for one in (det, loaded))
    assert same(found, again)
    np.testing.assert_array_equal(found.edge_probs, again.edge_probs)
    np.testing.assert_array_equal(found.edge_interval(0.9), again.edge_interval(0.9))
    for a, b in zip(found.joint_interval(0.9), again.joint_interval(0.9), strict=True):
        np.testing.assert_array_equal(a, b)


def test_half_the_file_for_nearly_the_same(image: np.ndarray, tmp_path: Path) -> None:
    det = tiny()
    for half in (False, True):
        det.save(tmp_path / f"{half}.safetensors", half=half)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.7 * sizes[0]
    loaded = Detector.from_pretrained(tmp_path / "True.safetensors", device="cpu")
    assert loaded.model.state_dict()["decoder.enc_output.proj.weight"].dtype == torch.float32
    assert np.allclose(det.predict(image, 0.0).scores, loaded.predict(image, 0.0).scores, atol=2e-3)


def test_other_names_for_the_rows(tmp_path: Path) -> None:
    tiny().save(tmp_path / "rgb.safetensors")
    det = Detector.from_pretrained(tmp_path / "rgb.safetensors", classes=["r", "g", "b"], device="cpu")
    assert det.class_names == ("r", "g", "b")


def test_the_authors_file_as_it_is(recipe: ModuleType, image: np.ndarray, tmp_path: Path) -> None:
    """Weights under the published names in {"model": state}, as their training writes them."""
    model = DFine(preset("n", 80))
    state = model.state_dict()
    for key, value in state.items():
        filled = recipe.fill(key, value.shape)
        if filled is not None:
            state[key] = torch.from_numpy(filled)
    torch.save({"model": state}, tmp_path / "dfine_n_coco.pth")
    det = Detector.from_pretrained(tmp_path / "dfine_n_coco.pth", device="cpu")
    assert det.class_names[:3] == ("person", "bicycle", "car")
    assert det.category_ids is not None
    assert det.category_ids[-1] == 90
    model.load_state_dict(state)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(det.model(images).boxes, model.eval()(images).boxes)
    assert len(det.predict(image, 0.0, size=64)) > 0


# ── training ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Detector, Run]:
    """Two epochs on the folder."""
    det = tiny(("star", *CLASS_NAMES[:2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)
        run = det.train(
            folder,
            out=tmp_path_factory.mktemp("runs") / "a",
            epochs=2,
            batch=2,
            size=96,
            seed=3,
            changes={"workers": 0, "augment.multi_scale": 0},
            console=Console(file=io.StringIO()),
        )
    return det, run


def test_a_training_returns_the_best_weights_and_their_metrics(
    trained: tuple[Detector, Run], folder: Path
) -> None:
    det, run = trained
    assert det.class_names == CLASS_NAMES
    assert det.category_ids == SceneDataset.category_ids
    assert det.config.size == (96, 96)
    assert det.trained == "detector"
    assert not det.model.training
    assert run.metrics is not None
    assert run.metrics.to_dict() == det.evaluate(folder, split="val").to_dict()
    assert set(run.metrics.per_class) == set(CLASS_NAMES)
    assert 0 <= run.metrics.ap <= run.metrics.ap50 <= 1
    json.dumps(run.metrics.to_dict())
    assert run.minutes > 0
    best = Detector.from_pretrained(run.folder / "best.safetensors", device="cpu").model.state_dict()
    assert all(torch.equal(best[key], value) for key, value in det.model.state_dict().items())


def test_what_a_training_was_told_is_what_it_did(trained: tuple[Detector, Run]) -> None:
    _, run = trained
    config = run.config
    assert (config.schedule.epochs, config.batch, config.size, config.seed) == (2, 2, (96, 96), 3)
    assert (config.workers, config.augment.multi_scale, config.schedule.plain_epochs) == (0, 0, 0)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert any(line["best"] for line in lines)
    assert max(line["val"]["ap"] for line in lines) == run.metrics.ap  # type: ignore[union-attr]


def test_the_checkpoint_remembers_its_training(trained: tuple[Detector, Run], tmp_path: Path) -> None:
    det, run = trained
    det.save(tmp_path / "scenes.safetensors")
    kept = Detector.from_pretrained(tmp_path / "scenes.safetensors", device="cpu").checkpoint()
    assert kept.step in (2, 4)
    assert kept.recipe == run.config.model_dump(mode="json")
    assert kept.metrics is not None
    assert kept.metrics["ap"] == run.metrics.ap  # type: ignore[union-attr]


def test_an_evaluation_as_files(trained: tuple[Detector, Run], folder: Path, tmp_path: Path) -> None:
    det, run = trained
    metrics = det.evaluate(folder, "val", size=96, batch=1, out=tmp_path / "val")
    assert metrics.ap == pytest.approx(run.metrics.ap, abs=1e-3)  # type: ignore[union-attr]
    written = json.loads((tmp_path / "val/metrics.json").read_text())
    assert written == metrics.to_dict()
    assert len(list((tmp_path / "val").glob("*.png"))) == 4


def test_a_finished_run_can_be_resumed_by_a_new_detector(trained: tuple[Detector, Run], folder: Path) -> None:
    det, run = trained
    again = tiny(CLASS_NAMES, seed=9)
    metrics = again.train(folder, out=run.folder, resume=True).metrics
    assert metrics is not None
    assert metrics.to_dict() == run.metrics.to_dict()  # type: ignore[union-attr]
    assert all(
        torch.equal(again.model.state_dict()[key], value) for key, value in det.model.state_dict().items()
    )


def test_resuming_with_other_settings_is_refused_and_harmless(
    trained: tuple[Detector, Run], folder: Path, image: np.ndarray, tmp_path: Path
) -> None:
    _, run = trained
    det = tiny(CLASS_NAMES, seed=9)
    before = det.predict(image, 0.0)
    text = refusal(lambda: det.train(folder, out=run.folder, resume=True, batch=4))
    assert "is of a run with other settings or data:\n  batch: 2 before, 4 now\n" in text
    write_settings(run.config.updated({"augment.flip": 0.25}), tmp_path / "other.yaml")
    text = refusal(lambda: det.train(folder, out=run.folder, resume=True, settings=tmp_path / "other.yaml"))
    assert "  augment.flip: 0.5 before, 0.25 now\n" in text
    assert same(det.predict(image, 0.0), before)


def test_a_folder_with_a_run_is_not_overwritten(trained: tuple[Detector, Run], folder: Path) -> None:
    _, run = trained
    det = tiny()
    with pytest.raises(FileExistsError, match="already holds a run"):
        det.train(folder, out=run.folder)
    assert det.class_names == NAMES
    assert not det.model.training


def test_nothing_to_resume(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        tiny().train(folder, out=tmp_path / "none", resume=True)


def test_without_a_validation_split_the_last_weights_are_the_best(tmp_path: Path, console: Console) -> None:
    det = tiny()
    run = det.fit(Patches(2), None, QUICK, tmp_path, console=console)
    assert run.metrics is None
    assert det.checkpoint().step == 1


def test_validation_without_a_box_is_undefined_not_an_error(tmp_path: Path, console: Console) -> None:
    run = tiny().fit(Patches(2), Patches(2, background=1), QUICK, tmp_path, console=console)
    assert run.metrics is not None
    assert math.isnan(run.metrics.ap)
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["val"]["ap"] is None
    assert line["best"]


def test_other_classes_in_the_validation_split_fail_before_training(tmp_path: Path) -> None:
    other = Patches(2, class_names=("red", "green", "violet"))
    text = refusal(lambda: tiny().fit(Patches(2), other, QUICK, tmp_path / "run"))
    assert "only the predictor has blue; only the dataset has violet" in text
    assert not (tmp_path / "run").exists()


def rows(det: Detector) -> dict[str, torch.Tensor]:
    return {
        key: value.clone()
        for key, value in det.model.state_dict().items()
        if any(name in key for name in CLASS_TENSORS)
    }


def test_known_classes_keep_their_rows(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by a training that does nothing: from a checkpoint of red, green, blue to blue, [b]ox, red."""
    tiny(seed=4).save(tmp_path / "rgb.safetensors")
    det = Detector.from_pretrained(tmp_path / "rgb.safetensors", device="cpu")
    known = rows(det)

    def stop(trainer: Any, console: Console) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgewise.train.progress.run", stop)
    with pytest.raises(KeyboardInterrupt):
        det.fit(Patches(class_names=("blue", "[b]ox", "red")), None, QUICK, tmp_path / "a", console=console)
    assert det.class_names == ("blue", "[b]ox", "red")
    assert det.category_ids == (5, 2, 9)
    for key, value in rows(det).items():
        assert torch.equal(value[0], known[key][2])
        assert torch.equal(value[2], known[key][0])
    assert console.file.getvalue().strip() == (
        "classes known already, whose rows are kept: blue, red; new, with fresh rows: [b]ox"
    )  # type: ignore[attr-defined]


def test_a_stopped_training_leaves_a_detector_that_predicts(tmp_path: Path, console: Console) -> None:
    det = tiny()

    def interrupt(index: int) -> Any:
        signal.raise_signal(signal.SIGINT)
        return Patches.__getitem__(data, index)

    class Interrupting(Patches):
        def __getitem__(self, index: int) -> Any:
            return interrupt(index)

    data = Interrupting(2)
    with pytest.raises(KeyboardInterrupt):
        det.fit(data, None, settings(batch=1, augment__multi_scale=0), tmp_path, console=console)
    assert not det.model.training
    assert (tmp_path / "last.state").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"size": 100}, "size 100x100 (height x width): 100 is not a positive multiple of 32"),
        ({"epochs": 0}, "settings: schedule.epochs: Input should be greater than 0 (given 0)"),
        ({"batch": -1}, "settings: batch: Input should be greater than 0 (given -1)"),
        ({"changes": {"schedule.epoch": 3}}, "settings: unknown key schedule.epoch; did you mean"),
        ({"changes": {"batch": "two"}}, "settings: batch: Input should be a valid integer"),
        (
            {"settings": TrainConfig(), "epochs": 3},
            "settings: schedule: plain_epochs=8 is more than epochs=3",
        ),
    ],
)
def test_bad_settings_fail_before_anything_is_written(
    given: dict[str, Any], expected: str, folder: Path, tmp_path: Path, unchecked: None
) -> None:
    assert refusal(lambda: tiny().train(folder, out=tmp_path / "run", **given)).startswith(expected)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The settings that `train` hands to `fit`, which does nothing."""
    configs: list[TrainConfig] = []

    def fit(self: Detector, train: Any, val: Any, config: TrainConfig, out: Any, **rest: Any) -> Run:
        configs.append(config)
        return Run(Path(out), None, config, 0.0)

    monkeypatch.setattr(Detector, "fit", fit)
    return configs


def test_the_recipe_knows_changes_of_length_and_batch(folder: Path, planned: list[TrainConfig]) -> None:
    tiny().train(folder, changes={"schedule.epochs": 3, "batch": 4})
    tiny().train(folder, epochs=3, batch=4)
    assert planned[0] == planned[1]
    assert planned[0].schedule.plain_epochs == 0
    assert planned[0].size == (64, 64)


def test_settings_may_come_from_a_file(folder: Path, tmp_path: Path, planned: list[TrainConfig]) -> None:
    (tmp_path / "run.yaml").write_text("schedule: {epochs: 20}\nsize: [96, 64]\n")
    tiny().train(folder, settings=tmp_path / "run.yaml", batch=3, changes={"augment.flip": 0.1})
    changes = {"schedule.epochs": 20, "size": (96, 64), "batch": 3, "augment.flip": 0.1}
    assert planned == [TrainConfig().updated(changes)]


def test_data_sets_that_are_open_already(folder: Path, planned: list[TrainConfig], tmp_path: Path) -> None:
    splits = {name: open_dataset(folder, name) for name in ("train", "val")}
    tiny().train(splits, selfcheck=False)
    tiny().train(folder, selfcheck=False)
    assert planned[0] == planned[1]
    text = refusal(lambda: tiny().train({"val": splits["val"]}, out=tmp_path / "run"))
    assert text == "data sets for val; expected one for train, perhaps val"


def test_training_stays_on_a_device_that_was_chosen(
    folder: Path, planned: list[TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny().train(folder, selfcheck=False)
    monkeypatch.setattr("edgewise.device.torch.cuda.is_available", lambda: True)  # the best is another
    tiny().train(folder, selfcheck=False)
    tiny().train(folder, selfcheck=False, changes={"device": "cuda:1"})
    assert [config.device for config in planned] == ["auto", "cpu", "cuda:1"]


def test_a_frozen_backbone_stays_as_it_was(tmp_path: Path, console: Console) -> None:
    """As in l and x from a checkpoint: the stem and all statistics of its norms."""
    config = tiny_config().updated({"backbone.freeze_stem": True, "backbone.freeze_norms": True})
    Detector(config, NAMES, device="cpu").save(tmp_path / "frozen.safetensors")
    det = Detector.from_pretrained(tmp_path / "frozen.safetensors", device="cpu")
    before = {key: value.clone() for key, value in det.model.state_dict().items()}
    det.fit(
        Patches(2), None, QUICK.updated({"optimizer.backbone_lr": 1e-2}), tmp_path / "run", console=console
    )
    after = det.model.state_dict()
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert det.config.backbone.freeze_stem
    assert "backbone.stages.0.blocks.0.layers.0.conv.weight" in changed
    assert not [
        key for key in changed if key.startswith("backbone.stem.") or (".bn." in key and "backbone" in key)
    ]
