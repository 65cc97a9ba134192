from functools import partial

import numpy as np
import pytest
import torch

from edgewise.api import Detector
from edgewise.artifact import Artifact
from edgewise.export.describe import describe
from edgewise.export.drift import first_drift
from edgewise.export.graph import Graph
from edgewise.model import DFine
from edgewise.runtime.engines import Arrays

INPUTS = {
    "images": np.random.default_rng(0).random((1, 3, 96, 128), dtype=np.float32),
    "sizes": np.array([[96, 128]]),
}


@pytest.fixture(scope="module")
def artifact(detector: Detector) -> Artifact:
    return describe(detector.checkpoint())


def astray(
    model: DFine, artifact: Artifact, tensor: str, rows: int, _names: list[str], inputs: Arrays
) -> dict[str, np.ndarray]:
    """What the parts say, but for the first rows of one tensor."""
    given = [torch.from_numpy(one) for one in inputs.values()]
    with torch.inference_mode():
        found = {name: one.numpy().copy() for name, one in Graph(model, artifact)(*given).items()}
    found[tensor][0, :rows] += 100
    return found


@pytest.mark.parametrize(
    ("tensor", "rows", "share", "named"),
    [
        pytest.param("decoder.decoder.layers.1", 1, 1.0, True, id="one query, all are asked about"),
        pytest.param("decoder.decoder.layers.1", 1, 0.9, False, id="one query of twenty, nine in ten asked"),
        pytest.param("decoder.decoder.layers.1", 4, 0.9, True, id="four queries of twenty"),
        pytest.param("backbone.stem", 1, 0.9, True, id="one channel of a map"),
    ],
)
def test_single_queries_may_go_astray_where_only_a_share_is_asked_about(
    tensor: str, rows: int, share: float, named: bool, detector: Detector, artifact: Artifact
) -> None:
    steps = partial(astray, detector.model, artifact, tensor, rows)
    drift = first_drift(detector.model, artifact, steps, INPUTS, 1e-3, share)
    assert drift.tensor == (tensor if named else None)
