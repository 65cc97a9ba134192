"""What a test runs in two processes and, to compare, in one. Importable, since processes are spawned."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from torch import nn

from edgewise.bins import bin_values
from edgewise.data.sampling import epoch_order
from edgewise.evaluation.coco import Metrics
from edgewise.evaluation.run import evaluate
from edgewise.predict.network import NetworkPredictor
from edgewise.processes import Processes
from edgewise.sample import Sample
from edgewise.train import trainer as trainer_module
from edgewise.train.bad_steps import read_bad_step
from edgewise.train.distributed import joined, launch, restarted
from edgewise.train.progress import run
from edgewise.train.trainer import Trainer
from tests.train.tiny import NAMES, Patches, settings, tiny_config, tiny_model

T = TypeVar("T")


def in_two(function: Callable[..., T], *arguments: Any, seconds: int = 120) -> T:
    """`function(*arguments)` of the main one of two processes; TimeoutError where that takes too long."""
    with limit(seconds):
        return launch(2, function, *arguments)


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    """TimeoutError after so long: two processes that wait for each other must not stop the tests."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"two processes have not finished in {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Chosen(Patches):
    """`Patches`, of which the images in `empty` have no boxes."""

    empty: tuple[int, ...] = ()

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        if index not in self.empty:
            return sample
        return replace(sample, boxes_xyxy=sample.boxes_xyxy[:0], labels=sample.labels[:0])


def everything() -> tuple[Any, ...]:
    """One of each message."""
    with joined() as processes:
        rank = processes.rank
        ones, row = torch.ones(2, 3), torch.arange(3.0) * rank
        processes.add([ones, row])
        mean = torch.full((2,), float(rank))
        processes.average([mean])
        return (
            processes,
            list(processes.share(5)),
            processes.sums([1, rank]),
            processes.sums([0.5, rank]),
            processes.largest(rank),
            processes.any(rank == 1),
            processes.any(False),
            processes.gathered(f"process {rank}"),
            processes.told("of the main one" if processes.main else None),
            ones.tolist(),
            row.tolist(),
            mean.tolist(),
        )


def fails(error: Exception) -> None:
    """Process 1 fails while the main one waits for it."""
    with joined() as processes:
        if processes.rank == 1:
            raise error
        processes.sums([1])


def dies(times: int, folder: Path) -> tuple[bool, int]:
    """Process 1 is killed so many times."""
    with joined() as processes:
        deaths = len(list(folder.iterdir()))
        if processes.rank == 1 and deaths < times:
            (folder / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        processes.sums([1])
        return restarted(), deaths


ORDER = list(epoch_order(4, 0, 0))  # of four images in one batch, seed 0; the last two are process 1's
CASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "boxes everywhere": ((), {}),
    "one process all background": (tuple(ORDER[2:]), {}),
    "the main process all background": (tuple(ORDER[:2]), {}),
    "no boxes at all": (tuple(ORDER), {}),
    "two passes": ((), {"accumulate": 2}),
    "two passes, one process all background": (tuple(ORDER[2:]), {"accumulate": 2}),
    "no denoising": ((), {"denoising__queries": 0}),
    "frozen backbone": ((), {"freeze": ["backbone"]}),
    "recomputed": ((), {"recompute": True}),
}


@dataclass(frozen=True)
class Update:
    """One update's loss terms, and what it did to the gradients of every parameter."""

    losses: dict[str, float]
    grad_norm: float
    gradient: np.ndarray
    boxes: list[int]  # by process


def updates(folder: Path) -> dict[str, list[Update]]:
    """Two updates of each case, the batch norms in evaluation mode."""
    with joined() as processes:
        return {name: _updates(folder / name, processes, *case) for name, case in CASES.items()}


def _updates(
    folder: Path, processes: Processes, empty: tuple[int, ...], changes: dict[str, Any]
) -> list[Update]:
    data, few = Chosen(count=4, empty=empty), {"batch": 4, "denoising__queries": 5, "augment__crop": 0}
    trainer = Trainer(tiny_model(), data, settings(**few | changes), folder, processes=processes)
    for module in trainer.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    found = []
    for epoch in range(2):
        for batch in trainer.loader.batches(epoch):
            step = trainer._update(batch)
            gradients = [
                (torch.zeros_like(one) if one.grad is None else one.grad).flatten()
                for one in trainer.model.parameters()
                if one.requires_grad
            ]
            boxes = processes.gathered(len(batch.targets.labels))
            found.append(Update(step.losses, step.grad_norm, torch.cat(gradients).numpy(), boxes))
    return found


def validation() -> Metrics:
    """Of fresh weights on seven pictures, which two processes cannot share equally."""
    with joined() as processes:
        config = tiny_config()
        values = bin_values(config.decoder.num_bins, config.decoder.a, config.decoder.c)
        predictor = NetworkPredictor(tiny_model().eval(), size=(64, 64), class_names=NAMES, values=values)
        data = Patches(count=7)
        found = evaluate(data, predictor.predict_arrays, batch=2, processes=processes)
        assert len(found.detections) == (len(data) if processes.main else 0)
        assert processes.told(found.metrics.to_dict()) == found.metrics.to_dict()
        return found.metrics


def undisturbed(folder: Path) -> tuple[dict[str, list[Update]], tuple[list[str], int, int], Metrics]:
    """`updates`, `planted` and `validation` one after another: to start processes takes longer than those."""
    with joined():
        return updates(folder / "updates"), planted(folder / "planted"), validation()


@dataclass(frozen=True)
class Deadly(Patches):
    """Kills process 1 once, when it reads an image after the first epoch is saved in `folder`."""

    folder: Path = Path()

    def __getitem__(self, index: int) -> Sample:
        killed = self.folder / "killed"
        if os.environ["RANK"] == "1" and (self.folder / "last.state").exists() and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def training(folder: Path, data: Patches) -> tuple[bool, list[int], np.ndarray]:
    """Whether it was restarted, the epochs of its metrics.jsonl, and the weights it ends with."""
    trainer_module.plot_curves = lambda *given: None  # takes longer than the epochs here
    with joined() as processes:
        again = restarted() and (folder / "last.state").exists()
        config = settings(batch=4, schedule__epochs=3, loggers=())
        trainer = Trainer(tiny_model(), data, config, folder, resume=again, processes=processes)
        run(trainer, Console(quiet=True))
        processes.wait()
        weights = everything_learnt(trainer)
        assert np.array_equal(processes.told(weights), weights)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return restarted(), [json.loads(line)["epoch"] for line in lines], weights


def everything_learnt(trainer: Trainer) -> np.ndarray:
    """Weights and statistics, of the model and of its average."""
    states = trainer.model.state_dict(), trainer.average.model.state_dict()
    kept = [one.flatten() for state in states for one in state.values() if one.is_floating_point()]
    return torch.cat(kept).nan_to_num().numpy()  # anchors may be infinite


def planted(folder: Path) -> tuple[list[str], int, int]:
    """Process 1 alone has images that are not numbers: faults, images that are saved, weights that moved."""
    with joined() as processes:
        trainer = Trainer(tiny_model(), Patches(count=4), settings(batch=4), folder, processes=processes)
        before = everything_learnt(trainer)
        (batch,) = trainer.loader.batches(0)
        if processes.rank == 1:
            batch = replace(batch, images=batch.images * torch.nan)
        found = trainer._update(batch)
        path = trainer._save_bad_step(batch, found)
        moved = int((everything_learnt(trainer) != before).sum())
        return list(found.faults), len(read_bad_step(path).batch.images), sum(processes.sums([moved]))
