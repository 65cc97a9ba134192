"""Our file: one safetensors file that is the whole detector, with a versioned JSON header."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeInt
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgewise.calibration import Calibration
from edgewise.checkpoint.atomic import atomic_write
from edgewise.checkpoint.contents import Checkpoint
from edgewise.config import ModelConfig, Settings, parse_settings
from edgewise.plain import versioned
from edgewise.preprocess import Preprocessing
from edgewise.seen import SeenImages
from edgewise.thresholds import Thresholds

KEY = "edgewise"  # of the file's metadata; its value is the header
VERSION = 3


def with_thresholds(header: dict[str, Any]) -> dict[str, Any]:
    """Version 2 names the thresholds of best F1; in version 1 they were among the validation's numbers."""
    found = Thresholds.of(header.get("metrics"), header.get("class_names", ()), "val")
    return header | {"thresholds": None if found is None else asdict(found)}


def with_calibration(header: dict[str, Any]) -> dict[str, Any]:
    """Version 3 has a place for a calibration and for the training images; before, none were kept."""
    return header | {"calibration": None, "seen": None}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: with_thresholds, 2: with_calibration}
"""Version → the function that turns a header of that version into one of the next."""


class Header(Settings):
    """What our file says about its tensors."""

    version: int = VERSION
    model: ModelConfig
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] | None = None
    preprocessing: Preprocessing = Preprocessing()
    step: NonNegativeInt | None = None
    recipe: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    thresholds: Thresholds | None = None
    calibration: Calibration | None = None
    seen: SeenImages | None = None


def save(path: str | Path, checkpoint: Checkpoint, dtype: torch.dtype | None = None) -> None:
    """Writes the checkpoint as one safetensors file, whole or not at all.

    `dtype=torch.float16` halves the file (floating tensors only; loading gives float32 back) and raises
    ValueError where a weight is too large for it.
    """
    header = Header(
        model=checkpoint.config,
        class_names=checkpoint.class_names,
        category_ids=checkpoint.category_ids,
        step=checkpoint.step,
        recipe=checkpoint.recipe,
        metrics=checkpoint.metrics,
        thresholds=checkpoint.thresholds,
        calibration=checkpoint.calibration,
        seen=checkpoint.seen,
    )
    tensors = {key: _stored(key, tensor, dtype) for key, tensor in checkpoint.weights.items()}
    metadata = {KEY: header.model_dump_json()}
    atomic_write(path, lambda temporary: save_file(tensors, temporary, metadata))


def _stored(key: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if dtype is None or not tensor.is_floating_point():
        return tensor
    cast = tensor.to(dtype)
    if not torch.equal(cast.isfinite(), tensor.isfinite()):
        raise ValueError(f"{key}: {tensor.abs().max():.3g} is too large for {dtype}; save it as float32")
    return cast


def read(text: str, weights: dict[str, Tensor]) -> Checkpoint:
    """The checkpoint of a header and its tensors. ValueError lists the header's faults."""
    header = _header(text)
    try:
        return Checkpoint(
            config=header.model,
            weights=weights,
            class_names=header.class_names,
            category_ids=header.category_ids,
            step=header.step,
            recipe=header.recipe,
            metrics=header.metrics,
            thresholds=header.thresholds,
            calibration=header.calibration,
            seen=header.seen,
        )
    except ValueError as error:
        raise ValueError(f"header: {error}") from None


def store_thresholds(path: str | Path, thresholds: Thresholds) -> None:
    """Puts thresholds into a file of ours, in place of those it has; its tensors stay what they are.

    Raises ValueError for a file of another kind, which has no place for them.
    """
    _rewrite(path, path, {"thresholds": thresholds})


def store_calibration(
    path: str | Path, calibration: Calibration, thresholds: Thresholds | None, out: str | Path | None = None
) -> None:
    """Puts a calibration, sealed, and the thresholds on its scores into a file of ours, or a copy `out`.

    Its tensors stay what they are. Raises ValueError for a file of another kind.
    """
    changes = {"calibration": calibration.sealed(), "thresholds": thresholds}
    _rewrite(path, path if out is None else out, changes)


def _rewrite(path: str | Path, out: str | Path, changes: dict[str, Any]) -> None:
    """The file with another header."""
    header, tensors = check_own(path), load_file(path)
    metadata = {KEY: header.model_copy(update=changes).model_dump_json()}
    atomic_write(out, lambda temporary: save_file(tensors, temporary, metadata))


def check_own(path: str | Path) -> Header:
    """The header of a file of ours. Raises ValueError for anything else that a checkpoint may come from."""
    text = _text(path)
    if text is None:
        raise ValueError(
            f"{path}: not an Edgewise file, so it has no place for thresholds or a calibration; make one "
            f"with Detector.from_pretrained({str(path)!r}).save('NAME.safetensors')"
        )
    return _header(text)


def is_own(path: str | Path) -> bool:
    """Whether it is a file of ours, rather than anything else that a checkpoint may come from."""
    return _text(path) is not None


def _text(path: str | Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            text: str | None = (file.metadata() or {}).get(KEY)
    except (OSError, SafetensorError):  # a hub name, a folder, a pickle
        return None
    return text


def _header(text: str) -> Header:
    values = versioned(text, VERSION, "header", "save it")
    for old in range(values["version"], VERSION):
        values = UPGRADES[old](values) | {"version": old + 1}
    parsed = parse_settings(Header, values, "header")
    if parsed.calibration is not None:
        parsed.calibration.check_seal("header")
    return parsed
