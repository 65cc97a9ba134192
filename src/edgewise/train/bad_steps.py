"""A step that was not finite, in a file that holds all it takes to repeat it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from edgewise import checkpoint
from edgewise.config import ModelConfig, TrainConfig
from edgewise.model import DFine
from edgewise.structures import Batch, Targets
from edgewise.train.step import Descent

FOLDER = "bad_steps"
VERSION = 1


@dataclass(frozen=True)
class BadStep:
    """What went into a step, and what came out. Its random streams are keyed by seed, step and image."""

    model_config: ModelConfig
    weights: dict[str, torch.Tensor]  # and statistics, before the step
    config: TrainConfig
    step: int
    batch: Batch
    found: Descent
    device: str  # cpu, cuda or mps
    class_names: tuple[str, ...]


def save_bad_step(
    folder: Path,
    model: DFine,
    config: TrainConfig,
    step: int,
    batch: Batch,
    found: Descent,
    class_names: Sequence[str],
) -> Path:
    """Writes `bad_steps/step_N.pt` in a run's folder and returns its path; the newest `max_skipped` are kept.

    `model` is as it was before the step.
    """
    content = {
        "version": VERSION,
        "model_config": model.config.model_dump(mode="json"),
        "weights": model.state_dict(),
        "config": config.model_dump(mode="json"),
        "step": step,
        "images": _pixels(batch.images),
        "labels": batch.targets.labels,
        "boxes": batch.targets.boxes,
        "counts": list(batch.targets.counts),
        "image_ids": list(batch.image_ids),
        "first": batch.first,
        "paths": list(batch.paths),
        "found": asdict(found),
        "device": next(model.parameters()).device.type,
        "class_names": list(class_names),
    }
    path = folder / FOLDER / f"step_{step}.pt"
    checkpoint.atomic_write(path, lambda temporary: torch.save(content, temporary))
    for old in saved_steps(folder)[: -config.max_skipped]:
        old.unlink()
    return path


def saved_steps(folder: Path) -> list[Path]:
    """The files of a run, oldest step first."""
    return sorted((folder / FOLDER).glob("step_*.pt"), key=lambda path: int(path.stem.partition("_")[2]))


def read_bad_step(path: Path) -> BadStep:
    """What such a file holds, on the host. Nothing in it is executed."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; a run writes {FOLDER}/step_N.pt for a step it skips")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a damaged or foreign file
        raise ValueError(
            f"{path}: not a saved step ({type(error).__name__}); it is damaged or of another program"
        ) from error
    if content.get("version") != VERSION or "found" not in content:
        raise ValueError(
            f"{path}: not a saved step of version {VERSION}, which this edgewise reads; "
            f"expected a run's {FOLDER}/step_N.pt"
        )
    found = content["found"]
    return BadStep(
        model_config=ModelConfig.model_validate(content["model_config"]),
        weights=content["weights"],
        config=TrainConfig.model_validate(content["config"]),
        step=content["step"],
        batch=Batch(
            _images(content["images"]),
            Targets(content["labels"], content["boxes"], tuple(content["counts"])),
            tuple(content["image_ids"]),
            content["first"],
            tuple(content["paths"]),
        ),
        found=Descent(**found | {"faults": tuple(found["faults"])}),
        device=content["device"],
        class_names=tuple(content["class_names"]),
    )


def _pixels(images: torch.Tensor) -> torch.Tensor:
    """The images as bytes if that loses nothing, which is the rule; else as they are."""
    pixels = (images.nan_to_num() * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels if torch.equal(_images(pixels), images.cpu()) else images


def _images(pixels: torch.Tensor) -> torch.Tensor:
    if pixels.dtype != torch.uint8:
        return pixels
    return torch.div(pixels.cpu(), 255)  # as `data.collate` does, to the last bit
