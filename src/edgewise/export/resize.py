"""Preprocessing as part of a graph: Pillow's antialiased resize, to the last bit, in products alone.

ONNX's own antialiased Resize is not Pillow's: ONNX Runtime's is up to 20 of 255 off at the borders of an
image that shrinks. And even a step of 1/255 in a few pixels of ten thousand moves boxes by a tenth of a
pixel, so this is exact: Pillow computes with whole numbers, and so do two products with matrices that the
image's shape gives. Their entries are split in two, so that float32 holds every sum, up to an image that
shrinks fifteenfold.
"""

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

ONE = 1 << 22  # Pillow's weights are whole multiples of 1 / ONE
SPLIT = 1 << 11


def resized(images: UInt8[Tensor, "B H W 3"], size: tuple[int, int]) -> Float[Tensor, "B 3 h w"]:
    """What `edgewise.preprocess` makes of each image, model input in [0, 1] at `size` = (height, width)."""
    pixels = images.permute(0, 3, 2, 1).float()  # [B, 3, W, H]
    across = _weighed(taps(images.shape[2], size[1]), pixels).transpose(2, 3)  # [B, 3, H, w]
    return _weighed(taps(images.shape[1], size[0]), across) / 255


def taps(length: int, out: int) -> Float32[Tensor, "{2*out} n"]:
    """How much of each of `length` pixels each of `out` pixels takes: a triangle, wider where it shrinks.

    In units of 1 / ONE: the first `out` rows times SPLIT, plus the others.
    """
    pixels = torch.arange(length, dtype=torch.float64)
    scale = torch.full((1,), length, dtype=torch.float64) / out
    centre = (torch.arange(out, dtype=torch.float64) + 0.5) * scale
    away = (pixels + 0.5 - centre[:, None]).abs() / scale.clamp(min=1)
    weight = (1 - away).clamp(min=0)
    weight = (weight / weight.sum(1, keepdim=True) * ONE + 0.5).floor()
    upper = (weight / SPLIT).floor()
    return torch.cat([upper, weight - upper * SPLIT]).float()


def _weighed(weights: Float32[Tensor, "m n"], pixels: Float[Tensor, "B 3 n k"]) -> Float[Tensor, "B 3 l k"]:
    """Sums rounded to whole numbers up to 255, halves up; dividing by powers of two loses nothing.

    In floats, since dividing integers is exported as dividing float32, which is not exact.
    """
    upper, lower = (weights @ pixels).chunk(2, 2)
    return ((upper + ((lower + ONE / 2) / SPLIT).floor()) / SPLIT).floor().clamp(0, 255)
