"""Recorded weights and outputs of the published code, and a model small enough for everything else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgewise.config import ModelConfig
from edgewise.model import DFine
from edgewise.presets import preset


class Recording:
    """`DIR/NAME.json` as `facts`, `DIR/NAME.npz` as tensors by key."""

    def __init__(self, path: Path) -> None:
        self.facts: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
        self._arrays = np.load(path.with_suffix(".npz"))

    def __getitem__(self, key: str) -> Tensor:
        array = self._arrays[key]
        return torch.from_numpy(array if array.dtype.kind in "fb" else array.astype(np.int64))


@pytest.fixture(scope="session")
def recording(shared: Path) -> Callable[[str, str], Recording]:
    return lambda size, name: Recording(shared / "golden" / size / name)


@pytest.fixture(scope="session")
def functions(shared: Path) -> dict[str, Tensor]:
    """Inputs, weights and outputs of single functions."""
    with np.load(shared / "golden/ops/functions.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """Three levels, two layers, seven classes, 64 x 64; every part of a real model in small."""
    config = preset("s", 7)
    stages = [stage.updated({"channels": 8, "out_channels": 16}) for stage in config.backbone.stages]
    return config.updated(
        {
            "name": "tiny",
            "size": (64, 64),
            "backbone.stem": (8, 8),
            "backbone.stages": [stage.model_dump() for stage in stages],
            "encoder.dim": 32,
            "encoder.ffn_dim": 48,
            "decoder.dim": 16,
            "decoder.ffn_dim": 24,
            "decoder.num_heads": 2,
            "decoder.num_layers": 3,
            "decoder.num_queries": 20,
            "decoder.num_points": (2, 3, 1),
        }
    )


def scatter(model: DFine, generator: torch.Generator) -> DFine:
    """The model with every weight and statistic moved, so that nothing is zero and no two layers agree."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point and "decoder.up" not in name:
                if name.endswith(("anchors", "reg_scale", "num_points_scale")):
                    continue
                noise = torch.randn(value.shape, generator=generator)
                value.mul_(1 + 0.1 * noise.abs()).add_(
                    0.05 * noise.abs() if "running" in name else 0.1 * noise
                )
    return model


@pytest.fixture
def tiny(tiny_config: ModelConfig, generator: torch.Generator) -> DFine:
    """The tiny model in evaluation, its weights scattered."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return scatter(DFine(tiny_config), generator).eval()
