"""Preprocessing as part of a graph: Pillow's antialiased resize in products alone.

ONNX's own antialiased Resize is not Pillow's: ONNX Runtime's is up to 20 of 255 off at the borders of an
image that shrinks, with boxes to match. Two products with matrices that the image's shape gives are exact but
for ties in rounding, and every runtime has them.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

ONE = 1 << 22  # Pillow's weights are whole multiples of 1 / ONE


def resized(images: UInt8[Tensor, "B H W 3"], size: tuple[int, int]) -> Float[Tensor, "B 3 h w"]:
    """What `edgewise.preprocess` makes of each image, model input in [0, 1] at `size` = (height, width)."""
    rows, columns = taps(images.shape[1], size[0]), taps(images.shape[2], size[1])
    across = _rounded(images.permute(0, 3, 1, 2).float() @ columns.T)  # [B, 3, H, w]
    return _rounded(rows @ across) / 255


def taps(length: int, out: int) -> Float[Tensor, "{out} n"]:
    """How much of each of `length` pixels each of `out` pixels takes: a triangle, wider where it shrinks."""
    pixels = torch.arange(length, dtype=torch.float64)
    scale = torch.full((1,), length, dtype=torch.float64) / out
    centre = (torch.arange(out, dtype=torch.float64) + 0.5) * scale
    away = (pixels + 0.5 - centre[:, None]).abs() / scale.clamp(min=1)
    weight = (1 - away).clamp(min=0)
    weight = weight / weight.sum(1, keepdim=True)
    return ((weight * ONE + 0.5).floor() / ONE).float()


def _rounded(values: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    return (values + 0.5).floor().clamp(0, 255)
