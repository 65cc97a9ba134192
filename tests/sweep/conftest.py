"""A detector that finds things, and a data set in which they are true."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgewise.api import Detector
from edgewise.runtime.bench import Time
from edgewise.sample import Sample
from edgewise.sweep import run as room
from edgewise.sweep.points import Cut, Point, Setting, Way
from edgewise.sweep.report import Sweep
from tests.export.conftest import detector as detector
from tests.export.conftest import images as images


class Told:
    """Images whose annotations are what a detector finds in them."""

    def __init__(self, detector: Detector, images: list[np.ndarray]) -> None:
        self.class_names, self.category_ids = detector.class_names, (5, 2, 9)
        self.image_ids = tuple(range(11, 11 + len(images)))
        self.images, boxes = images, list[dict[str, Any]]()
        for image_id, image in zip(self.image_ids, images, strict=True):
            found = detector.predict(image, 0.0)[:8]
            for (x1, y1, x2, y2), label in zip(found.boxes_xyxy.tolist(), found.labels, strict=True):
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                boxes.append({"image_id": image_id, "category_id": self.category_ids[label], **box})
        self.annotations = {
            "images": [{"id": one, "width": 200, "height": 120} for one in self.image_ids],
            "annotations": [{"id": number, **one} for number, one in enumerate(boxes, 1)],
            "categories": [
                {"id": i, "name": name} for i, name in zip(self.category_ids, self.class_names, strict=True)
            ],
        }

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        none = np.zeros((0, 4), np.float32)
        return Sample(self.images[index], none, np.zeros(0, np.int64), self.image_ids[index])


@pytest.fixture
def told(detector: Detector, images: list[np.ndarray]) -> Told:
    return Told(detector, images)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No home is written into, and torch has its threads back."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == threads


@pytest.fixture
def float32_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "multiplies_bf16", lambda: False)


TORCH = Way("torch", "fp32")


def point(ms: float | None, ap: float | None, queries: int = 300, way: Way = TORCH) -> Point:
    """Of that time and AP."""
    time = None if ms is None else Time(float(ms), 0.9 * ms, 1.1 * ms)
    return Point(Setting(Cut("a.safetensors", (640, 640), 3, queries), way), ap, time, time)


def swept(*points: Point, **more: Any) -> Sweep:
    return Sweep(points, {"images": "4 of 9, drawn from seed 0"}, **more)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of everything two are tried."""
    monkeypatch.setattr(room, "sizes", lambda own: [own, (64, 96)])
    monkeypatch.setattr(room, "numbers_of_queries", lambda own: [own, 3])
