"""A small calibrated detector and what it is exported to, made once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from edgewise.api import Detector
from edgewise.artifact import Artifact
from edgewise.calibration import LEVELS, Calibration, ScoreCalibration, Source
from edgewise.data.scenes import SceneDataset
from edgewise.export import Proof, export
from edgewise.export.describe import describe
from edgewise.thresholds import Thresholds
from tests.cli.conftest import edgewise as edgewise
from tests.train.tiny import NAMES, tiny_config


def calibration() -> Calibration:
    """One in which every number matters."""
    rows = tuple(tuple(edge + 3 * level for level in LEVELS) for edge in (0.1, 0.2, 0.3, 0.4))
    return Calibration(
        temperature=(0.8, 1.1, 1.3, 0.9),
        scale=(1.2, 0.7, 1.1, 0.9),
        floor=(0.01, 0.02, 0.03, 0.04),
        margins=rows,
        joint=rows[3],
        score=ScoreCalibration((0.0, 0.2, 0.6, 1.0), (0.0, 0.1, 0.8, 1.0)),
        source=Source("abc", "val", "2026-01-01", 12, 345, 0.1),
    ).sealed()


@pytest.fixture(scope="session")
def detector() -> Detector:
    """Weights that make every part of the model speak."""
    config = tiny_config().updated({"size": (96, 128), "decoder.num_queries": 20})
    made, generator = Detector(config, NAMES, device="cpu"), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in made.model.parameters():
            if weight.requires_grad:
                fan = weight[0].numel() if weight.dim() > 1 else 25
                weight += torch.randn(weight.shape, generator=generator) / fan**0.5
        for head in made.model.decoder.dec_score_head:
            head.bias += 5  # scores on both sides of a half
    made.thresholds = Thresholds("val", 0.5, (0.4, None, 0.6), (3, 0, 5))
    made.calibration = calibration()
    return made


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Scenes whose shape is not the model's."""
    scenes = SceneDataset(4, seed=3, split="val", size=(120, 200))
    return [scenes[i].image for i in range(4)]


@dataclass(frozen=True)
class Exported:
    path: Path
    artifact: Artifact
    proof: Proof


Export = Callable[..., Exported]


@pytest.fixture(scope="session")
def exported(
    detector: Detector, images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Export:
    """`exported(head="raw", …)`: the detector as ONNX; each kind is made once."""
    made: dict[str, Exported] = {}

    def make(**wishes: object) -> Exported:
        key = repr(sorted(wishes.items()))
        if key not in made:
            path = tmp_path_factory.mktemp("export") / "tiny.onnx"
            artifact = describe(detector.checkpoint(), **wishes)
            jaxtyping.config.update("jaxtyping_disable", True)  # shapes of a trace are symbols
            try:
                proof = export(detector.model, artifact, path, images, detector.predictor)
            finally:
                jaxtyping.config.update("jaxtyping_disable", False)
            made[key] = Exported(path, artifact, proof)
        return replace(made[key])

    return make
