"""The command line: help, mistakes with a way out, and the whole road from a folder to a picture."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.api import Detector
from edgewise.checkpoint import store_thresholds
from edgewise.cli import main
from edgewise.data.formats import coco
from edgewise.data.scenes import CLASS_NAMES, SceneDataset, write_coco
from edgewise.thresholds import Thresholds
from tests.cli.conftest import Edgewise
from tests.train.tiny import NAMES, tiny_config

COMMANDS = ("doctor", "convert", "train", "replay", "evaluate", "predict", "info", "demo")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "rgb.safetensors"
    Detector(tiny_config(), NAMES, device="cpu").save(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.png, and in a folder of its own another one."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    (folder / "more").mkdir()
    for name in ("a.png", "more/a.png", "more/a_2.png"):
        Image.fromarray(pixels).save(folder / name)
    return folder


# ── help and mistakes ──────────────────────────────────────────────────────────────────────────────


def test_help_lists_the_commands(edgewise: Edgewise) -> None:
    code, text = edgewise("--help")
    assert code == 0
    assert all(f"│ {command}" in text for command in COMMANDS)
    assert edgewise("--version") == (0, "0.1.0")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(command: str, edgewise: Edgewise) -> None:
    code, text = edgewise(command, "--help")
    assert code == 0
    assert f"Example: edgewise {command}" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian", "data"], 'Unknown command "trian". Did you mean "train"?'),
        (["train", "data", "--epoch", "3"], "Unknown option: --epoch. Did you mean --epochs?"),
        (["predict", "a", "b", "--treshold=1"], "Unknown option: --treshold=1. Did you mean --threshold?"),
        (
            ["train", "data", "--epochs", "few"],
            'Invalid value for --epochs: unable to convert "few" into int.',
        ),
        (["evaluate", "a"], 'Command "evaluate" parameter --data requires an argument.'),
    ],
)
def test_a_wrong_word_suggests_the_right_one(words: list[str], expected: str, edgewise: Edgewise) -> None:
    code, text = edgewise(*words)
    assert code == 2
    assert expected.lower() in text.replace("│", "").lower()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["train", "data", "--size", "100"],
            "error: size 100x100 (height x width): 100 is not a positive multiple of 32; use 96 or 128",
        ),
        (
            ["predict", "x.safetensors", "a.jpg", "--size", "big"],
            "error: size 'big': expected one side such as 640, or HEIGHTxWIDTH such as 480x640",
        ),
        (
            ["evaluate", "x.safetensors", "data", "--size", "64x100"],
            "error: size 64x100 (height x width): 100",
        ),
        (["train", "data", "--set", "lr"], "error: --set lr: expected KEY=VALUE, such as augment.crop=0.3"),
        (["train", "data", "--set", "size=[1,"], "error: --set size=[1,: '[1,' is not a YAML value"),
        (["train", "no/where"], "error: no/where: no such data set folder or annotation file"),
        (["info", "nowhere.safetensors"], "error: nowhere.safetensors: no such file or folder"),
        (["info", "dfine-q-coco"], "did you mean dfine-"),
        (["predict", "x.safetensors", "no/where.jpg"], "error: no/where.jpg"),
        (
            ["train", "data", "--model", "dfine-n-coco", "--backbone", "b0.pth"],
            "error: --backbone starts a fresh model (n, s, m, l, x), but --model is dfine-n-coco",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(words: list[str], expected: str, edgewise: Edgewise) -> None:
    code, text = edgewise(*words)
    assert code == 1
    assert expected in text


def test_an_error_in_brackets_is_shown_as_it_is(edgewise: Edgewise) -> None:
    assert "[bold]x.safetensors: no such file" in edgewise("info", "[bold]x.safetensors")[1]


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str | None) -> None:
        raise TypeError("ours")

    monkeypatch.setattr("edgewise.cli.train.parse_size", broken)
    monkeypatch.setattr(sys, "argv", ["edgewise", "train", "data"])
    with pytest.raises(TypeError, match="ours"):
        main()


def test_ctrl_c(
    weights: Path, photos: Path, edgewise: Edgewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a training that has something to go on from says so."""

    def interrupted(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgewise.api.Detector.train", interrupted)
    monkeypatch.setattr("edgewise.api.Detector.predict", interrupted)
    write_coco(tmp_path / "data", [SceneDataset(1, split="train", size=(96, 96))])
    training = "train", tmp_path / "data", "--model", weights, "--out", tmp_path
    assert edgewise("predict", weights, photos) == (130, "stopped")
    assert edgewise(*training) == (130, "stopped")
    (tmp_path / "last.state").touch()
    assert edgewise(*training) == (130, "stopped; the same command with --resume goes on")


# ── what the commands do ───────────────────────────────────────────────────────────────────────────


def test_pictures_and_numbers_of_every_image(
    weights: Path, photos: Path, edgewise: Edgewise, tmp_path: Path
) -> None:
    out = tmp_path / "[found]"
    code, text = edgewise(
        "predict", weights, photos, photos / "more", "--threshold", "0", "--out", out, "--device", "cpu"
    )
    assert code == 0
    names = ["a", "a_2", "a_2_2"]  # no image of the same name is lost
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}.{suffix}" for name in names for suffix in ("jpg", "json")
    )
    found = json.loads((out / "a.json").read_text())
    assert found["source"] == str(photos / "a.png")
    assert (found["width"], found["height"]) == (70, 50)
    assert found["detections"]
    with Image.open(out / "a.jpg") as picture:
        assert picture.size == (70, 50)
    assert f"3 pictures and JSON files are in {out}" in text


def test_pictures_never_replace_the_images(weights: Path, photos: Path, edgewise: Edgewise) -> None:
    before = (photos / "a.png").read_bytes()
    code, text = edgewise("predict", weights, photos, "--out", photos / "more/..")
    assert code == 1
    assert "the pictures could replace the images there; name another folder" in text
    assert (photos / "a.png").read_bytes() == before
    assert sorted(path.name for path in photos.iterdir()) == ["a.png", "more"]


def test_what_is_in_a_checkpoint(weights: Path, edgewise: Edgewise) -> None:
    code, text = edgewise("info", weights)
    assert code == 0
    assert "tiny, 64x64 (height x width)" in text
    assert "3: red, green, blue" in text
    assert "not stored" in text


def test_thresholds_are_found_stored_and_applied(edgewise: Edgewise, tmp_path: Path) -> None:
    weights, data = tmp_path / "a.safetensors", tmp_path / "scenes"
    Detector(tiny_config(len(CLASS_NAMES)), CLASS_NAMES, device="cpu").save(weights)
    write_coco(data, [SceneDataset(2, split="val", size=(96, 96))])
    words = (
        "predict",
        weights,
        data / "val",
        "--threshold",
        "auto",
        "--out",
        tmp_path / "o",
        "--device",
        "cpu",
    )
    assert edgewise(*words)[1].endswith(
        "threshold 'auto': the checkpoint has no stored thresholds: it was not validated, or found nothing "
        "right there. Give a number such as 0.5; find them with `edgewise evaluate CHECKPOINT DATA "
        "--save-thresholds`; where that finds none either, train longer"
    )
    file = data / "val/_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"].append(content["annotations"][0] | {"id": 99})
    file.write_text(json.dumps(content))
    code, text = edgewise("evaluate", weights, data, "--save-thresholds", "--device", "cpu")
    assert "boxes that are there again: 1" in text
    if code == 1:  # untrained weights may find nothing at all
        assert text.endswith(
            "nothing that was found in the val split is right (best F1 0), so no threshold is better than "
            "another and none is stored; train longer, or give predict a number such as 0.05"
        )
    found = Thresholds(
        split="val", shared=0.5, by_class=(0.25,) * len(CLASS_NAMES), counts=(1,) * len(CLASS_NAMES)
    )
    store_thresholds(weights, found)
    assert edgewise(*words)[0] == 0
    assert "score 0.50 for all, by class" in edgewise("info", weights)[1]
    assert "has no place for thresholds" in edgewise("evaluate", "dfine-s-coco", data, "--save-thresholds")[1]


def test_what_is_in_a_checkpoint_with_undefined_scores(edgewise: Edgewise, tmp_path: Path) -> None:
    from dataclasses import replace

    from edgewise import checkpoint

    det = Detector(tiny_config(2).updated({"size": (64, 96)}), ["[bold]", "cat"], device="cpu")
    metrics = {"ap": None, "ap50": 0.25}
    recipe = {"batch": 16, "schedule": {"epochs": 50}, "augment": {"crop": 0.4, "flip": 0.0}}
    whole = replace(det.checkpoint(), step=1200, metrics=metrics, recipe=recipe)
    checkpoint.save(tmp_path / "a.safetensors", whole)
    _, text = edgewise("info", tmp_path / "a.safetensors")
    assert "tiny, 64x96 (height x width)" in text
    assert "2: [bold], cat" in text
    assert "1,200 steps" in text
    assert "schedule.epochs 50, batch 16, augment.crop 0.4; " in text
    assert "AP –, AP50 0.250, AP75 –" in text


def test_from_a_folder_to_a_picture(
    edgewise: Edgewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train a published size on scenes of three splits, go on, evaluate, predict, look inside."""
    read: list[Path] = []
    parse = coco._File._parse
    monkeypatch.setattr(coco._File, "_parse", lambda file: read.append(file.path) or parse(file))
    data, run = tmp_path / "my scenes", tmp_path / "run"
    sizes = {"train": 4, "val": 2, "test": 2}
    write_coco(data, [SceneDataset(count, split=split, size=(96, 96)) for split, count in sizes.items()])
    (tmp_path / "run.yaml").write_text("schedule: {epochs: 1, plain_epochs: 0, warmup_steps: 0}\n")
    words = ["train", data, "--model", "n", "--size", "64", "--batch", "2", "--out", run, "--device", "cpu"]
    words += ["--settings", tmp_path / "run.yaml", "--set", "workers=0", "--set", "denoising.queries=4"]

    code, text = edgewise(*words)
    assert code == 0
    assert sorted(path.parent.name for path in read) == ["test", "train", "val"]  # each once
    result = json.loads((run / "result.json").read_text())
    assert list(result)[:8] == ["ap", "ap50", "split", "minutes", "epochs", "size", "start", "command"]
    assert (result["split"], result["epochs"], result["size"]) == ("test", 1, [64, 64])
    assert 0 <= result["ap"] <= result["ap50"] <= 1
    assert result["command"].startswith(f"edgewise train '{data}' --model n --size 64")
    assert {"commit", "torch", "python"} <= set(result)
    assert "on the test split after" in text
    files = {path.name for path in run.iterdir()}
    assert {"best.safetensors", "last.state", "results.png", "settings.yaml", "tensorboard", "test"} <= files

    assert edgewise(*words)[1].endswith(
        "already holds a run; continue it with resume, or choose another folder"
    )
    assert "schedule.epochs: 1 before, 2 now" in edgewise(*words, "--epochs", "2", "--resume")[1]
    assert edgewise(*words, "--resume")[0] == 0

    best = run / "best.safetensors"
    code, text = edgewise(
        "evaluate", best, data, "--split", "test", "--out", tmp_path / "test", "--device", "cpu"
    )
    assert code == 0
    metrics = json.loads((tmp_path / "test/metrics.json").read_text())
    assert metrics["ap"] == pytest.approx(result["ap"], abs=1e-6)
    code, text = edgewise("predict", best, data / "test", "--out", tmp_path / "found", "--threshold", "0.01")
    assert code == 0
    assert len(list((tmp_path / "found").glob("*.jpg"))) == 2
    code, text = edgewise("info", best)
    assert code == 0
    assert ", ".join(CLASS_NAMES) in text
    assert "2 steps" in text
