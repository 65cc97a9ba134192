"""A detector and a data set small enough to train within a test, and one epoch's worth of settings."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgewise.config import ModelConfig, TrainConfig
from edgewise.model import DFine
from edgewise.presets import preset
from edgewise.sample import Sample
from edgewise.train.trainer import Trainer

NAMES = ("red", "green", "blue")


def tiny_config(num_classes: int = len(NAMES)) -> ModelConfig:
    """Every part of size n, but narrow, with ten queries, at 64x64."""
    config = preset("n", num_classes)
    stages = [
        stage.updated({"channels": 8, "out_channels": 16}).model_dump() for stage in config.backbone.stages
    ]
    narrow = {"dim": 32, "ffn_dim": 48, "num_heads": 2}
    return config.updated(
        {
            "name": "tiny",
            "size": (64, 64),
            "backbone.stem": (8, 8),
            "backbone.stages": stages,
            **{f"encoder.{key}": value for key, value in narrow.items()},
            **{f"decoder.{key}": value for key, value in narrow.items()},
            "decoder.num_layers": 2,
            "decoder.num_points": (2, 2),
            "decoder.num_queries": 10,
        }
    )


def tiny_model(seed: int = 0, config: ModelConfig | None = None) -> DFine:
    """Fresh weights; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DFine(config or tiny_config())


@dataclass(frozen=True)
class Patches:
    """`count` grey pictures of 64x80 with one or two patches in the colour of their class.

    Of every `1 / background` pictures one has none; with 1 all are background.
    """

    count: int = 6
    background: float = 0.0
    class_names: tuple[str, ...] = NAMES
    category_ids: tuple[int, ...] = (5, 2, 9)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([7, index])
        image = rng.integers(90, 110, (64, 80, 3), dtype=np.uint8)
        objects = 0 if self.background and index % round(1 / self.background) == 0 else 1 + index % 2
        boxes, labels = [], []
        for i in range(objects):
            width, height = rng.integers(16, 30, 2)
            left, top = rng.integers(0, 40 - width) + 40 * i, rng.integers(0, 64 - height)
            label = int(rng.integers(3))
            image[top : top + height, left : left + width] = np.eye(3, dtype=np.uint8)[label] * 220
            boxes.append([left, top, left + width, top + height])
            labels.append(label)
        return Sample(
            image,
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(labels, np.int64),
            image_id=self.image_ids[index],
            path=f"patches/{index}.png",
        )

    @property
    def image_ids(self) -> tuple[int, ...]:
        return tuple(range(100, 100 + self.count))

    @cached_property
    def annotations(self) -> dict[str, Any]:
        boxes = [
            {"image_id": sample.image_id, "category_id": self.category_ids[label], "bbox": xywh(box)}
            for sample in (self[i] for i in range(len(self)))
            for label, box in zip(sample.labels, sample.boxes_xyxy, strict=True)
        ]
        return {
            "images": [{"id": image_id, "width": 80, "height": 64} for image_id in self.image_ids],
            "annotations": [{"id": number, "iscrowd": 0, **box} for number, box in enumerate(boxes)],
            "categories": [
                {"id": number, "name": name}
                for number, name in zip(self.category_ids, self.class_names, strict=True)
            ],
        }


def xywh(box: np.ndarray) -> list[float]:
    return [float(value) for value in (*box[:2], *(box[2:] - box[:2]))]


def settings(**changes: Any) -> TrainConfig:
    """Two images a step on this machine's CPU, all augmentations on; `schedule__epochs=3` is a section's."""
    few = {
        "schedule.epochs": 2,
        "schedule.plain_epochs": 1,
        "schedule.warmup_steps": 4,
        "schedule.ema_warmup_steps": 10,
        "denoising.queries": 4,
        "optimizer.lr": 1e-3,
        "size": (64, 64),
        "batch": 2,
        "workers": 0,
        "device": "cpu",
    }
    return TrainConfig().updated(few | {key.replace("__", "."): value for key, value in changes.items()})


def trainer(folder: Path, config: TrainConfig | None = None, **given: Any) -> Trainer:
    """A Trainer of the tiny model on `Patches`; `given` are other arguments of it."""
    arguments: dict[str, Any] = {"model": tiny_model(), "data": Patches(), "folder": folder} | given
    return Trainer(config=config or settings(), **arguments)
