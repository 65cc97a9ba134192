"""Samples to one Batch of one size, and the sizes that multi-scale training draws from."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from edgewise.boxes import xyxy_to_cxcywh
from edgewise.preprocess import resize
from edgewise.sample import Sample
from edgewise.sizes import STRIDE, check_size
from edgewise.structures import Batch, Targets


def collate(samples: Sequence[Sample], size: tuple[int, int]) -> Batch:
    """A Batch at `size`, channels last in memory; boxes with a side of less than a pixel there are dropped.

    ValueError unless both sides of `size` are multiples of 32.
    """
    height, width = check_size(size)
    pixels = np.empty((len(samples), height, width, 3), np.float32)
    labels, boxes = [], []
    for sample, place in zip(samples, pixels, strict=True):
        np.divide(resize(sample.image, size), np.float32(255), out=place)
        unit = sample.boxes_xyxy / np.array([*sample.size[::-1]] * 2, np.float32)
        kept = ((unit[:, 2:] - unit[:, :2]) * (width, height) >= 1).all(1)
        labels.append(torch.from_numpy(sample.labels[kept]).long())
        boxes.append(xyxy_to_cxcywh(torch.from_numpy(unit[kept])))
    return Batch(
        torch.from_numpy(pixels).permute(0, 3, 1, 2),
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
