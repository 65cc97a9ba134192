"""What is checked before the first epoch, so that a fault is heard of now and not after a night.

Nothing here changes the run: probes train copies, and random streams are left where they were.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from edgewise.config import DenoisingConfig, TrainConfig
from edgewise.data.custom import Transform
from edgewise.data.loader import TrainLoader
from edgewise.device import resolve_device
from edgewise.evaluation.run import AnnotatedImages
from edgewise.model import DFine
from edgewise.processes import ALONE, Processes
from edgewise.structures import Batch
from edgewise.train import schedule
from edgewise.train.batch_picture import batch_picture
from edgewise.train.datacheck import (
    Finding,
    Verdict,
    boxes_by_class,
    check_annotated_boxes,
    check_classes,
    check_ground_truth,
    check_targets,
)
from edgewise.train.memory import check_memory
from edgewise.train.probe import Probe, some_of

PROBE_STEPS = 10
PROBE_IMAGES = {"cuda": 16}  # of the first batch; elsewhere 4
LEAST_DROP = 0.002  # of the loss, in ten steps; a healthy start loses 3 % or more, chance moves 0.1 %

MARKS: dict[Verdict, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "skipped": ("–", "dim"),
}


@dataclass(frozen=True)
class Check:
    """One line before epoch 1."""

    name: str
    verdict: Verdict
    text: str
    seconds: float


def run_selfchecks(
    model: DFine,
    train_set: AnnotatedImages,
    val_set: AnnotatedImages | None,
    config: TrainConfig,
    folder: Path,
    console: Console,
    *,
    transform: Transform | None = None,
    processes: Processes = ALONE,
) -> tuple[Check, ...]:
    """All checks in their order, each printed as it ends; ValueError, naming the check, stops the run.

    Writes `first_batch.png` and `selfcheck.json` into `folder`. Every one of several processes checks, the
    main one alone speaks and writes. `model` is on any device and stays as it is.
    """
    checks: list[Check] = []
    device = resolve_device(config.device)
    devices = [device] if device.type == "cuda" else []
    size, decoder = config.size, model.config.decoder
    began = time.perf_counter()
    quiet = console if processes.main else Console(quiet=True)
    quiet.print("self-checks before the first epoch", style="bold")

    def check(name: str, find: Callable[[], Finding]) -> None:
        started = time.perf_counter()
        try:
            with quiet.status(f"self-check of {name}"):
                found = find()
        except ValueError as error:
            raise ValueError(f"self-check of {name}: {error}") from error
        checks.append(Check(name, found.verdict, found.text, round(time.perf_counter() - started, 2)))
        quiet.print(_line(checks[-1]))

    with torch.random.fork_rng(devices=devices):
        check("classes", lambda: check_classes(train_set, val_set))
        check("training boxes", lambda: check_annotated_boxes(train_set, size))
        if val_set is None:
            check(
                "validation boxes", lambda: Finding("skipped", "no validation split: the last epoch is best")
            )
        else:
            check("validation boxes", lambda: check_annotated_boxes(val_set, size))
        scored, split = (train_set, "training") if val_set is None else (val_set, "validation")
        check(
            "ground truth",
            lambda: check_ground_truth(scored, split, train_set.class_names, decoder, size),
        )
        batch = first_batch(train_set, config, transform, processes)
        picture = folder / "first_batch.png" if processes.main else None
        check("first batch", lambda: check_first_batch(batch, train_set.class_names, picture))
        check("memory", lambda: check_memory(model, train_set, config, device, processes.count))
        check("overfit probe", lambda: check_learning(model, batch, config, device))
    if processes.main:
        _write_report(folder / "selfcheck.json", checks, train_set)
    quiet.print(
        f"{len(checks)} self-checks in {time.perf_counter() - began:.1f} s; what the model will see: "
        f"{folder / 'first_batch.png'}",
        markup=False,
        highlight=False,
    )
    return tuple(checks)


def _write_report(path: Path, checks: Sequence[Check], train_set: AnnotatedImages) -> None:
    """The checks and the class map as JSON."""
    classes = [
        {"label": label, "name": name, "category_id": category, "training_boxes": count}
        for label, (category, (name, count)) in enumerate(
            zip(train_set.category_ids, boxes_by_class(train_set).items(), strict=True)
        )
    ]
    report = {"checks": [asdict(one) for one in checks], "classes": classes}
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _line(check: Check) -> Text:
    mark, style = MARKS[check.verdict]
    line = Text(f"{mark} ", style=style)
    line.append(f"{check.name}: ", style="bold")
    line.append(check.text, style="default")
    return line.append(f" ({check.seconds:.1f} s)", style="dim")


# ── checks of the first batch ──────────────────────────────────────────────────────────────────────


def first_batch(
    train_set: AnnotatedImages, config: TrainConfig, transform: Transform | None, processes: Processes = ALONE
) -> Batch:
    """The very batch, or this process' part of it, that the first step will get."""
    here = config.updated({"workers": 0})
    loader = TrainLoader(train_set, here, transform, processes)
    moment = schedule.at(config, 0, loader.steps_per_epoch)
    return next(loader.batches(0, 0, moment.strong, moment.dense))


def check_first_batch(batch: Batch, class_names: tuple[str, ...], path: Path | None) -> Finding:
    """Draws the batch to `path`, from its tensors, and checks the units of its boxes.

    Raises ValueError where they are no fractions of the image; the picture is there all the same.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        batch_picture(batch, class_names).save(path)
    return check_targets(batch.targets)


def check_learning(model: DFine, batch: Batch, config: TrainConfig, device: torch.device) -> Finding:
    """Whether ten steps at the full rate, with one noise, lower a copy's loss on images of the batch.

    What counts are the terms of the denoising queries: their matches stay, so that they fall step by step,
    where the others jump whenever the encoder chooses other queries or the matching pairs them anew, as it
    does at the start. A run without denoising is probed with it, one with a teacher without it. Raises
    ValueError with the losses where these terms rise or stay exactly as they were; where they hardly fall,
    that is a warning.
    """
    full = [index for index, count in enumerate(batch.targets.counts) if count]
    if not full:
        return Finding("skipped", "the first batch has no boxes")
    few = some_of(batch, full[: PROBE_IMAGES.get(device.type, 4)])
    queries = config.denoising.queries or DenoisingConfig().queries
    alone = {"accumulate": 1, "denoising.queries": queries, "distill.teacher": None}
    probe = Probe(model, config.updated(alone), (), device)
    rate = (
        f"{PROBE_STEPS} steps at the full rate of {config.optimizer.lr:.1e} on {len(few.images)} fixed images"
    )
    try:
        terms = [probe.step(few) for _ in range(PROBE_STEPS + 1)]
    except FloatingPointError as error:
        raise ValueError(f"{rate}, {error}. {_CAUSES}") from error
    losses = [math.fsum(value for name, value in one.items() if "/dn/" in name) for one in terms]
    course = f"{losses[0]:.2f} → {losses[-1]:.2f} in the denoising queries"
    if len(set(losses)) == 1:
        raise ValueError(f"{rate} left the loss as it was, {course}: no weight moves. {_CAUSES}")
    if losses[-1] > (1 + LEAST_DROP) * losses[0]:
        every = ", ".join(f"{one:.3f}" for one in losses)
        raise ValueError(f"{rate} did not lower the loss, {course} ({every}). {_CAUSES}")
    text = f"{rate}: loss {math.fsum(terms[0].values()):.2f} → {math.fsum(terms[-1].values()):.2f}, {course}"
    if losses[-1] > (1 - LEAST_DROP) * losses[0]:
        return Finding("warning", f"{text}; that is hardly any: is the rate too low (--lr find)?")
    return Finding("ok", text)


_CAUSES = (
    "Is the rate too high or far too low (--lr find tells), are the weights broken, do the boxes not belong "
    "to the images (see first_batch.png)?"
)
