"""One training run: steps, moving average, validation, files, and going on where it stopped."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from edgewise import checkpoint
from edgewise.allocator import keeping_freed_memory
from edgewise.config import TrainConfig, write_settings
from edgewise.data.custom import Transform
from edgewise.data.loader import TrainLoader
from edgewise.device import resolve_device
from edgewise.model import DFine
from edgewise.model.recompute import Statistics, running_statistics
from edgewise.processes import ALONE, Processes
from edgewise.seen import SeenImages
from edgewise.structures import Batch
from edgewise.thresholds import Thresholds
from edgewise.train import schedule
from edgewise.train.bad_steps import save_bad_step
from edgewise.train.curves import plot_curves
from edgewise.train.ema import MovingAverage
from edgewise.train.learner import Learner, placed, training_form
from edgewise.train.meter import EpochMeter, StepReport
from edgewise.train.optimizer import set_rate
from edgewise.train.state import TrainSet, check_free, check_same_run, described, read_state, write_state
from edgewise.train.step import Descent, descend, named

SAVE_EVERY_S = 300.0  # what a kill can cost


class Scores(Protocol):
    """What a validation must return to be compared and recorded."""

    @property
    def ap(self) -> float: ...

    def to_dict(self) -> dict[str, Any]: ...


class Trainer:
    """Trains `model` in place on `data`; `.average.model` holds the averaged weights.

    `folder` receives `best.safetensors` and `last.safetensors` (averaged weights, whole detectors),
    `last.state` (what `resume` needs), `settings.yaml`, `metrics.jsonl`, `results.png`, what its loggers
    write, and `bad_steps/` if a step is not finite. `validate` scores a model in evaluation form; without it
    the last weights count as the best.

    Several `processes` take each step together, each with its share of the batch; after it all have the same
    weights, statistics and history, and the main one writes the files.
    """

    def __init__(
        self,
        model: DFine,
        data: TrainSet,
        config: TrainConfig,
        folder: Path,
        *,
        validate: Callable[[DFine], Scores] | None = None,
        resume: bool = False,
        processes: Processes = ALONE,
        transform: Transform | None = None,
    ) -> None:
        self.config, self.folder, self.data, self.validate = config, folder, data, validate
        self.processes = processes
        self.device = resolve_device(config.device)
        if not resume:
            check_free(folder)
        self.model = placed(model, self.device)
        training_form(model, config)
        self.average = MovingAverage(model)
        self.learner = Learner.of(model, config, data.class_names, processes)
        self.loader = TrainLoader(data, config, transform, processes)
        self._began = self._saved = time.perf_counter()
        self.step = 0
        self.bad_in_a_row = 0
        self.best_ap = -math.inf
        self.history: list[dict[str, Any]] = []
        self.meter = EpochMeter()
        if resume:
            self._load_state()
        self._statistics = running_statistics(self.model)
        if processes.main:
            folder.mkdir(parents=True, exist_ok=True)
            checkpoint.remove_unfinished(folder)
            write_settings(config, folder / "settings.yaml")

    # ── steps ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def total_steps(self) -> int:
        return schedule.total_steps(self.config.schedule, self.loader.steps_per_epoch)

    @property
    def stopped_early(self) -> bool:
        """Whether the run ended because `schedule.patience` validations were no better than one before."""
        patience, epochs = self.config.schedule.patience, len(self.history)
        since = validations_since_best(self.history)
        return 0 < patience <= since and epochs < self.config.schedule.epochs

    @property
    def finished(self) -> bool:
        return len(self.history) == self.config.schedule.epochs or self.stopped_early

    @property
    def minutes(self) -> float:
        """Time the run has taken, validation and the part before a stop included."""
        return (time.perf_counter() - self._began) / 60

    @property
    def lr(self) -> float:
        """The learning rate outside the backbone, now."""
        step = max(0, self.step - 1)
        rate = schedule.rate(self.config.schedule, step, self.total_steps)
        return self.config.optimizer.lr * rate

    def steps(self, on_epoch: Callable[[dict[str, Any]], None] | None = None) -> Iterator[StepReport]:
        """The steps that are left, one at a time.

        After the last of an epoch it validates, saves, and hands `on_epoch` the line of metrics.jsonl. Within
        an epoch the state is written every `SAVE_EVERY_S` seconds. A step that is not finite is skipped and
        saved; FloatingPointError where more than `max_skipped` in a row are.
        """
        training_form(self.model, self.config)
        with keeping_freed_memory() if self.device.type == "cpu" else nullcontext():
            yield from self._steps(on_epoch)

    def _steps(self, on_epoch: Callable[[dict[str, Any]], None] | None) -> Iterator[StepReport]:
        per_epoch = self.loader.steps_per_epoch
        while not self.finished:
            epoch = len(self.history)
            began = time.perf_counter()
            for batch in self._batches(epoch, self.step - epoch * per_epoch):
                loaded = time.perf_counter()
                found = self._update(batch)
                file = self._save_bad_step(batch, found) if found.faults else None
                now = time.perf_counter()
                report = StepReport(
                    step=self.step - 1,
                    losses=found.losses,
                    grad_norm=found.grad_norm,
                    images=self.loader.batch,
                    wait_s=loaded - began,
                    total_s=now - began,
                    faults=found.faults,
                    file=file,
                )
                self.meter.add(report)
                if self.processes.main and now - self._saved > SAVE_EVERY_S and not self.bad_in_a_row:
                    self.save_state()
                yield report
                began = time.perf_counter()
            line = self._end_epoch(epoch)
            if on_epoch:
                on_epoch(line)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """Those of an epoch from its step `start` on. Where one cannot be read, the state is saved first."""
        per_epoch = self.loader.steps_per_epoch
        moment = schedule.at(self.config, epoch * per_epoch, per_epoch)
        try:
            yield from self.loader.batches(epoch, start, moment.strong, moment.dense)
        except (OSError, ValueError) as error:
            kind = OSError if isinstance(error, OSError) else ValueError
            if not self.step:
                raise
            self.save_state()
            raise kind(
                f"{error}; the data has changed under the run, or cannot be read: mend it and resume, "
                f"{self.folder} is saved as of step {self.step}"
            ) from error

    def _update(self, batch: Batch) -> Descent:
        """One step: gradients, optimizer, average. Only the step's number changes if it is not finite."""
        moment = schedule.at(self.config, self.step, self.loader.steps_per_epoch)
        statistics = Statistics(self.model)
        found = descend(self.learner, batch, self.step)
        if found.taken:
            self.bad_in_a_row = 0
            set_rate(self.learner.optimizer, moment.rate)
            self.learner.optimizer.step()
            self.processes.average(self._statistics)
            self.average.update(moment.ema_decay)
        else:
            statistics.restore()
            self.bad_in_a_row += bool(found.faults)
        self.step += 1
        return found

    def _save_bad_step(self, batch: Batch, found: Descent) -> Path:
        """The file of the step just skipped, with all images. FloatingPointError if it is one too many."""
        step = self.step - 1
        path, parts = None, self.processes.gathered(batch)
        if self.processes.main:
            whole, names = Batch.joined(parts), self.data.class_names
            path = save_bad_step(self.folder, self.model, self.config, step, whole, found, names)
        path = self.processes.told(path)
        if self.bad_in_a_row > self.config.max_skipped:
            raise FloatingPointError(
                f"step {step}: {named(found.faults)}; it is number {self.bad_in_a_row} in a row that is not "
                f"finite, where max_skipped={self.config.max_skipped} allows no more. None of them changed a "
                f"weight; repeat this one with: edgewise replay {path}"
            )
        return path

    # ── epochs ─────────────────────────────────────────────────────────────────────────────────────

    def _end_epoch(self, epoch: int) -> dict[str, Any]:
        line: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": self.step,
            "lr": self.lr,
            **self.meter.summary(),
        }
        scores = None
        last = epoch + 1 == self.config.schedule.epochs
        if self.validate and (last or (epoch + 1) % self.config.validate_every == 0):
            started = time.perf_counter()
            scores = self.validate(self.average.model)
            line["val"] = scores.to_dict()
            line["val_s"] = round(time.perf_counter() - started, 2)
        ap = scores.ap if scores else -math.inf
        self.meter = EpochMeter()
        self.history.append(line)
        better = ap > self.best_ap
        line["best"] = better or (self.finished and self.best_ap == -math.inf)
        self.best_ap = ap if better else self.best_ap
        if self.processes.main:
            self._write_epoch(line)
        return line

    def _write_epoch(self, line: Mapping[str, Any]) -> None:
        if line["best"]:
            checkpoint.save(self.folder / "best.safetensors", self._checkpoint(line))
        checkpoint.save(self.folder / "last.safetensors", self._checkpoint(line))
        self.save_state()
        lines = "".join(json.dumps(one) + "\n" for one in self.history)
        checkpoint.atomic_write(self.folder / "metrics.jsonl", lambda path: path.write_text(lines, "utf-8"))
        checkpoint.atomic_write(self.folder / "results.png", lambda path: plot_curves(self.history, path))

    def _checkpoint(self, line: Mapping[str, Any]) -> checkpoint.Checkpoint:
        return checkpoint.Checkpoint(
            config=self.model.config.updated({"size": self.config.size}),
            weights=self.average.model.state_dict(),
            class_names=tuple(self.data.class_names),
            category_ids=tuple(self.data.category_ids),
            step=self.step,
            recipe=self.config.model_dump(mode="json"),
            metrics=line.get("val"),
            thresholds=Thresholds.of(line.get("val"), self.data.class_names, "val"),
            seen=self._seen,
        )

    @cached_property
    def _seen(self) -> SeenImages | None:
        """The files trained on; None where the images are not files."""
        paths = getattr(self.data, "paths", ())
        return SeenImages.of(paths) if paths else None

    # ── going on ───────────────────────────────────────────────────────────────────────────────────

    def save_state(self) -> None:
        """Writes `last.state`: all that a run needs to go on from this very step, in one file."""
        state = {
            "step": self.step,
            "minutes": self.minutes,
            "best_ap": self.best_ap,
            "history": self.history,
            "config": self.config.model_dump(mode="json"),
            "data": described(self.data),
            "model_config": self.model.config.model_dump(mode="json"),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimizer": self.learner.optimizer.state_dict(),
            "scaler": self.learner.scaler.state_dict(),
            "bad_in_a_row": self.bad_in_a_row,
            "meter": asdict(self.meter),
        }
        write_state(self.folder, state)
        self._saved = time.perf_counter()

    def stop(self) -> None:
        """Writes `last.state` in the main process; the others wait, since nobody is to leave before."""
        if self.processes.main:
            self.save_state()
        self.processes.wait()

    def _load_state(self) -> None:
        state = read_state(self.folder)
        check_same_run(state, self.config, described(self.data), self.folder / "last.state")
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_ap, self.history = state["step"], state["best_ap"], state["history"]
        self._began -= 60 * state["minutes"]
        if state["scaler"] and self.learner.scaler.is_enabled():  # another device, another precision
            self.learner.scaler.load_state_dict(state["scaler"])
        self.bad_in_a_row = state["bad_in_a_row"]
        self.meter = EpochMeter(**state["meter"])


def validations_since_best(history: Sequence[Mapping[str, Any]]) -> int:
    """How many validations have passed since the one with the highest AP, or in all if none has a number."""
    best, since = -math.inf, 0
    for line in history:
        if "val" in line:
            ap = line["val"]["ap"]
            if ap is not None and ap > best:
                best, since = ap, 0
            else:
                since += 1
    return since
