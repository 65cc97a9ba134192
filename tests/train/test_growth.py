"""Nothing of a step stays alive: crowded images, epoch after epoch, in the same memory."""

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgewise.sample import Sample
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
    """How many tensors there are, and their bytes."""
    gc.collect()
    found = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
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
