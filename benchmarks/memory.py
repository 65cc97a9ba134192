"""Memory and time of training steps on crowded images, epoch by epoch, and what `recompute` saves.

    OMP_NUM_THREADS=1 python benchmarks/memory.py --out benchmarks/results/memory.json

Pictures have from 1 to 500 boxes. For each epoch of three: the process' memory at its end (MB resident), the
tensors alive then, and CPU seconds a step, which other work on the machine hardly changes. Then the highest
memory of two steps in a fresh process, plain, with `recompute` and with `accumulate`.
"""

import gc
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from speed import RESULTS, facts, fresh, highest_mb, resident_mb, write

from edgewise.config import TrainConfig
from edgewise.model import DFine
from edgewise.presets import preset, trainable
from edgewise.sample import Sample
from edgewise.train.trainer import Trainer

MOST = 500  # boxes of an image


@dataclass(frozen=True)
class Crowds:
    """Noise with small boxes on it: 1, 500 and numbers between in turn."""

    count: int
    side: int
    class_names: tuple[str, ...] = ("a", "b", "c")
    category_ids: tuple[int, ...] = (1, 2, 3)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([11, index])
        boxes = 1 + (MOST - 1) * (index % 4) // 3
        corner = rng.uniform(0, self.side - 24, (boxes, 2))
        return Sample(
            rng.integers(0, 256, (self.side, self.side, 3), dtype=np.uint8),
            np.concatenate([corner, corner + rng.uniform(6, 24, (boxes, 2))], 1).astype(np.float32),
            rng.integers(3, size=boxes),
            image_id=index,
        )


def settings(size: int, batch: int, **changes: Any) -> TrainConfig:
    return TrainConfig().updated(
        {
            "schedule.epochs": 3,
            "schedule.plain_epochs": 0,  # epochs shall be alike: no other augmentation, no other sizes
            "augment.multi_scale": 0.0,
            "size": (size, size),
            "batch": batch,
            "workers": 0,
            "loggers": (),
            **changes,
        }
    )


def trained(config: TrainConfig, images: int, folder: str) -> Trainer:
    torch.manual_seed(0)
    return Trainer(DFine(trainable(preset("n", 3))), Crowds(images, config.size[0]), config, Path(folder))


def tensors() -> int:
    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


def epochs(size: int, batch: int, images: int) -> list[dict[str, float]]:
    """What each epoch ends with."""
    lines: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        run = trained(settings(size, batch), images, folder)
        spent: list[float] = []

        def on_epoch(line: dict[str, Any]) -> None:
            alive, memory = tensors(), resident_mb()
            lines.append(
                {
                    "epoch": line["epoch"],
                    "resident_mb": round(memory),
                    "tensors": alive,
                    "cpu_s_a_step": round(float(np.median(spent)), 3),
                }
            )
            print(lines[-1], flush=True)
            spent.clear()

        began = time.process_time()
        for _ in run.steps(on_epoch):
            spent.append(time.process_time() - began)
            began = time.process_time()
    return lines


def peak(size: int, batch: int, changes: dict[str, Any]) -> dict[str, float]:
    """The highest memory of two steps, over what the process has before, and their CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        run = trained(settings(size, batch, **changes), 2 * batch, folder)
        before, began, steps = resident_mb(), time.process_time(), run.steps()
        next(steps), next(steps)
        highest = highest_mb()
        return {"mb": round(highest - before), "cpu_s_a_step": round((time.process_time() - began) / 2, 2)}


def main(
    *, size: int = 320, batch: int = 4, images: int = 32, out: Path = RESULTS.parent / "memory.json"
) -> None:
    """IMAGES in all, of SIZE x SIZE, BATCH of them a step."""
    result: dict[str, Any] = {"facts": facts(), "size": size, "batch": batch, "images": images}
    result |= {"epochs": epochs(size, batch, images), "peak": {}}
    for changes in ({}, {"recompute": True}, {"accumulate": batch}):
        result["peak"][json.dumps(changes)] = found = fresh(peak, size, batch, changes)
        print(changes, found, flush=True)
    write(result, out)


if __name__ == "__main__":
    cyclopts.run(main)
