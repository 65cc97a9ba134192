"""What a run needs to go on, in one file, and whether it may go on with what it is given."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from edgewise import checkpoint
from edgewise.config import TrainConfig

NAME = "last.state"
VERSION = 2
FREE = {"device", "workers"}  # settings a resumed run may change


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Writes `last.state`, whole or not at all."""
    checkpoint.atomic_write(folder / NAME, lambda path: torch.save({"version": VERSION, **state}, path))


def read_state(folder: Path) -> dict[str, Any]:
    """What `last.state` of a run's folder holds, on the host. Nothing in it is executed."""
    path = folder / NAME
    if not path.exists():
        raise FileNotFoundError(f"{path}: nothing to resume; start the run without resume")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a damaged or foreign file
        raise ValueError(
            f"{path}: not the state of a run ({type(error).__name__}); it is damaged or of another program. "
            f"Start another run from the weights of the last epoch, {folder / 'last.safetensors'}"
        ) from error
    if state.get("version") != VERSION:
        raise ValueError(
            f"{path}: a state of version {state.get('version')}, where this edgewise reads {VERSION}. "
            f"Go on with the edgewise that wrote it, or start from {folder / 'last.safetensors'}"
        )
    return state


def check_same_run(
    state: dict[str, Any], config: TrainConfig, class_names: list[str], images: int, path: Path
) -> None:
    """Refuses, with a ValueError, to resume with settings or data that would make it another run."""
    before = TrainConfig.model_validate(state["config"]).model_dump(exclude=FREE)
    changed = "; ".join(_changes(before, config.model_dump(exclude=FREE)))
    if changed:
        raise ValueError(f"{path} was made with other settings; resume with the same: {changed}")
    if state["class_names"] != class_names:
        raise ValueError(
            f"{path} was trained on classes {state['class_names']}; the data now has "
            f"{class_names}; resume with the data it began with"
        )
    if state["images"] != images:
        raise ValueError(
            f"{path} was trained on {state['images']} images; the data now has {images}; "
            "resume with the data it began with"
        )


def _changes(before: dict[str, Any], after: dict[str, Any], section: str = "") -> Iterator[str]:
    """«schedule.epochs: 50 before, 60 now» for every setting that differs."""
    for key, old in before.items():
        new = after[key]
        if isinstance(old, dict):
            yield from _changes(old, new, f"{section}{key}.")
        elif old != new:
            yield f"{section}{key}: {old} before, {new} now"
