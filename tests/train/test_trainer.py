"""Training runs of seconds: reproducible, resumable, learning, and saying what stopped them."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgewise import checkpoint
from edgewise.checkpoint import own
from edgewise.config import TrainConfig, read_settings
from edgewise.data.loader import Job, build_batch
from edgewise.model import DFine
from edgewise.structures import Batch
from edgewise.train.curves import LOSSES
from edgewise.train.learner import Learner, placed
from edgewise.train.meter import EpochMeter, StepReport
from edgewise.train.state import read_state
from edgewise.train.step import Descent, descend
from edgewise.train.trainer import Trainer
from tests.train.tiny import NAMES, Patches, settings, tiny_config, tiny_model, trainer


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves take longer than the epochs here; one test below draws them."""
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)


def exact(report: StepReport) -> tuple[int, dict[str, float], float]:
    """All of a report but its times."""
    return report.step, report.losses, report.grad_norm


def take(steps: Iterator[StepReport], count: int) -> list[StepReport]:
    """The next `count` of them, as Ctrl-C would leave a run."""
    return [next(steps) for _ in range(count)]


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in ("epoch", "step", "lr", "loss", "best")}


@dataclass(frozen=True)
class Scored:
    """A validation that found `ap`."""

    ap: float

    def to_dict(self) -> dict[str, Any]:
        value = None if math.isnan(self.ap) else self.ap
        return {"ap": value, "ap50": value, "ap75": value}


def scores(*aps: float) -> Callable[[DFine], Scored]:
    """A validation with these answers, one after the other."""
    answers = iter(aps)
    return lambda model: Scored(next(answers))


@pytest.fixture
def no_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that count and change nothing, for tests of what happens around them."""

    def count(self: Trainer, batch: Batch) -> Descent:
        self.step += 1
        return Descent({"vfl/0": 1.0}, 1.0)

    monkeypatch.setattr(Trainer, "_update", count)


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs whose end writes metrics alone."""
    monkeypatch.setattr(Trainer, "save_state", lambda self: None)
    monkeypatch.setattr("edgewise.checkpoint.save", lambda path, checkpoint: None)


# ── the same run twice ─────────────────────────────────────────────────────────────────────────────


def test_two_runs_with_one_seed_have_equal_losses(tmp_path: Path) -> None:
    runs = [
        [exact(one) for one in take(trainer(tmp_path / name, data=Patches(40)).steps(), 20)] for name in "ab"
    ]
    assert runs[0] == runs[1]
    assert [step for step, *_ in runs[0]] == list(range(20))


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    first, second = (
        take(trainer(tmp_path / str(seed), settings(seed=seed)).steps(), 1)[0].losses for seed in (0, 1)
    )
    assert first != second


@dataclass(frozen=True)
class Whole:
    """A run that was never stopped: two epochs of three steps."""

    reports: list[StepReport]
    history: list[dict[str, Any]]
    average: dict[str, Tensor]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)
        run = trainer(tmp_path_factory.mktemp("whole"))
        reports = list(run.steps())
    return Whole(reports, run.history, dict(run.average.model.state_dict()))


@pytest.mark.parametrize(
    ("steps", "saved", "workers", "workers_after"),
    [
        pytest.param(2, True, 0, 0, id="within an epoch"),
        pytest.param(3, True, 0, 0, id="after an epoch's last step, before its end"),
        pytest.param(4, False, 0, 0, id="killed: from the last epoch's end"),
        pytest.param(5, True, 2, 2, id="within an epoch, two workers"),
        pytest.param(3, True, 2, 2, id="after an epoch's last step, two workers"),
        pytest.param(1, True, 2, 0, id="other workers afterwards"),
    ],
)
def test_a_stopped_run_goes_on_as_if_it_never_stopped(
    whole: Whole, steps: int, saved: bool, workers: int, workers_after: int, tmp_path: Path
) -> None:
    stopped = trainer(tmp_path, settings(workers=workers))
    before = take(stopped.steps(), steps)
    if saved:
        stopped.save_state()

    resumed = trainer(tmp_path, settings(workers=workers_after), model=tiny_model(seed=5), resume=True)
    began = resumed.step
    after = list(resumed.steps())

    assert began == (steps if saved else 3)
    assert [exact(one) for one in before[:began] + after] == [exact(one) for one in whole.reports]
    assert [timeless(one) for one in resumed.history] == [timeless(one) for one in whole.history]
    average = resumed.average.model.state_dict()
    assert all(torch.equal(average[key], value) for key, value in whole.average.items())


def test_the_minutes_before_a_stop_are_counted_and_those_of_the_pause_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("edgewise.train.trainer.time.perf_counter", lambda: now)
    stopped = trainer(tmp_path)
    now += 600
    stopped.save_state()
    now += 6000
    resumed = trainer(tmp_path, resume=True)
    now += 60
    assert resumed.minutes == pytest.approx(11)


def test_a_finished_run_has_nothing_left_to_do(no_updates: None, tmp_path: Path) -> None:
    run = trainer(tmp_path, settings(schedule__epochs=1))
    list(run.steps())
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert list(trainer(tmp_path, settings(schedule__epochs=1), resume=True).steps()) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


# ── learning ───────────────────────────────────────────────────────────────────────────────────────

STILL = {
    "augment__photometric": 0,
    "augment__zoom_out": 0,
    "augment__crop": 0,
    "augment__flip": 0,
    "augment__multi_scale": 0,
}


def test_twenty_steps_on_four_images_drive_the_loss_down(no_files: None, tmp_path: Path) -> None:
    rates = {"optimizer__lr": 4e-3, "optimizer__backbone_lr": 4e-3, "schedule__warmup_steps": 2}
    config = settings(schedule__epochs=20, batch=4, **rates, **STILL)
    totals = [report.total for report in trainer(tmp_path, config, data=Patches(4)).steps()]
    assert len(totals) == 20
    assert sum(totals[-3:]) / 3 < 0.9 * totals[0]  # 0.69 to 0.80 with three seeds


@pytest.mark.parametrize(
    ("data", "batch"),
    [
        pytest.param(Patches(4, background=1), 2, id="nothing but background"),
        pytest.param(Patches(2, background=0.5), 1, id="a batch of background beside another"),
        pytest.param(Patches(4, background=0.5), 4, id="background within a batch"),
    ],
)
def test_images_without_objects_train_with_finite_losses(data: Patches, batch: int, tmp_path: Path) -> None:
    config = settings(batch=batch, schedule__epochs=2, **STILL)
    run = trainer(tmp_path, config, data=data)
    reports = list(run.steps())
    assert all(math.isfinite(value) for one in reports for value in one.losses.values())
    assert len({tuple(one.losses) for one in reports}) == 1  # the same names with and without objects
    assert all(one.grad_norm > 0 for one in reports)
    if data.background == 1:
        assert all(one.by_kind()["l1"] == 0 < one.by_kind()["cls"] for one in reports)
    assert all(value.isfinite().all() for value in run.average.model.state_dict().values())


def test_bfloat16_takes_a_finite_step_and_keeps_float32_weights(tmp_path: Path) -> None:
    run = trainer(tmp_path, settings(precision="bfloat16"))
    (half,) = take(run.steps(), 1)
    (full,) = take(trainer(tmp_path / "full").steps(), 1)
    assert math.isfinite(half.total)
    assert half.losses != full.losses
    assert half.total == pytest.approx(full.total, rel=0.1)
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}


def test_the_rate_is_that_of_the_schedule(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    rates = [run.lr for _ in run.steps()]
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3])
    assert [line["lr"] for line in run.history] == [rates[2], rates[5]]
    assert {group["lr"] for group in run.learner.optimizer.param_groups} == {1e-3, 1e-4}


# ── every knob ─────────────────────────────────────────────────────────────────────────────────────

KNOBS: dict[str, Any] = {
    "schedule.epochs": 3,
    "schedule.warmup_steps": 0,
    "schedule.flat": 0.25,
    "schedule.final_lr": 0.5,  # with a flat part of a quarter
    "schedule.plain_epochs": 2,
    "schedule.ema_decay": 0.5,
    "schedule.ema_warmup_steps": 0,
    "schedule.patience": 1,
    "optimizer.kind": "muon",
    "optimizer.lr": 2e-3,
    "optimizer.backbone_lr": 2e-3,
    "optimizer.weight_decay": 0.1,
    "optimizer.clip_norm": 1e-7,
    "loss.classification": "mal",
    "loss.vfl": 2.0,
    "loss.l1": 1.0,
    "loss.giou": 1.0,
    "loss.fgl": 1.0,
    "loss.ddf": 0.0,
    "loss.alpha": 0.5,
    "loss.gamma": 1.0,
    "loss.mal_gamma": 1.0,
    "loss.temperature": 1.0,
    "loss.matching.class_cost": 1000.0,
    "loss.matching.l1_cost": 0.0,
    "loss.matching.giou_cost": 1000.0,
    "loss.matching.alpha": 0.0,
    "loss.matching.gamma": 1000.0,
    "denoising.queries": 0,
    "denoising.label_noise": 1.0,
    "denoising.box_noise": 0.4,
    "augment.photometric": 0.0,
    "augment.zoom_out": 0.0,
    "augment.max_zoom": 1.5,
    "augment.crop": 0.0,
    "augment.flip": 0.0,
    "augment.vertical_flip": 1.0,
    "augment.multi_scale": 0.5,
    "augment.base_size_weight": 1,
    "dense.mosaic": 1.0,
    "dense.mixup": 1.0,
    "dense.copy_blend": 1.0,
    "dense.begin": 0.0,
    "dense.end": 1.0,
    "distill.teacher": "teacher.safetensors",  # in the folder of the run
    "distill.weight": 2.0,
    "distill.temperature": 1.0,
    "size": (96, 64),
    "batch": 4,
    "accumulate": 2,
    "repeat_factor": 1.0,
    "freeze": ("backbone",),
    "recompute": True,
    "max_skipped": 1,
    "loggers": (),
    "workers": 1,
    "validate_every": 2,
    "seed": 3,
    "device": "auto",
    "precision": "bfloat16",
}
# These change where and when things happen, not what is learnt.
SILENT = {"schedule.patience", "recompute", "max_skipped", "loggers", "workers", "validate_every"} | (
    {"device"} if not torch.cuda.is_available() else set()
)
TEACHER = {"distill.teacher": KNOBS["distill.teacher"]}
MOSAIC = {"schedule.plain_epochs": 0, "dense.mosaic": 1.0}
DENSE = {"schedule.plain_epochs": 0, "dense.begin": 0.0, "dense.end": 1.0}
WITH = {  # what gives a knob something to do
    "loss.mal_gamma": {"loss.classification": "mal"},
    "dense.mosaic": DENSE,
    "dense.mixup": DENSE,
    "dense.copy_blend": DENSE,
    "dense.begin": MOSAIC,
    "dense.end": MOSAIC,
    "distill.weight": TEACHER,
    "distill.temperature": TEACHER,
    "accumulate": {"augment.multi_scale": 0.0},
    "schedule.final_lr": {"schedule.flat": 0.25},
    "loss.matching.alpha": {"loss.matching.class_cost": 1000.0},
    "loss.matching.gamma": {"loss.matching.class_cost": 1000.0},
    "augment.multi_scale": {"schedule.plain_epochs": 0, "augment.base_size_weight": 1},
    "augment.base_size_weight": {"schedule.plain_epochs": 0, "augment.multi_scale": 0.5},
}


def leaves(values: dict[str, Any], section: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{section}{key}.")
        else:
            yield f"{section}{key}"


def test_the_list_of_knobs_is_complete() -> None:
    assert list(KNOBS) == list(leaves(TrainConfig().model_dump()))


def fingerprint(folder: Path, changes: dict[str, Any]) -> tuple[Any, ...]:
    """What a run of two steps in each of two epochs computes."""
    base = settings().updated({"augment.multi_scale": 0.25})
    if "distill.teacher" in changes:
        path = folder / changes["distill.teacher"]
        teacher = tiny_model(seed=3)
        own.save(path, checkpoint.Checkpoint(teacher.config, teacher.state_dict(), NAMES))
        changes = changes | {"distill.teacher": str(path)}
    run = trainer(folder, base.updated(changes), data=Patches(4))
    reports = [exact(one) for one in run.steps()]
    average = run.average.model.state_dict()
    return (
        reports,
        average["decoder.enc_bbox_head.layers.2.weight"],
        average["backbone.stem.stem1.conv.weight"],
    )


@pytest.fixture(scope="module")
def fingerprints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """`fingerprint`, of equal changes only once, and without writing files."""
    known: dict[str, tuple[Any, ...]] = {}
    folder = tmp_path_factory.mktemp("knobs")

    def of(changes: dict[str, Any]) -> tuple[Any, ...]:
        key = json.dumps(changes)
        if key not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Trainer, "save_state", lambda self: None)
                patch.setattr("edgewise.checkpoint.save", lambda path, checkpoint: None)
                known[key] = fingerprint(folder, changes)
        return known[key]

    return of


def test_all_knobs_turned_at_once_train(tmp_path: Path) -> None:
    reports, *weights = fingerprint(tmp_path, KNOBS)
    assert len(reports) >= 3  # more where rare classes are repeated
    assert all(weight.isfinite().all() for weight in weights)


@pytest.mark.slow
@pytest.mark.parametrize("knob", KNOBS)
def test_every_knob_does_something(
    knob: str, fingerprints: Callable[[dict[str, Any]], tuple[Any, ...]]
) -> None:
    context = WITH.get(knob, {})
    turned, before = fingerprints(context | {knob: KNOBS[knob]}), fingerprints(context)
    same = turned[0] == before[0] and all(
        torch.equal(a, b) for a, b in zip(turned[1:], before[1:], strict=True)
    )
    assert same == (knob in SILENT)


# ── files ──────────────────────────────────────────────────────────────────────────────────────────

RUN_FILES = {
    "best.safetensors",
    "last.safetensors",
    "last.state",
    "metrics.jsonl",
    "results.png",
    "settings.yaml",
}


def test_what_a_run_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # with its picture
    folder, config = tmp_path / "runs/a", settings(size=(96, 64))
    run = trainer(folder, config, validate=scores(0.2, 0.1))
    lines: list[dict[str, Any]] = []
    list(run.steps(lines.append))

    assert {path.name for path in folder.iterdir()} == RUN_FILES
    assert read_settings(TrainConfig, folder / "settings.yaml") == config
    written = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    assert written == lines == run.history
    assert [line["epoch"] for line in written] == [1, 2]
    assert [line["step"] for line in written] == [3, 6]
    assert [line["best"] for line in written] == [True, False]
    assert [line["val"]["ap"] for line in written] == [0.2, 0.1]
    for line in written:
        assert set(line["loss"]) == set(LOSSES)
        assert line["images_per_s"] > 0
        assert 0 <= line["wait_share"] <= 1
        assert line["val_s"] >= 0

    best, last = (checkpoint.load(folder / f"{name}.safetensors") for name in ("best", "last"))
    assert (best.step, last.step) == (3, 6)
    for one, ap in ((best, 0.2), (last, 0.1)):
        assert one.class_names == NAMES
        assert one.category_ids == (5, 2, 9)
        assert one.config == tiny_config().updated({"size": (96, 64)})
        assert one.recipe == config.model_dump(mode="json")
        assert one.metrics == {"ap": ap, "ap50": ap, "ap75": ap}
    average = run.average.model.state_dict()
    assert all(torch.equal(value, average[key]) for key, value in last.weights.items())


@pytest.mark.parametrize(
    ("aps", "every", "flags", "best_step"),
    [
        pytest.param([0.1, 0.3, 0.2], 1, [True, True, False], 2, id="the highest AP"),
        pytest.param([0.2, 0.2, 0.2], 1, [True, False, False], 1, id="the first of equals"),
        pytest.param([0.0, 0.0, 0.0], 1, [True, False, False], 1, id="AP of zero"),
        pytest.param([0.4, 0.1], 2, [False, True, False], 2, id="every second epoch and the last"),
        pytest.param([math.nan] * 3, 1, [False, False, True], 3, id="undefined: the last"),
        pytest.param([math.nan, 0.1, math.nan], 1, [False, True, False], 2, id="sometimes undefined"),
        pytest.param(None, 1, [False, False, True], 3, id="without validation: the last"),
    ],
)
def test_the_best_weights_are_those_with_the_highest_ap(
    aps: list[float] | None,
    every: int,
    flags: list[bool],
    best_step: int,
    no_updates: None,
    tmp_path: Path,
) -> None:
    config = settings(schedule__epochs=3, validate_every=every, batch=6)  # one step an epoch
    run = trainer(tmp_path, config, validate=None if aps is None else scores(*aps))
    list(run.steps())
    assert [line["best"] for line in run.history] == flags
    assert checkpoint.load(tmp_path / "best.safetensors").step == best_step


def test_the_best_so_far_survives_a_resumption(no_updates: None, tmp_path: Path) -> None:
    config = settings(schedule__epochs=2, batch=6)
    take(trainer(tmp_path, config, validate=scores(0.5)).steps(), 2)  # one epoch and a step
    resumed = trainer(tmp_path, config, validate=scores(0.4), resume=True)
    list(resumed.steps())
    assert [line["best"] for line in resumed.history] == [True, False]
    assert checkpoint.load(tmp_path / "best.safetensors").step == 1


def test_validation_sees_the_averaged_weights_in_evaluation_form(no_updates: None, tmp_path: Path) -> None:
    seen: list[DFine] = []

    def validate(model: DFine) -> Scored:
        assert not model.training
        seen.append(model)
        return Scored(0.5)

    run = trainer(tmp_path, settings(schedule__epochs=1), validate=validate)
    list(run.steps())
    assert seen == [run.average.model]
    assert run.model.training


@pytest.mark.parametrize("name", ["best.safetensors", "last.state"])
def test_a_failure_while_writing_leaves_the_old_file(
    name: str, no_updates: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(tmp_path, settings(batch=6), validate=scores(0.1, 0.2))
    steps = run.steps()
    take(steps, 2)
    before = (tmp_path / name).read_bytes()

    def full_disk(content: Any, path: Path, *rest: Any) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(
        *(("edgewise.checkpoint.own.save_file",) if "best" in name else (torch, "save")), full_disk
    )
    with pytest.raises(OSError, match="No space left"):
        list(steps)
    assert (tmp_path / name).read_bytes() == before
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


# ── refusals ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that stopped after its first step."""
    run = trainer(tmp_path_factory.mktemp("begun"))
    take(run.steps(), 1)
    run.save_state()
    return run.folder


def refused(kind: type[Exception], folder: Path, **given: Any) -> str:
    config = given.pop("config", None)
    with pytest.raises(kind) as caught:
        trainer(folder, config, **given)
    return str(caught.value)


def test_a_folder_with_a_run_is_not_overwritten(begun: Path) -> None:
    model = tiny_model().eval()
    files = {path.name: path.read_bytes() for path in begun.iterdir()}
    assert refused(FileExistsError, begun, config=settings(seed=9), model=model) == (
        f"{begun} already holds a run; continue it with resume, or choose another folder"
    )
    assert {path.name: path.read_bytes() for path in begun.iterdir()} == files
    assert not model.training


def test_nothing_to_resume(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    message = refused(FileNotFoundError, folder, resume=True)
    assert message == f"{folder / 'last.state'}: nothing to resume; start the run without resume"
    assert not folder.exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_state_says_so(begun: Path, tmp_path: Path, share: float) -> None:
    whole = (begun / "last.state").read_bytes()
    (tmp_path / "last.state").write_bytes(whole[: int(len(whole) * share)])
    message = refused(ValueError, tmp_path, resume=True)
    assert message.startswith(f"{tmp_path / 'last.state'}: not the state of a run (")
    assert str(tmp_path / "last.safetensors") in message


def test_all_that_makes_it_another_run_is_refused_in_one_list(begun: Path) -> None:
    other = settings(schedule__epochs=3, augment__flip=0.1, loss__matching__l1_cost=1, workers=2)
    data = Patches(8, class_names=("red", "blue", "green"))
    assert refused(ValueError, begun, config=other, data=data, resume=True) == (
        f"{begun / 'last.state'} is of a run with other settings or data:\n"
        "  schedule.epochs: 2 before, 3 now\n"
        "  loss.matching.l1_cost: 5.0 before, 1.0 now\n"
        "  augment.flip: 0.5 before, 0.1 now\n"
        "  classes: ['red', 'green', 'blue'] before, ['red', 'blue', 'green'] now\n"
        "  images: 6 before, 8 now\n"
        "Resume with what it began with (only schedule.patience, recompute, max_skipped, loggers, workers, "
        "validate_every, device may change), or start another run from "
        f"{begun / 'last.safetensors'}"
    )


def test_what_does_not_change_the_learning_may_change(begun: Path) -> None:
    other = settings(
        schedule__patience=3,
        recompute=True,
        max_skipped=1,
        loggers=(),
        workers=1,
        validate_every=2,
        device="auto",
    )
    assert trainer(begun, other, resume=True).step == 1


@dataclass(frozen=True)
class Named(Patches):
    """Pictures that know their annotations' fingerprint."""

    fingerprint: str = "0a1b"


def test_changed_annotations_are_refused(tmp_path: Path) -> None:
    trainer(tmp_path, data=Named()).save_state()
    assert trainer(tmp_path, data=Named(), resume=True).step == 0
    message = refused(ValueError, tmp_path, data=Named(fingerprint="2c3d"), resume=True)
    assert "\n  fingerprint: 0a1b before, 2c3d now\n" in message


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    message = refused(ValueError, tmp_path, config=settings(device="gpu"))
    assert message.startswith("device 'gpu' is not at hand; expected auto or one of cpu")


def test_a_state_holds_plain_values_only(begun: Path) -> None:
    state = read_state(begun)
    assert state["step"] == 1
    assert state["data"] == {"classes": list(NAMES), "images": 6, "fingerprint": None}
    assert TrainConfig.model_validate(state["config"]) == settings()


# ── data that change under a run ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Vanishing(Patches):
    """Pictures of which one is gone once `gone` exists."""

    gone: Path = Path("none")

    def __getitem__(self, index: int) -> Any:
        if self.gone.exists():
            raise FileNotFoundError(f"patches/{index}.png: no such file")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_stops_the_run_with_its_name_and_the_state_saved(
    workers: int, tmp_path: Path
) -> None:
    gone, config = tmp_path / "gone", settings(workers=workers, schedule__epochs=4)
    run = trainer(tmp_path, config, data=Vanishing(gone=gone))
    steps = run.steps()
    take(steps, 2)
    gone.touch()
    with pytest.raises(OSError) as caught:
        list(steps)
    assert re.fullmatch(
        r"patches/\d\.png: no such file; the data has changed under the run, or cannot be read: mend it and "
        rf"resume, {re.escape(str(tmp_path))} is saved as of step {run.step}",
        str(caught.value),
    )
    assert read_state(tmp_path)["step"] == run.step > 1
    gone.unlink()
    assert take(trainer(tmp_path, config, resume=True).steps(), 1)[0].step == run.step


def test_a_first_batch_that_cannot_be_read_leaves_no_run(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    run = trainer(tmp_path / "run", data=Vanishing(gone=tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match=r"^patches/\d\.png: no such file$"):
        next(run.steps())
    assert not (tmp_path / "run/last.state").exists()


# ── stopping early, freezing, passes ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("aps", "patience", "best_step", "more"),
    [
        pytest.param([0.1, 0.3, 0.2, 0.3, 0.25], 3, 2, 1, id="three validations after the best"),
        pytest.param([0.1, 0.3, 0.2, 0.4, 0.2, 0.2], 3, 4, 0, id="a better one begins anew"),
        pytest.param([0.3, 0.2, 0.1, 0.2, 0.2, 0.2], 0, 1, 0, id="never"),
        pytest.param([math.nan, math.nan], 2, 2, 4, id="undefined: the last is the best so far"),
    ],
)
def test_a_run_out_of_patience_stops_and_with_more_of_it_goes_on(
    aps: list[float], patience: int, best_step: int, more: int, no_updates: None, tmp_path: Path
) -> None:
    config = settings(schedule__epochs=6, schedule__patience=patience, batch=6)  # one step an epoch
    run = trainer(tmp_path, config, validate=scores(*aps))
    list(run.steps())
    assert len(run.history) == len(aps)
    assert run.stopped_early == (len(aps) < 6)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(aps)
    assert checkpoint.load(tmp_path / "best.safetensors").step == best_step
    assert list(trainer(tmp_path, config, validate=scores(), resume=True).steps()) == []
    patient = config.updated({"schedule.patience": patience + 1})
    again = trainer(tmp_path, patient, validate=scores(*[0.0] * 6), resume=True)
    assert len(list(again.steps())) == more


def test_frozen_parts_keep_weights_statistics_and_their_place_outside_the_optimizer(tmp_path: Path) -> None:
    model = tiny_model()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    run = trainer(tmp_path, settings(freeze=("backbone", "decoder")), model=model)
    take(run.steps(), 2)
    after, average = run.model.state_dict(), run.average.model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(after[name], before[name])}
    assert changed == {"encoder"}
    assert {name.split(".")[0] for name in before if not torch.equal(average[name], before[name])} == changed
    trained = sum(len(group["params"]) for group in run.learner.optimizer.param_groups)
    assert trained == len(list(model.encoder.parameters()))
    assert not model.backbone.training
    assert model.encoder.training


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="freeze names every part; nothing would train"):
        settings(freeze=("backbone", "encoder", "decoder"))


def gradients(model: DFine, config: TrainConfig, batch: Batch) -> tuple[Descent, dict[str, Tensor]]:
    """Of one step whose batch norms are in evaluation mode, which is what passes cannot share."""
    placed(model, torch.device("cpu")).eval()
    found = descend(Learner.of(model, config, NAMES), batch, 0)
    return found, {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_passes_add_up_to_the_step(accumulate: int) -> None:
    model, config = tiny_model(), settings(batch=6, optimizer__clip_norm=1e9)
    batch = build_batch(Job(0, 0, True), Patches(6, background=0.34), config).batch()
    whole, expected = gradients(model, config, batch)
    found, grads = gradients(model, config.updated({"accumulate": accumulate}), batch)
    assert found.losses.keys() == whole.losses.keys()
    assert found.losses == {name: pytest.approx(value, rel=1e-5) for name, value in whole.losses.items()}
    assert found.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert grads.keys() == expected.keys()
    largest = max(float(one.abs().max()) for one in expected.values())
    for name, one in grads.items():
        torch.testing.assert_close(one, expected[name], rtol=1e-3, atol=1e-6 * largest, msg=name)


def test_statistics_count_every_pass_once(tmp_path: Path) -> None:
    run = trainer(tmp_path, settings(accumulate=2, augment__multi_scale=0))
    take(run.steps(), 1)
    tracked = {int(one) for name, one in run.model.state_dict().items() if name.endswith("tracked")}
    assert tracked == {2}


# ── sums ───────────────────────────────────────────────────────────────────────────────────────────


def report(step: int, losses: dict[str, float]) -> StepReport:
    return StepReport(step, losses, grad_norm=1.0, images=4, wait_s=0.5, total_s=2.0)


def test_terms_are_summed_by_kind() -> None:
    one = report(0, {"vfl/0": 1.0, "vfl/encoder": 2.0, "l1/dn/0": 0.5, "ddf/0": 0.25})
    assert one.total == 3.75
    assert one.by_kind() == {"cls": 3.0, "l1": 0.5, "giou": 0, "fgl": 0, "ddf": 0.25}


def test_an_epoch_is_summed_up_by_hand() -> None:
    meter = EpochMeter()
    meter.add(report(0, {"vfl/0": 1.0, "giou/0": 4.0}))
    meter.add(report(1, {"vfl/0": 2.0}))
    assert meter.summary() == {
        "loss": {"cls": 1.5, "l1": 0, "giou": 2.0, "fgl": 0, "ddf": 0},
        "skipped": 0,
        "images_per_s": 2.0,
        "wait_share": 0.25,
        "train_s": 4.0,
    }
    assert EpochMeter(**asdict(meter)) == meter
    assert EpochMeter().summary()["loss"] == dict.fromkeys(LOSSES, 0)


def test_the_trainer_gives_the_model_what_the_loader_makes(tmp_path: Path) -> None:
    """One size and no strong augmentation in the plain epochs, many before."""
    run = trainer(
        tmp_path, settings(schedule__epochs=2, augment__multi_scale=0.5, augment__base_size_weight=1)
    )
    seen: list[tuple[int, ...]] = []
    update = run._update

    def spy(batch: Batch) -> Descent:
        seen.append(tuple(batch.images.shape))
        return update(batch)

    run._update = spy  # type: ignore[method-assign]
    list(run.steps())
    assert {shape[0] for shape in seen} == {2}
    assert {shape[2:] for shape in seen[3:]} == {(64, 64)}
    assert {shape[2:] for shape in seen[:3]} != {(64, 64)}


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    torch.save({"version": 99, "step": 3}, tmp_path / "last.state")
    with pytest.raises(ValueError, match=r"last\.state: a state of version 99.*reads 2.*last\.safetensors"):
        read_state(tmp_path)


def test_a_checkpoint_knows_the_files_it_was_trained_on(tmp_path: Path) -> None:
    class Files(Patches):
        paths = tuple(tmp_path / f"{i}.png" for i in range(6))

    for path in (*Files.paths[:5], tmp_path / "other.png"):  # one is gone, which stops nothing
        path.write_bytes(path.name.encode())
    seen = trainer(tmp_path / "a", data=Files())._checkpoint({}).seen
    assert seen is not None
    assert seen.images == 5
    assert seen.share([Files.paths[0], tmp_path / "other.png"]) == 0.5
    assert trainer(tmp_path / "b")._checkpoint({}).seen is None
