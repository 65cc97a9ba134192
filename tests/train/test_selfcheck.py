"""The checks before epoch 1 as a whole: their lines, what stops a run, and that they leave no trace."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from edgewise.config import TrainConfig
from edgewise.data.scenes import SceneDataset
from edgewise.processes import Processes
from edgewise.sample import Sample
from edgewise.train.selfcheck import Check, check_learning, first_batch, run_selfchecks
from tests.train.tiny import Patches, settings, tiny_config, tiny_model, trainer

CPU = torch.device("cpu")
NAMES = [
    "classes",
    "training boxes",
    "validation boxes",
    "ground truth",
    "first batch",
    "memory",
    "overfit probe",
]


def checks(folder: Path, **given: Any) -> tuple[tuple[Check, ...], str]:
    """What `run_selfchecks` returns and prints for the tiny model on Patches."""
    out = io.StringIO()
    arguments: dict[str, Any] = {
        "model": tiny_model(),
        "train_set": Patches(),
        "val_set": Patches(3),
        "config": settings(),
        "folder": folder,
        "console": Console(file=out, width=400),
    } | given
    return run_selfchecks(**arguments), out.getvalue()


def test_ten_lines_say_what_was_checked(tmp_path: Path) -> None:
    found, text = checks(tmp_path / "run")
    assert [one.name for one in found] == NAMES
    assert {one.verdict for one in found} <= {"ok", "skipped"}  # memory is not measured everywhere
    lines = text.splitlines()
    assert len(lines) <= 10
    assert all(f"{name}: " in line for name, line in zip(NAMES, lines[1:], strict=False))
    assert "✓ ground truth: " in text
    assert "AP 1.000" in text
    assert re.search(
        r"10 steps at the full rate of 1.0e-03 on 2 fixed images: loss \d+\.\d+ → \d+\.\d+", text
    )
    report = json.loads((tmp_path / "run/selfcheck.json").read_text(encoding="utf-8"))
    assert [one["text"] for one in report["checks"]] == [one.text for one in found]
    assert report["classes"][1] == {"label": 1, "name": "green", "category_id": 2, "training_boxes": 5}
    with Image.open(tmp_path / "run/first_batch.png") as picture:
        assert picture.width > 600


def test_scenes_pass_with_a_model_of_their_classes(tmp_path: Path) -> None:
    scenes = SceneDataset(6, size=(96, 96))
    model = tiny_model(config=tiny_config(len(scenes.class_names)))
    found, _ = checks(tmp_path, model=model, train_set=scenes, val_set=SceneDataset(3, split="val"))
    assert {one.verdict for one in found if one.name not in ("memory", "classes")} == {"ok"}


def test_without_validation_the_training_boxes_are_scored(tmp_path: Path) -> None:
    found, text = checks(tmp_path, val_set=None)
    assert [one.verdict for one in found if one.name == "validation boxes"] == ["skipped"]
    assert "training images scored as predictions: AP 1.000" in text


def test_a_run_after_the_checks_is_the_run_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)
    losses = []
    for name in ("with", "without"):
        torch.manual_seed(3)
        run = trainer(tmp_path / name, settings(schedule__epochs=1))
        before = torch.get_rng_state()
        if name == "with":
            checks(tmp_path / name, model=run.model)
        assert torch.equal(torch.get_rng_state(), before)
        losses.append([one.losses for one in run.steps()])
    assert losses[0] == losses[1]


def test_one_process_of_several_speaks_and_all_check(tmp_path: Path) -> None:
    found, text = checks(tmp_path, processes=Processes(rank=1, count=2))
    assert [one.name for one in found] == NAMES
    assert text == ""
    assert not list(tmp_path.iterdir())


# ── what stops ─────────────────────────────────────────────────────────────────────────────────────


class Pixels(Patches):
    """Boxes ten times as large as their images are, and as they are annotated."""

    @property
    def annotations(self) -> dict[str, Any]:
        return Patches(self.count).annotations

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, boxes_xyxy=sample.boxes_xyxy * 10)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            {"val_set": Patches(3, background=1)},
            "self-check of classes: none of the 3 images of the validation split has a box: AP is undefined",
            id="negatives only",
        ),
        pytest.param(
            {"train_set": Patches(0)},
            "self-check of classes: the training split has no images",
            id="nothing to train on",
        ),
        pytest.param(
            {"train_set": Pixels(), "val_set": None},
            "self-check of ground truth: the training split's own boxes, scored as predictions, give AP",
            id="samples in other units than annotations",
        ),
        pytest.param(
            {"train_set": Pixels()},
            r"self-check of first batch: \d+ of \d+ boxes of the first batch leave their image",
            id="boxes in pixels of another image",
        ),
        pytest.param(
            {"model": tiny_model().requires_grad_(False)},
            "self-check of memory: no weight of the model trains: all are frozen",
            id="all frozen",
        ),
    ],
)
def test_a_fault_stops_with_its_reason(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        checks(tmp_path, **given)


def test_the_picture_of_a_batch_that_stops_is_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first batch"):
        checks(tmp_path, train_set=Pixels())
    assert (tmp_path / "first_batch.png").exists()


# ── the probe ──────────────────────────────────────────────────────────────────────────────────────


def learning(config: TrainConfig, model: Any = None) -> str:
    model = model or tiny_model()
    return check_learning(model, first_batch(Patches(), config, None), config, CPU).text


def test_a_model_that_cannot_move_stops() -> None:
    """Clipped to nothing, the gradient moves no weight."""
    with pytest.raises(ValueError, match=r"left the loss as it was, .*: no weight moves"):
        learning(settings(optimizer__lr=1e-30, optimizer__backbone_lr=1e-30))


def test_a_rate_that_throws_the_model_off_stops() -> None:
    with pytest.raises(ValueError, match=r"did not lower the loss, .*--lr find|is nan|is inf"):
        learning(settings(optimizer__lr=30.0, optimizer__backbone_lr=30.0))


def test_broken_weights_stop() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.encoder.get_parameter(next(name for name, _ in model.encoder.named_parameters())).fill_(
            torch.nan
        )
    with pytest.raises(ValueError, match=r"on 2 fixed images, step 0: .* is nan"):
        learning(settings(), model)


def test_a_loss_that_hardly_moves_is_a_warning() -> None:
    config = settings(optimizer__lr=1e-6, optimizer__backbone_lr=1e-6)
    found = check_learning(tiny_model(), first_batch(Patches(), config, None), config, CPU)
    assert found.verdict == "warning"
    assert "hardly any: is the rate too low" in found.text
