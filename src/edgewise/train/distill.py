"""A better detector as a teacher: loaded, matched by class name, asked about each batch."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise.checkpoint import Checkpoint, build, load
from edgewise.config import TrainConfig
from edgewise.distributions import bin_values
from edgewise.structures import ModelOutput


class Teacher:
    """A detector in its inference form that knows every class of a student; it never changes.

    `values` are its W(n).
    """

    def __init__(
        self, loaded: Checkpoint, class_names: Sequence[str], device: torch.device, name: str = "the teacher"
    ) -> None:
        """Raises ValueError, naming them, if it does not know all of `class_names`, the student's."""
        _check_knows(loaded, class_names, name)
        decoder = loaded.config.decoder
        self.model = build(loaded).fused().to(device)
        self._rows = torch.tensor([loaded.class_names.index(one) for one in class_names], device=device)
        self.values = bin_values(decoder.num_bins, decoder.a, decoder.c, device=device)

    @torch.no_grad()
    def output(self, images: Float[Tensor, "B 3 H W"]) -> ModelOutput:
        """The last layer's, with the student's classes in its order."""
        output: ModelOutput = self.model(images)
        last = output.layers[-1]
        return replace(output, layers=(replace(last, logits=last.logits[..., self._rows]),))


def _check_knows(loaded: Checkpoint, class_names: Sequence[str], name: str) -> None:
    unknown = [one for one in class_names if one not in loaded.class_names]
    if unknown:
        raise ValueError(
            f"{name} does not know {', '.join(map(repr, unknown))}; it knows "
            f"{', '.join(map(repr, loaded.class_names))}. Expected a teacher of all classes of the data"
        )


def check_teacher(config: TrainConfig, class_names: Sequence[str]) -> None:
    """Raises what `load_teacher` would, before anything else takes time."""
    name = config.distill.teacher
    if name is not None:
        _check_knows(load(name), class_names, name)


def load_teacher(config: TrainConfig, class_names: Sequence[str], device: torch.device) -> Teacher | None:
    """The teacher of `config.distill`, or None. Raises what loading it raises, and ValueError as Teacher."""
    name = config.distill.teacher
    return None if name is None else Teacher(load(name), class_names, device, name)
