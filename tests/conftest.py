"""Shared by all tests: one thread's worth of noise, and the recorded material where it is at hand."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import jaxtyping
import pytest
import torch

from edgewise.model import DFine
from edgewise.presets import preset

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded tensors and real data beside the repository; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (recorded tensors and real data), which is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def recipe(shared: Path) -> ModuleType:
    """`fill`, `images`, `targets` and `tensor` of the golden fixtures."""
    spec = importlib.util.spec_from_file_location("fill_weights", shared / "golden/fill_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def recorded_model(recipe: ModuleType) -> Callable[[str], DFine]:
    """The model of that size with the weights of the recordings."""

    def make(size: str) -> DFine:
        model = DFine(preset(size, 80))
        for key, value in model.state_dict().items():
            filled = recipe.fill(key, value.shape)
            if filled is not None:
                value.copy_(torch.from_numpy(filled))
        return model

    return make


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As for a user: annotations are not checked, so that a test reaches our own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
