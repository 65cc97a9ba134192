"""What a run needs to go on, in one file, and whether it may go on with what it is given."""

from pathlib import Path
from typing import Any, Protocol

import torch

from edgewise import checkpoint
from edgewise.config import TrainConfig
from edgewise.data.loader import Samples
from edgewise.plain import differences

NAME = "last.state"
VERSION = 2
FREE = (
    "schedule.patience",
    "recompute",
    "max_skipped",
    "loggers",
    "workers",
    "validate_every",
    "device",
)  # settings that do not change what is learnt: a resumed run may have others


class TrainSet(Samples, Protocol):
    """What can be trained on and named."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def category_ids(self) -> tuple[int, ...]: ...


def described(data: TrainSet) -> dict[str, Any]:
    """What tells these data from others: classes, number of images and, where it has one, its fingerprint."""
    return {
        "classes": list(data.class_names),
        "images": len(data),
        "fingerprint": getattr(data, "fingerprint", None),
    }


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Writes `last.state`, whole or not at all."""
    checkpoint.atomic_write(folder / NAME, lambda path: torch.save({"version": VERSION, **state}, path))


def check_free(folder: Path) -> None:
    """FileExistsError where the folder holds a run already."""
    if (folder / NAME).exists():
        raise FileExistsError(
            f"{folder} already holds a run; continue it with resume, or choose another folder"
        )


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


def check_same_run(state: dict[str, Any], config: TrainConfig, data: dict[str, Any], path: Path) -> None:
    """Refuses to resume as another run: a ValueError lists all that is not as it was, settings and data.

    `data` is `described` of the data now; the state holds that of the data the run began with.
    """
    before, now = TrainConfig.model_validate(state["config"]).model_dump(), config.model_dump()
    changes = [
        f"{key}: {old} before, {new} now" for key, old, new in differences(before, now) if key not in FREE
    ]
    changes += [f"{key}: {old} before, {new} now" for key, old, new in differences(state["data"], data)]
    if changes:
        raise ValueError(
            f"{path} is of a run with other settings or data:\n  " + "\n  ".join(changes) + "\n"
            f"Resume with what it began with (only {', '.join(FREE)} may change), or start another run from "
            f"{path.with_name('last.safetensors')}"
        )
