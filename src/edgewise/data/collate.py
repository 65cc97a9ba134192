"""Samples to one Batch of one size, and the sizes that multi-scale training draws from."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgewise.boxes import xyxy_to_cxcywh
from edgewise.preprocess import resize
from edgewise.sample import Sample
from edgewise.sizes import STRIDE, check_size
from edgewise.structures import Batch, Targets


class Stacked(NamedTuple):
    """A Batch whose images [B, H, W, 3] are uint8 still: a quarter of what workers must hand over."""

    pixels: Tensor
    targets: Targets
    image_ids: tuple[int, ...]
    paths: tuple[str, ...]
    first: int = 0

    def batch(self) -> Batch:
        """With images in [0, 1], channels last in memory."""
        images = torch.div(self.pixels, 255).permute(0, 3, 1, 2)
        return Batch(images, self.targets, self.image_ids, self.first, self.paths)


def collate(samples: Sequence[Sample], size: tuple[int, int]) -> Batch:
    """A Batch at `size`; boxes with a side of less than a pixel there are dropped.

    ValueError unless both sides of `size` are multiples of 32.
    """
    return stacked(samples, size).batch()


def stacked(samples: Sequence[Sample], size: tuple[int, int]) -> Stacked:
    """What `collate` gives, before its images are scaled."""
    height, width = check_size(size)
    pixels = np.empty((len(samples), height, width, 3), np.uint8)
    labels, boxes = [], []
    for sample, place in zip(samples, pixels, strict=True):
        place[...] = resize(sample.image, size)
        unit = sample.boxes_xyxy / np.array([*sample.size[::-1]] * 2, np.float32)
        kept = ((unit[:, 2:] - unit[:, :2]) * (width, height) >= 1).all(1)
        labels.append(torch.from_numpy(sample.labels[kept]).long())
        boxes.append(xyxy_to_cxcywh(torch.from_numpy(unit[kept])))
    return Stacked(
        torch.from_numpy(pixels),
        Targets.of(labels, boxes),
        tuple(one.image_id for one in samples),
        tuple(one.path for one in samples),
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
