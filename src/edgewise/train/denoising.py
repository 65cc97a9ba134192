"""Contrastive denoising: noised targets as extra queries, which the model learns to mend or to refuse."""

import torch
from jaxtyping import Int64
from torch import Tensor

from edgewise.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from edgewise.config import DenoisingConfig
from edgewise.model.layers import inverse_sigmoid
from edgewise.structures import DenoisingQueries, Matches, Targets


def make_denoising(
    targets: Targets, num_classes: int, config: DenoisingConfig, generator: torch.Generator | None = None
) -> DenoisingQueries | None:
    """About `config.queries` positives and as many negatives for each image; None without any box.

    Every group holds each box twice: as a positive, whose edges moved by less than half the box's side (times
    `box_noise`), and as a negative, whose edges moved by more. The noise is drawn where `generator` lives
    (None: torch's own, on the host), so it does not depend on the device of the targets.
    """
    most = max(targets.counts, default=0)
    if not most or not config.queries:
        return None
    groups, batch = max(1, config.queries // most), len(targets.counts)
    size = (batch, groups * 2 * most)
    labels = torch.full((batch, most), num_classes, device=targets.labels.device)  # padding
    boxes = targets.boxes.new_zeros(batch, most, 4)
    image, slot = targets.image, _slots(targets)
    labels[image, slot], boxes[image, slot] = targets.labels, targets.boxes
    labels, boxes = labels.repeat(1, 2 * groups), boxes.repeat(1, 2 * groups, 1)  # [B, T], [B, T, 4]

    device = labels.device
    source = generator.device if generator is not None else torch.device("cpu")
    chance = torch.rand(size, generator=generator, device=source)
    redrawn = torch.randint(num_classes, size, generator=generator, device=source)
    sign = torch.randint(2, (*size, 4), generator=generator, device=source) * 2 - 1
    step = torch.rand((*size, 4), generator=generator, device=source)
    step.view(batch, groups, 2, most, 4)[:, :, 1] += 1  # the negatives

    flipped = (chance < config.label_noise / 2).to(device) & (labels != num_classes)
    half = boxes[..., 2:].repeat(1, 1, 2) / 2
    noise = (sign * step).to(device) * half * config.box_noise
    noised = xyxy_to_cxcywh((cxcywh_to_xyxy(boxes) + noise).clamp(0, 1)).abs()  # abs: corners may cross
    return DenoisingQueries(
        torch.where(flipped, redrawn.to(device), labels), inverse_sigmoid(noised), groups, 2 * most
    )


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
