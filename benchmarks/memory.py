"""Memory and time of training steps on crowded images, epoch by epoch, and what `recompute` saves.

    OMP_NUM_THREADS=1 python benchmarks/memory.py --out benchmarks/results/memory.json

Pictures have from 1 to 500 boxes. For each epoch of three: the process' memory at its end (MB resident), the
tensors alive then, and CPU seconds a step, which other work on the machine hardly changes. Then the highest
memory of two steps in a fresh process, plain, with `recompute` and with `accumulate`.
"""

import argparse
import gc
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import highest_mb

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


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", type=json.loads)  # of this very process, under these changes of settings
    given = parser.parse_args()
    if given.peak is not None:
        print(json.dumps(peak(given.size, given.batch, given.peak)))
        return
    result: dict[str, Any] = {
        "size": given.size,
        "batch": given.batch,
        "images": given.images,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "epochs": epochs(given.size, given.batch, given.images),
        "peak": {},
    }
    for changes in ({}, {"recompute": True}, {"accumulate": given.batch}):
        words = [
            __file__,
            "--size",
            str(given.size),
            "--batch",
            str(given.batch),
            "--peak",
            json.dumps(changes),
        ]
        out = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True).stdout
        result["peak"][json.dumps(changes)] = json.loads(out)
        print(changes, out, flush=True)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
