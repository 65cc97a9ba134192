"""One small detector with every weight drawn, made once for the whole folder."""

import pytest
import torch

from edgewise.checkpoint import Checkpoint
from edgewise.checkpoint.contents import essential
from edgewise.config import ModelConfig
from edgewise.model import DFine
from edgewise.presets import preset


def drawn(config: ModelConfig) -> DFine:
    """A model none of whose weights is at its initial value, in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        model = DFine(config)
    for tensor in essential(model.state_dict()).values():
        if tensor.is_floating_point():
            tensor.data += 0.02 * torch.randn(tensor.shape, generator=generator)
    return model.eval()


@pytest.fixture(scope="session")
def model() -> DFine:
    return drawn(preset("n", 3))


@pytest.fixture
def saved(model: DFine) -> Checkpoint:
    """Of size n with three classes, everything in the header filled."""
    return Checkpoint(
        config=model.config.updated({"size": (320, 256)}),
        weights=model.state_dict(),
        class_names=("cat", "dog", "bird"),
        category_ids=(7, 3, 11),
        step=1200,
        recipe={"batch": 16, "schedule": {"epochs": 50}},
        metrics={"AP": 0.5},
    )
