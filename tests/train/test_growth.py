"""Nothing of a step stays: crowded images, epoch after epoch, in the same memory and with the same work."""

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edgewise.sample import Sample
from edgewise.structures import Batch
from edgewise.train.step import Descent
from tests.train.tiny import Patches, settings, trainer


@dataclass(frozen=True)
class Crowds(Patches):
    """Patches with 1, 250 or 500 boxes."""

    def __getitem__(self, index: int) -> Sample:
        sample, boxes = super().__getitem__(index), (1, 250, 500)[index % 3]
        corner = np.random.default_rng([3, index]).uniform(0, 48, (boxes, 2))
        return Sample(
            sample.image,
            np.concatenate([corner, corner + 12], 1).astype(np.float32),
            np.arange(boxes) % 3,
            sample.image_id,
            sample.path,
        )


def alive() -> tuple[int, int]:
    """How many tensors there are, and their bytes; those that torch.export made up elsewhere have none."""
    gc.collect()
    found = [one for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]
    return len(found), sum(one.nbytes for one in found)


@pytest.mark.parametrize(
    "given", [{}, {"accumulate": 2}, {"recompute": True}], ids=["plain", "passes", "recomputed"]
)
def test_no_tensor_outlives_its_epoch(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)
    config = settings(schedule__epochs=3, augment__multi_scale=0, **given)
    counts: list[tuple[int, int]] = []
    for _ in trainer(tmp_path, config, data=Crowds(), validate=None).steps(
        lambda line: counts.append(alive())
    ):
        pass
    assert len(counts) == 3
    (number, size), *later = counts
    assert [one for one, _ in later] == [number, number]
    assert all(one < 1.02 * size for _, one in later)  # the last batch is alive, and of any size


class Counted(TorchDispatchMode):
    """Counts what torch is told to do."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


def test_every_step_is_the_same_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its boxes and its epoch, but for the first, which makes the optimizer's moments."""
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)
    run = trainer(tmp_path, settings(schedule__epochs=3, augment__multi_scale=0), data=Crowds())
    update, work, boxes = run._update, list[int](), set[int]()

    def counted(batch: Batch) -> Descent:
        with Counted() as counter:
            found = update(batch)
        work.append(counter.operations)
        boxes.add(len(batch.targets.boxes))
        return found

    run._update = counted  # type: ignore[method-assign]
    assert len(list(run.steps())) == len(work) == 9
    assert len(boxes) > 5
    assert len(set(work[1:])) == 1
