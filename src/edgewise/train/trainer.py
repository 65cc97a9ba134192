"""One training run: steps, moving average, validation, files, and going on where it stopped."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from edgewise import checkpoint
from edgewise.config import TrainConfig, write_settings
from edgewise.data.loader import Samples, TrainLoader
from edgewise.device import resolve_device
from edgewise.distributions import bin_values
from edgewise.losses import detection_losses, match, stop_unless_finite
from edgewise.model import DFine
from edgewise.structures import Batch
from edgewise.train import schedule
from edgewise.train.curves import LOSSES, plot_curves
from edgewise.train.denoising import denoising_matches, make_denoising
from edgewise.train.ema import MovingAverage
from edgewise.train.optimizer import build_optimizer, set_rate

STATE_VERSION = 1  # of `last.state`


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


@dataclass(frozen=True)
class StepReport:
    """One optimizer update: its weighted loss terms by name, and the gradient's norm before clipping."""

    step: int
    losses: dict[str, float]
    grad_norm: float
    images: int
    wait_s: float  # spent waiting for the batch
    total_s: float

    @property
    def total(self) -> float:
        return math.fsum(self.losses.values())

    def by_kind(self) -> dict[str, float]:
        """Terms summed over layers: vfl, l1, giou, fgl, ddf."""
        sums = dict.fromkeys(LOSSES, 0.0)
        for name, value in self.losses.items():
            sums[name.split("/")[0]] += value
        return sums


def _uses_bfloat16(config: TrainConfig, device: torch.device) -> bool:
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.precision == "bfloat16"


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
        self._autocast = (
            partial(torch.autocast, self.device.type, torch.bfloat16)
            if _uses_bfloat16(config, self.device)
            else nullcontext
        )
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
            strong = schedule.at(self.config.schedule, epoch * per_epoch, per_epoch).strong
            start = self.step - epoch * per_epoch
            began = time.perf_counter()
            for batch in self.loader.batches(epoch, start, strong):
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
        moment = schedule.at(config.schedule, step, self.loader.steps_per_epoch)
        set_rate(self.optimizer, moment.rate)
        queries = make_denoising(
            batch.targets, self.model.config.num_classes, config.denoising, noise(config.seed, step)
        )
        positives = None if queries is None else denoising_matches(batch.targets, queries).to(self.device)
        batch = batch.to(self.device)
        with self._autocast():
            output = self.model(batch.images, None if queries is None else queries.to(self.device))
        matching = match(output, batch.targets, config.loss.matching)
        losses = detection_losses(output, batch.targets, matching, self._values, config.loss, positives)
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
        )

    # ── going on ───────────────────────────────────────────────────────────────────────────────────

    def save_state(self) -> None:
        """Writes `last.state`: all that a run needs to go on from this very step, in one file."""
        state = {
            "version": STATE_VERSION,
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
        checkpoint.atomic_write(self.folder / "last.state", lambda path: torch.save(state, path))

    def _load_state(self) -> None:
        path, state = self.folder / "last.state", read_state(self.folder)
        _same_settings(TrainConfig.model_validate(state["config"]), self.config, path)
        if state["class_names"] != list(self.data.class_names):
            raise ValueError(
                f"{path} was trained on classes {state['class_names']}; the data now has "
                f"{list(self.data.class_names)}; resume with the data it began with"
            )
        if state["images"] != len(self.data):
            raise ValueError(
                f"{path} was trained on {state['images']} images; the data now has {len(self.data)}; "
                "resume with the data it began with"
            )
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_ap, self.history = state["step"], state["best_ap"], state["history"]
        self._began -= 60 * state["minutes"]
        self.meter = EpochMeter(**state["meter"])


def read_state(folder: Path) -> dict[str, Any]:
    """What `last.state` of a run's folder holds, on the host. Nothing in it is executed."""
    path = folder / "last.state"
    if not path.exists():
        raise FileNotFoundError(f"{path}: nothing to resume; start the run without resume")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a damaged or foreign file
        raise ValueError(
            f"{path}: not the state of a run ({type(error).__name__}); it is damaged or of another program. "
            f"Start another run from the weights of the last epoch, {folder / 'last.safetensors'}"
        ) from error
    if state.get("version") != STATE_VERSION:
        raise ValueError(
            f"{path}: a state of version {state.get('version')}, where this edgewise reads {STATE_VERSION}. "
            f"Go on with the edgewise that wrote it, or start from {folder / 'last.safetensors'}"
        )
    return state


def noise(seed: int, step: int) -> torch.Generator:
    """The stream of a step's denoising noise: keyed, so that a resumed run draws the same."""
    key = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(key >> np.uint64(1)))


def _same_settings(old: TrainConfig, new: TrainConfig, path: Path) -> None:
    """Refuses to resume with settings that would make it another run."""
    free = {"device", "workers"}
    before, after = old.model_dump(exclude=free), new.model_dump(exclude=free)
    changed = "; ".join(_changes(before, after))
    if changed:
        raise ValueError(f"{path} was made with other settings; resume with the same: {changed}")


def _changes(before: dict[str, Any], after: dict[str, Any], section: str = "") -> Iterator[str]:
    """«schedule.epochs: 50 before, 60 now» for every setting that differs."""
    for key, old in before.items():
        new = after[key]
        if isinstance(old, dict):
            yield from _changes(old, new, f"{section}{key}.")
        elif old != new:
            yield f"{section}{key}: {old} before, {new} now"


@dataclass
class EpochMeter:
    """Sums over the steps of one epoch; goes into the state file, since a run may stop within one."""

    losses: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LOSSES, 0.0))
    steps: int = 0
    images: int = 0
    wait_s: float = 0.0
    total_s: float = 0.0

    def add(self, report: StepReport) -> None:
        for name, value in report.by_kind().items():
            self.losses[name] += value
        self.steps += 1
        self.images += report.images
        self.wait_s += report.wait_s
        self.total_s += report.total_s

    def summary(self) -> dict[str, Any]:
        """Mean loss by kind, images per second and the share of the time spent waiting for data."""
        return {
            "loss": {name: value / max(1, self.steps) for name, value in self.losses.items()},
            "images_per_s": round(self.images / max(1e-9, self.total_s), 2),
            "wait_share": round(self.wait_s / max(1e-9, self.total_s), 4),
            "train_s": round(self.total_s, 2),
        }
