"""One training run: steps, moving average, validation, files, and going on where it stopped."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from edgewise import checkpoint
from edgewise.config import TrainConfig, write_settings
from edgewise.data.loader import Samples, TrainLoader
from edgewise.device import resolve_device
from edgewise.distributions import bin_values
from edgewise.losses import stop_unless_finite
from edgewise.model import DFine
from edgewise.structures import Batch
from edgewise.thresholds import Thresholds
from edgewise.train import schedule
from edgewise.train.curves import plot_curves
from edgewise.train.ema import MovingAverage
from edgewise.train.meter import EpochMeter, StepReport
from edgewise.train.optimizer import build_optimizer, set_rate
from edgewise.train.state import check_same_run, read_state, write_state
from edgewise.train.step import step_losses


class Scores(Protocol):
    """What a validation must return to be compared and recorded."""

    @property
    def ap(self) -> float: ...

    def to_dict(self) -> dict[str, Any]: ...


class TrainSet(Samples, Protocol):
    """What can be trained on and named."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def category_ids(self) -> tuple[int, ...]: ...


class Trainer:
    """Trains `model` in place on `data`; `.average.model` holds the averaged weights.

    `folder` receives `best.safetensors` and `last.safetensors` (averaged weights, whole detectors),
    `last.state` (what `resume` needs), `settings.yaml`, `metrics.jsonl`, `results.png` and TensorBoard's
    events. `validate` scores a model in evaluation form; without it the last weights count as the best.
    """

    def __init__(
        self,
        model: DFine,
        data: TrainSet,
        config: TrainConfig,
        folder: Path,
        validate: Callable[[DFine], Scores] | None = None,
        resume: bool = False,
    ) -> None:
        self.config, self.folder, self.data, self.validate = config, folder, data, validate
        self.device = resolve_device(config.device)
        if not resume and (folder / "last.state").exists():
            raise FileExistsError(
                f"{folder} already holds a run; continue it with resume, or choose another folder"
            )
        self.model = model.to(self.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub
        self.average = MovingAverage(self.model)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.loader = TrainLoader(data, config)
        self._began = time.perf_counter()
        self.step = 0
        self.best_ap = -math.inf
        self.history: list[dict[str, Any]] = []
        self.meter = EpochMeter()
        decoder = model.config.decoder
        self._values = bin_values(decoder.num_bins, decoder.a, decoder.c, device=self.device)
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        if resume:
            self._load_state()
        folder.mkdir(parents=True, exist_ok=True)
        write_settings(config, folder / "settings.yaml")

    # ── steps ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def total_steps(self) -> int:
        return schedule.total_steps(self.config.schedule, self.loader.steps_per_epoch)

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
        """The updates that are left, one at a time.

        After the last of an epoch it validates, saves, and hands `on_epoch` the line of metrics.jsonl.
        """
        self.model.train()
        per_epoch = self.loader.steps_per_epoch
        for epoch in range(len(self.history), self.config.schedule.epochs):
            moment = schedule.at(self.config, epoch * per_epoch, per_epoch)
            start = self.step - epoch * per_epoch
            began = time.perf_counter()
            for batch in self.loader.batches(epoch, start, moment.strong, moment.dense):
                loaded = time.perf_counter()
                losses, norm = self._update(batch)
                now = time.perf_counter()
                report = StepReport(
                    self.step - 1, losses, norm, len(batch.images), loaded - began, now - began
                )
                self.meter.add(report)
                yield report
                began = time.perf_counter()
            line = self._end_epoch(epoch)
            if on_epoch:
                on_epoch(line)

    def _update(self, batch: Batch) -> tuple[dict[str, float], float]:
        """Forward, match, losses, backward, clip, AdamW, average: the loss terms and the gradient's norm.

        Raises FloatingPointError, before any weight changes, if a term or the norm is not finite.
        """
        config, step = self.config, self.step
        moment = schedule.at(config, step, self.loader.steps_per_epoch)
        set_rate(self.optimizer, moment.rate)
        losses = step_losses(self.model, batch, step, config, self._values)
        values = stop_unless_finite(losses, step)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self._trained, config.optimizer.clip_norm))
        if not math.isfinite(norm):
            raise FloatingPointError(f"step {step}: the gradient's norm is {norm}; no weight was changed")
        self.optimizer.step()
        self.average.update(moment.ema_decay)
        self.step += 1
        return values, norm

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
        line["best"] = ap > self.best_ap or (last and self.best_ap == -math.inf)
        self.history.append(line)
        if line["best"]:
            self.best_ap = ap
            checkpoint.save(self.folder / "best.safetensors", self._checkpoint(line))
        checkpoint.save(self.folder / "last.safetensors", self._checkpoint(line))
        self.save_state()
        with (self.folder / "metrics.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in self.history)
        plot_curves(self.history, self.folder / "results.png")
        return line

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
        )

    # ── going on ───────────────────────────────────────────────────────────────────────────────────

    def save_state(self) -> None:
        """Writes `last.state`: all that a run needs to go on from this very step, in one file."""
        state = {
            "step": self.step,
            "minutes": self.minutes,
            "best_ap": self.best_ap,
            "history": self.history,
            "config": self.config.model_dump(mode="json"),
            "class_names": list(self.data.class_names),
            "images": len(self.data),
            "model_config": self.model.config.model_dump(mode="json"),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "meter": asdict(self.meter),
        }
        write_state(self.folder, state)

    def _load_state(self) -> None:
        state = read_state(self.folder)
        check_same_run(
            state, self.config, list(self.data.class_names), len(self.data), self.folder / "last.state"
        )
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_ap, self.history = state["step"], state["best_ap"], state["history"]
        self._began -= 60 * state["minutes"]
        self.meter = EpochMeter(**state["meter"])
