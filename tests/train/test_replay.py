"""Steps that are not finite: skipped, counted, saved, repeated and explained; nothing of them stays."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgewise.structures import Batch, Targets
from edgewise.train.bad_steps import read_bad_step, saved_steps
from edgewise.train.meter import StepReport
from edgewise.train.replay import replay
from edgewise.train.step import Descent
from edgewise.train.trainer import Trainer
from tests.train.tiny import settings, trainer


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)


def everything(run: Trainer) -> dict[str, Tensor]:
    """Weights, statistics, averages and moments, copied."""
    state = {f"model.{name}": one for name, one in run.model.state_dict().items()}
    state |= {f"average.{name}": one for name, one in run.average.model.state_dict().items()}
    for index, moments in run.learner.optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": one for name, one in moments.items()}
    return {name: one.clone() for name, one in state.items()}


def changed(run: Trainer, before: dict[str, Tensor]) -> list[str]:
    after = everything(run)
    assert after.keys() == before.keys()
    return [one for one in after if not torch.allclose(after[one], before[one], 0, 0, equal_nan=True)]


def plant_weight(run: Trainer) -> None:
    with torch.no_grad():
        run.model.decoder.enc_score_head.bias[1] = math.nan


def damaged(run: Trainer, damage: Callable[[Batch], None]) -> None:
    """The next batch, and only that, is changed by `damage`."""
    update, step = run._update, run.step

    def spoilt(batch: Batch) -> Descent:
        if run.step == step:
            damage(batch)
        return update(batch)

    run._update = spoilt  # type: ignore[method-assign]


def plant_box(run: Trainer) -> None:
    damaged(run, lambda batch: batch.targets.boxes[0].fill_(math.nan))


def plant_pixels(run: Trainer) -> None:
    damaged(run, lambda batch: batch.images[1, :, :4, :4].fill_(math.nan))


PLANTED = {
    "a weight": (plant_weight, "weights", "decoder.enc_score_head.bias", "decoder.enc_score_head (Linear)"),
    "a box": (plant_box, "inputs", "a box of patches/", "decoder.query_pos_head.layers.0 (Linear)"),
    "an image": (plant_pixels, "inputs", "the pixels of patches/", "backbone.stem.stem1.conv (Convolution)"),
}


def skipped(folder: Path, plant: Callable[[Trainer], None], **given: object) -> tuple[Trainer, StepReport]:
    """A run whose third step is not finite, and what it reports of it."""
    run = trainer(folder, settings(**given))
    steps = run.steps()
    assert not next(steps).faults
    assert not next(steps).faults
    plant(run)
    before = everything(run)
    report = next(steps)
    assert changed(run, before) == []
    return run, report


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_nan_is_skipped_saved_named_and_repeated(planted: str, tmp_path: Path) -> None:
    plant, where, name, module = PLANTED[planted]
    run, report = skipped(tmp_path, plant)
    assert run.step == 3
    assert run.bad_in_a_row == 1
    assert run.meter.skipped == 1
    assert any(re.fullmatch(r"vfl/\S+ is (nan|inf)", fault) for fault in report.faults)
    assert any("cost of matching" in fault for fault in report.faults)
    assert report.file == tmp_path / "bad_steps/step_2.pt"

    again = replay(report.file)
    assert again.same
    assert again.found.faults == report.faults
    assert all(str(again.found.losses[key]) == str(value) for key, value in report.losses.items())
    assert again.module == module
    assert getattr(again, where)[0].startswith(name)
    assert not getattr(again, {"weights": "inputs", "inputs": "weights"}[where])
    text = "\n".join(again.lines())
    assert name in text
    assert module in text
    assert "the same numbers as in the run" in text
    assert all(path in text for path in again.paths)
    assert len(again.paths) == 2


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"accumulate": 2, "augment__multi_scale": 0}, id="two passes"),
        pytest.param({"recompute": True}, id="recomputed"),
        pytest.param({"precision": "float16"}, id="float16"),
        pytest.param({"precision": "bfloat16"}, id="bfloat16"),
        pytest.param({"freeze": ("backbone",)}, id="a frozen part"),
    ],
)
def test_every_kind_of_step_is_repeated_exactly(given: dict[str, object], tmp_path: Path) -> None:
    _, report = skipped(tmp_path, plant_weight, **given)
    assert report.file is not None
    again = replay(report.file)
    assert again.same
    assert again.weights == ("decoder.enc_score_head.bias",)


def test_a_gradient_that_is_not_finite_is_skipped(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    hook = run.model.decoder.enc_score_head.bias.register_hook(lambda gradient: gradient * math.inf)
    before = everything(run)
    steps = run.steps()
    report = next(steps)
    assert [re.sub("inf|nan", "x", one) for one in report.faults] == ["the gradient's norm is x"]
    assert math.isfinite(report.total)
    assert changed(run, before) == []
    assert run.learner.optimizer.state_dict()["state"] == {}
    hook.remove()
    assert not next(steps).faults
    assert run.bad_in_a_row == 0


@pytest.mark.parametrize(("plant", "dtype"), [(plant_weight, torch.uint8), (plant_pixels, torch.float32)])
def test_images_are_saved_as_bytes_unless_that_would_change_them(
    plant: Callable[[Trainer], None], dtype: torch.dtype, tmp_path: Path
) -> None:
    batches: list[Batch] = []
    run = trainer(tmp_path)
    plant(run)
    damaged(run, batches.append)
    file = next(run.steps()).file
    assert file is not None
    assert torch.load(file, weights_only=True)["images"].dtype == dtype
    read = read_bad_step(file).batch.images
    torch.testing.assert_close(read, batches[0].images, rtol=0, atol=0, equal_nan=True)


def test_an_epoch_counts_what_it_skipped_and_averages_the_rest(tmp_path: Path) -> None:
    run = trainer(tmp_path, settings(schedule__epochs=1))
    steps = run.steps()
    first = next(steps)
    plant_pixels(run)
    assert next(steps).faults
    third = next(steps)
    assert list(steps) == []
    (line,) = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert line["skipped"] == 1
    assert line["loss"] == {
        name: pytest.approx((value + third.by_kind()[name]) / 2) for name, value in first.by_kind().items()
    }


def test_more_than_max_skipped_in_a_row_stop_the_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, settings(max_skipped=2))
    steps = run.steps()
    next(steps)
    plant_weight(run)
    next(steps), next(steps)
    with pytest.raises(FloatingPointError) as caught:
        list(steps)
    file = tmp_path / "bad_steps/step_3.pt"
    assert str(caught.value).startswith("step 3: vfl/encoder is nan, ")
    assert "number 3 in a row" in str(caught.value)
    assert "max_skipped=2" in str(caught.value)
    assert str(caught.value).endswith(f"edgewise replay {file}")
    assert saved_steps(tmp_path) == [tmp_path / "bad_steps/step_2.pt", file]  # no more than max_skipped


def test_the_count_in_a_row_survives_a_resumption(tmp_path: Path) -> None:
    run, _ = skipped(tmp_path, plant_pixels)
    run.save_state()
    resumed = trainer(tmp_path, resume=True)
    assert (resumed.bad_in_a_row, resumed.meter.skipped) == (1, 1)
    next(resumed.steps())
    assert resumed.bad_in_a_row == 0


def test_a_healthy_model_has_no_module_to_name(tmp_path: Path) -> None:
    """The infinite anchors of cells at the border are no fault."""
    _, report = skipped(tmp_path, plant_pixels)
    assert report.file is not None
    content = torch.load(report.file, weights_only=True)
    content["images"] = content["images"].nan_to_num()
    torch.save(content, report.file)
    again = replay(report.file)
    assert (again.module, again.weights, again.inputs, again.gradients) == (None, (), (), ())
    assert not again.same
    assert "other numbers than in the run" in again.lines()[-1]


def test_files_that_are_no_saved_step(tmp_path: Path) -> None:
    path = tmp_path / "step_1.pt"
    with pytest.raises(
        FileNotFoundError, match=r"step_1\.pt: no such file; a run writes bad_steps/step_N\.pt"
    ):
        read_bad_step(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"step_1\.pt: not a saved step \("):
        read_bad_step(path)
    torch.save({"version": 2}, path)
    with pytest.raises(ValueError, match=r"step_1\.pt: not a saved step of version 1"):
        read_bad_step(path)


# ── float16 ────────────────────────────────────────────────────────────────────────────────────────


def test_float16_finds_its_scale_without_counting_bad_steps(tmp_path: Path) -> None:
    run = trainer(tmp_path, settings(precision="float16"))
    run.learner.scaler.load_state_dict(run.learner.scaler.state_dict() | {"scale": 2.0**60})
    before = everything(run)
    steps = run.steps()
    report = next(steps)
    assert not report.faults
    assert not math.isfinite(report.grad_norm)
    assert changed(run, before) == []
    assert run.learner.scaler.get_scale() == 2.0**59
    assert run.bad_in_a_row == 0


def test_float16_trains_and_goes_on_with_its_scale(tmp_path: Path) -> None:
    config = settings(precision="float16")

    def started(folder: Path) -> Trainer:
        run = trainer(folder, config)
        run.learner.scaler.load_state_dict(
            run.learner.scaler.state_dict() | {"scale": 8.0, "growth_interval": 3}
        )
        return run

    whole = started(tmp_path / "whole")
    reports = list(whole.steps())
    assert all(math.isfinite(one.grad_norm) for one in reports)
    assert whole.learner.scaler.get_scale() == 32  # it grew twice

    stopped = started(tmp_path / "stopped")
    steps = stopped.steps()
    for _ in range(4):
        next(steps)
    stopped.save_state()
    resumed = trainer(tmp_path / "stopped", config, resume=True)
    assert resumed.learner.scaler.state_dict() == stopped.learner.scaler.state_dict()
    after = list(resumed.steps())
    assert [one.losses for one in after] == [one.losses for one in reports[4:]]
    assert everything(resumed).keys() == everything(whole).keys()
    assert changed(resumed, everything(whole)) == []


def test_a_gradient_no_scale_can_mend_is_a_bad_step(tmp_path: Path) -> None:
    run = trainer(tmp_path, settings(precision="float16"))
    run.learner.scaler.load_state_dict(run.learner.scaler.state_dict() | {"scale": 2.0})
    run.model.decoder.enc_score_head.bias.register_hook(lambda gradient: gradient * math.nan)
    steps = run.steps()
    assert not next(steps).faults
    assert next(steps).faults == ("the gradient's norm is nan",)
    assert next(steps).faults


def test_a_batch_divides_into_passes() -> None:
    boxes = torch.from_numpy(np.arange(24, dtype=np.float32).reshape(6, 4))
    batch = Batch(
        torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 2, 2),
        Targets(torch.arange(6), boxes, (2, 0, 1, 3, 0)),
        (10, 11, 12, 13, 14),
        first=7,
        paths=("a", "b", "c", "d", "e"),
    )
    first, second = batch.passes(2)
    assert (first.image_ids, second.image_ids) == ((10, 11), (12, 13, 14))
    assert (first.first, second.first) == (7, 9)
    assert (first.paths, second.paths) == (("a", "b"), ("c", "d", "e"))
    assert (first.targets.counts, second.targets.counts) == ((2, 0), (1, 3, 0))
    assert second.targets.labels.tolist() == [2, 3, 4, 5]
    assert torch.equal(second.targets.boxes, boxes[2:])
    assert second.images[:, 0, 0, 0].tolist() == [2, 3, 4]
    assert [part.image_ids for part in batch.passes(9)] == [(10,), (11,), (12,), (13,), (14,)]
