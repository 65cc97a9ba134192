"""Samples to one Batch of one size, and the sizes that multi-scale training draws from."""

import math
from collections.abc import Sequence

import torch

from edgewise.boxes import xyxy_to_cxcywh
from edgewise.preprocess import preprocess
from edgewise.sample import Sample
from edgewise.sizes import STRIDE, check_size
from edgewise.structures import Batch, Targets


def collate(samples: Sequence[Sample], size: tuple[int, int]) -> Batch:
    """A Batch at `size`; boxes with a side of less than a pixel there are dropped."""
    images, labels, boxes = [], [], []
    for sample in samples:
        image, geometry = preprocess(sample.image, size)
        unit = sample.boxes_xyxy / geometry.scale
        kept = ((unit[:, 2:] - unit[:, :2]) * (size[1], size[0]) >= 1).all(1)
        images.append(torch.from_numpy(image))
        labels.append(torch.from_numpy(sample.labels[kept]).long())
        boxes.append(xyxy_to_cxcywh(torch.from_numpy(unit[kept])))
    return Batch(
        torch.stack(images),
        Targets.of(labels, boxes),
        tuple(one.image_id for one in samples),
        paths=tuple(one.path for one in samples),
    )


def multi_scale_sizes(size: tuple[int, int], spread: float, base_weight: int) -> list[tuple[int, int]]:
    """The sizes to draw from: `size` itself `base_weight` times, and those from (1 - spread) to (1 + spread).

    The longer side goes in steps of 32 up to `size` and down to it, the shorter one keeps the aspect as
    well as multiples of 32 can. ValueError unless both sides of `size` are multiples of 32.
    """
    long, short = max(check_size(size)), min(size)
    low, high = (math.floor(part * long / STRIDE + 1e-6) * STRIDE for part in (1 - spread, 1 + spread))
    low = max(STRIDE, low)
    count = (long - low) // STRIDE
    sides = [low + STRIDE * i for i in range(count)] + [long] * base_weight
    sides += [high - STRIDE * i for i in range(count)]

    def with_short(side: int) -> tuple[int, int]:
        other = max(STRIDE, round(side * short / long / STRIDE) * STRIDE)
        return (other, side) if size[1] == long else (side, other)

    return [with_short(side) for side in sides]
