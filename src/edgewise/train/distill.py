"""A better detector as a teacher: loaded, matched by class name, asked about each batch."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise.checkpoint import Checkpoint, build, load
from edgewise.config import MatchingConfig, TrainConfig
from edgewise.distributions import bin_values
from edgewise.losses import Matching, Normalizers
from edgewise.losses.teaching import Lesson, lesson, teaching_losses
from edgewise.structures import ModelOutput, Targets


class Teacher:
    """A detector in its inference form that knows every class of a student; it never changes.

    `lesson` is what it says of a batch's targets, `losses` what a student's output makes of that.
    """

    def __init__(
        self, loaded: Checkpoint, class_names: Sequence[str], device: torch.device, name: str = "the teacher"
    ) -> None:
        """Raises ValueError, naming them, if it does not know all of `class_names`, the student's."""
        unknown = [one for one in class_names if one not in loaded.class_names]
        if unknown:
            raise ValueError(
                f"{name} does not know {', '.join(map(repr, unknown))}; it knows "
                f"{', '.join(map(repr, loaded.class_names))}. Expected a teacher of all classes of the data"
            )
        decoder = loaded.config.decoder
        self.model = build(loaded).fused().to(device)
        self._rows = torch.tensor([loaded.class_names.index(one) for one in class_names], device=device)
        self._values = bin_values(decoder.num_bins, decoder.a, decoder.c, device=device)

    @torch.no_grad()
    def lesson(self, images: Float[Tensor, "B 3 H W"], targets: Targets, config: MatchingConfig) -> Lesson:
        """What it says of the targets of these images."""
        output = self.model(images)
        last = output.layers[-1]
        own = replace(output, layers=(replace(last, logits=last.logits[..., self._rows]),))
        return lesson(own, targets, self._values, config)

    def losses(
        self,
        images: Float[Tensor, "B 3 H W"],
        targets: Targets,
        output: ModelOutput,
        matching: Matching,
        values: Float[Tensor, " n"],
        config: TrainConfig,
        counts: Normalizers,
    ) -> dict[str, Float[Tensor, ""]]:
        """kd_edges/i and kd_scores/i of a student's output for the same images, weighted."""
        taught = self.lesson(images, targets, config.loss.matching)
        return teaching_losses(output, taught, matching, values, config.distill, counts)


def load_teacher(config: TrainConfig, class_names: Sequence[str], device: torch.device) -> Teacher | None:
    """The teacher of `config.distill`, or None. Raises what loading it raises, and ValueError as Teacher."""
    name = config.distill.teacher
    return None if name is None else Teacher(load(name), class_names, device, name)
