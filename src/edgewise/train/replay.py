"""A saved step once more, watched: where its numbers stop being finite."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.device import resolve_device
from edgewise.model import DFine
from edgewise.structures import Batch
from edgewise.train.bad_steps import read_bad_step
from edgewise.train.learner import Learner, placed, training_form
from edgewise.train.step import Descent, descend, named


@dataclass(frozen=True)
class Replay:
    """What a saved step shows when it is repeated.

    `weights`, `inputs` and `gradients` name what is not finite; `module` is the first part of the model, in
    the order of the forward pass, whose output is not. `same` says whether every number came out as in the
    run; other devices and versions of torch may round differently.
    """

    step: int
    paths: tuple[str, ...]
    recorded: Descent
    found: Descent
    weights: tuple[str, ...]
    inputs: tuple[str, ...]
    module: str | None
    gradients: tuple[str, ...]

    @property
    def same(self) -> bool:
        pairs = [(self.found.losses.get(name), old) for name, old in self.recorded.losses.items()]
        pairs.append((self.found.grad_norm, self.recorded.grad_norm))
        return self.found.faults == self.recorded.faults and all(str(a) == str(b) for a, b in pairs)

    @property
    def largest_difference(self) -> float:
        """Of a loss term that is finite both times."""
        pairs = [(self.found.losses.get(name, math.nan), old) for name, old in self.recorded.losses.items()]
        return max((abs(a - b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)), default=0.0)

    def lines(self) -> list[str]:
        """All of it in words."""
        images = ", ".join(self.paths) or "without paths"
        return [
            f"step {self.step}, images: {images}",
            f"not finite, as recorded: {_listed(self.recorded.faults)}",
            f"not finite, repeated: {_listed(self.found.faults)}",
            f"weights: {_listed(self.weights)}",
            f"inputs: {_listed(self.inputs)}",
            f"first module whose output is not finite: {self.module or 'none'}",
            f"gradients: {_listed(self.gradients)}",
            "the same numbers as in the run"
            if self.same
            else f"other numbers than in the run: terms differ by up to {self.largest_difference:.3g}; "
            "repeat it on the device and with the torch it ran on",
        ]


def replay(path: Path, device: str | None = None) -> Replay:
    """The step in `path` once more, from the weights, the images and the random streams it had.

    It runs on the run's kind of device unless told otherwise. Nothing is trained or written. Errors are those
    of `read_bad_step`, of a device that is not at hand and of a teacher that is not there any more.
    """
    bad = read_bad_step(path)
    place = resolve_device(device or bad.device)
    with torch.random.fork_rng(devices=[]):
        model = placed(DFine(bad.model_config), place)
    model.load_state_dict(bad.weights)
    training_form(model, bad.config)
    learner = Learner.of(model, bad.config, bad.class_names, scale=bad.found.scale)
    weights = [name for name, one in _learnt(model) if not one.isfinite().all()]
    with _watched(model) as broken:
        found = descend(learner, bad.batch, bad.step)
    gradients = [
        name
        for name, one in model.named_parameters()
        if one.grad is not None and not one.grad.isfinite().all()
    ]
    return Replay(
        step=bad.step,
        paths=bad.batch.paths,
        recorded=bad.found,
        found=found,
        weights=tuple(weights),
        inputs=tuple(_broken_inputs(bad.batch)),
        module=broken[0] if broken else None,
        gradients=tuple(gradients),
    )


def _learnt(model: DFine) -> Iterator[tuple[str, Tensor]]:
    """Parameters and running statistics; other buffers follow from the settings, and anchors are infinite."""
    yield from model.named_parameters()
    yield from ((name, one) for name, one in model.named_buffers() if "running_" in name)


def _broken_inputs(batch: Batch) -> Iterator[str]:
    paths = batch.paths or tuple(f"image id {one}" for one in batch.image_ids)
    for image, path in enumerate(paths):
        if not batch.images[image].isfinite().all():
            yield f"the pixels of {path}"
        for box in batch.targets.part(image, image + 1).boxes:
            if not box.isfinite().all():
                yield f"a box of {path}: {box.tolist()}"


@contextmanager
def _watched(model: DFine) -> Iterator[list[str]]:
    """The modules whose output is not finite, in the order in which they return."""
    broken: list[str] = []

    def watch(name: str, module: nn.Module) -> Any:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if not all(one.isfinite().all() for one in _tensors(output)):
                broken.append(f"{name} ({type(module).__name__})")

        return module.register_forward_hook(look)

    handles = [watch(name, module) for name, module in model.named_modules() if name]
    try:
        yield broken
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    """Those within lists, tuples and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))


def _listed(names: tuple[str, ...], shown: int = 6) -> str:
    return named(names, shown) or "none"
