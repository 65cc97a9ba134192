"""Contrastive denoising: noised targets as extra queries, which the model learns to mend or to refuse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from edgewise.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from edgewise.config import DenoisingConfig
from edgewise.model.layers import inverse_sigmoid
from edgewise.structures import DenoisingQueries, Matches, Targets


def streams(seed: int, step: int, images: range) -> list[Generator]:
    """A random stream for each of these places among a step's images, on the host.

    So the noise of an image depends neither on what else is in its batch, nor on which process has it.
    """
    keys = [np.random.SeedSequence([seed, step, image]).generate_state(1, np.uint64)[0] for image in images]
    return [Generator().manual_seed(int(key >> np.uint64(1))) for key in keys]


@dataclass(frozen=True)
class Noise:
    """What is drawn for denoising queries, before it is known what their boxes are."""

    chance: Float[Tensor, "*b T"]  # in [0, 1): of a label to be redrawn
    redrawn: Int64[Tensor, "*b T"]  # labels
    sign: Int64[Tensor, "*b T 4"]  # -1 or 1
    step: Float[Tensor, "*b T 4"]  # in [0, 1): how far an edge moves, in halves of its box's side

    @classmethod
    def drawn(cls, size: tuple[int, ...], num_classes: int, generator: Generator) -> "Noise":
        """The noise of `size` queries."""
        return cls(
            torch.rand(size, generator=generator),
            torch.randint(num_classes, size, generator=generator),
            torch.randint(2, (*size, 4), generator=generator) * 2 - 1,
            torch.rand((*size, 4), generator=generator),
        )

    @classmethod
    def stacked(cls, images: Sequence["Noise"]) -> "Noise":
        """The noise of a batch, from that of its images."""
        parts = ("chance", "redrawn", "sign", "step")
        return cls(*(torch.stack([getattr(one, part) for one in images]) for part in parts))


def make_denoising(
    targets: Targets,
    num_classes: int,
    config: DenoisingConfig,
    generators: Sequence[Generator],
    most: int | None = None,
) -> DenoisingQueries | None:
    """About `config.queries` positives and as many negatives for each image; None where that is 0.

    The noise of an image comes from its own generator, on the host. `most` is the greatest number of boxes
    an image has, by default in `targets`: where these are a part of a step, it is that of the whole, which
    decides on the number of groups. A step without boxes has one group of padding, so that every step uses
    the same weights.
    """
    if not config.queries:
        return None
    most = max(targets.counts) if most is None else most
    groups, most = max(1, config.queries // most) if most else 1, max(1, most)
    size = (groups * 2 * most,)
    noise = Noise.stacked([Noise.drawn(size, num_classes, generator) for generator in generators])
    return noised_queries(targets, num_classes, config, groups, most, noise)


def noised_queries(
    targets: Targets, num_classes: int, config: DenoisingConfig, groups: int, most: int, noise: Noise
) -> DenoisingQueries:
    """`groups` times each box of an image as a positive and as a negative, in `most` slots each.

    The edges of a positive moved by less than half the box's side (times `box_noise`), those of a negative
    by more.
    """
    batch, device = len(targets.counts), targets.labels.device
    labels = torch.full((batch, most), num_classes, device=device)  # padding
    boxes = targets.boxes.new_zeros(batch, most, 4)
    image, slot = targets.image, _slots(targets)
    labels[image, slot], boxes[image, slot] = targets.labels, targets.boxes
    labels, boxes = labels.repeat(1, 2 * groups), boxes.repeat(1, 2 * groups, 1)  # [B, T], [B, T, 4]

    negative = torch.arange(groups * 2 * most) // most % 2  # [T]
    moved = noise.sign * (noise.step + negative[:, None])
    half = boxes[..., 2:].repeat(1, 1, 2) / 2
    corners = cxcywh_to_xyxy(boxes) + moved.to(device) * half * config.box_noise
    noised = xyxy_to_cxcywh(corners.clamp(0, 1)).abs()  # abs: corners may cross
    flipped = (noise.chance < config.label_noise / 2).to(device) & (labels != num_classes)
    labels = torch.where(flipped, noise.redrawn.to(device), labels)
    return DenoisingQueries(labels, inverse_sigmoid(noised), groups, 2 * most)


def denoising_matches(targets: Targets, queries: DenoisingQueries) -> Matches:
    """The positives of every group with the boxes they were made from; by group, then by box."""
    slot, device = _slots(targets), targets.labels.device
    begin = torch.arange(queries.groups, device=device)[:, None] * queries.group_size
    row = torch.arange(len(slot), device=device)
    image, target, row = (one.repeat(queries.groups) for one in (targets.image, slot, row))
    return Matches(image, (begin + slot).flatten(), target, row)


def _slots(targets: Targets) -> Int64[Tensor, " N"]:
    """The place of each box within its image."""
    offsets = torch.tensor(targets.offsets, device=targets.labels.device)
    return torch.arange(len(targets.labels), device=offsets.device) - offsets[targets.image]
