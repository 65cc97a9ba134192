"""What a checkpoint holds, how it fits a model, and how a mismatch reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.calibration import Calibration
from edgewise.config import ModelConfig
from edgewise.model import DFine
from edgewise.seen import SeenImages
from edgewise.thresholds import Thresholds

DERIVED = {"anchors", "valid_mask", "up", "reg_scale", "num_points_scale"}  # follow from the settings
COUNTER = "num_batches_tracked"  # never read, since every batch norm has a fixed momentum


@dataclass(frozen=True)
class Checkpoint:
    """A whole detector at rest: settings, weights and what its rows mean.

    `weights` are tensors by published name, floats in float32; a model's `state_dict()` will do, since
    what follows from the settings is left out. `category_ids[i]` is the annotation file's own number
    for label i. `recipe` and `metrics` are plain values of the training that made it; `thresholds` those
    of best F1 on the images that chose the weights, on scores as `calibration` gives them; `seen` the images
    it was trained on. Raises ValueError unless there is one name, one
    category id and one threshold for each class, names and ids without repeats.
    """

    config: ModelConfig
    weights: Mapping[str, Tensor]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] | None = None
    step: int | None = None
    recipe: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    thresholds: Thresholds | None = None
    calibration: Calibration | None = None
    seen: SeenImages | None = None

    def __post_init__(self) -> None:
        weights = {k: t.float() if t.is_floating_point() else t for k, t in essential(self.weights).items()}
        object.__setattr__(self, "weights", weights)
        classes = self.config.num_classes
        check_classes(self.class_names)
        if len(self.class_names) != classes:
            raise ValueError(
                f"classes has {len(self.class_names)} names, but the weights have {classes} rows; "
                "give one name for each row, in their order"
            )
        ids = self.category_ids
        if ids is not None and not len(ids) == len(set(ids)) == classes:
            raise ValueError(f"category_ids {ids} are not {classes} different numbers, one for each class")
        if self.thresholds is not None and len(self.thresholds.by_class) != classes:
            raise ValueError(
                f"thresholds are of {len(self.thresholds.by_class)} classes, "
                f"but the weights have {classes} rows"
            )


def check_classes(names: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple. Raises ValueError for a text, for no name and for two that are the same."""
    if isinstance(names, str):
        raise ValueError(f"classes is the text {names!r}; expected a list: classes=[{names!r}]")
    names = tuple(names)
    if not names:
        raise ValueError('classes is empty; name at least one, as in classes=["cat", "dog"]')
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if name in first:
            raise ValueError(
                f"class name {name!r} stands twice, in rows {first[name]} and {i}; names must differ"
            )
        first[name] = i
    return names


def build(checkpoint: Checkpoint) -> DFine:
    """The model with the checkpoint's weights, in evaluation mode. ValueError lists what does not fit."""
    model = _fresh(checkpoint.config)
    fill(model, checkpoint.weights)
    return model.eval()


def fill(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies `weights` into the model. ValueError, before anything is written, lists what does not fit."""
    check_fit(model.state_dict(), weights)
    model.load_state_dict(dict(weights), strict=False)


def check_fit(model: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError with the first few missing, unexpected and misshapen tensors.

    Not compared: what follows from the settings, and the counters of batch norms, which a frozen
    norm has not.
    """
    expected, found = _compared(model), _compared(weights)
    both = expected.keys() & found.keys()
    differences = {
        "missing": [f"{key} {_shape(expected[key])}" for key in expected if key not in found],
        "unexpected": [f"{key} {_shape(found[key])}" for key in found if key not in expected],
        "of another shape": [
            f"{key} {_shape(found[key])} where {_shape(expected[key])} is expected"
            for key in expected
            if key in both and found[key].shape != expected[key].shape
        ],
    }
    if any(differences.values()):
        lines = [f"  {len(keys)} {what}: {_first(keys)}" for what, keys in differences.items() if keys]
        raise ValueError(
            f"{len(both)} of the model's {len(expected)} tensors are there, but\n"
            + "\n".join(lines)
            + "\nThe file is of another model; load it with the settings it was trained with."
        )


def skeleton(config: ModelConfig) -> dict[str, Tensor]:
    """The state dict of a fresh model: the names and shapes to expect."""
    return _fresh(config).state_dict()


def _fresh(config: ModelConfig) -> DFine:
    """A model whose weights are about to be replaced: drawing them leaves torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        return DFine(config)


def essential(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without what follows from the settings."""
    return {key: tensor for key, tensor in weights.items() if _leaf(key) not in DERIVED}


def _compared(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in essential(weights).items() if _leaf(key) != COUNTER}


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _first(keys: list[str], shown: int = 3) -> str:
    more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + more
