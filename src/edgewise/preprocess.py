"""Image to model input and the way back: what training, validation and prediction share. No torch."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from edgewise.detections import Geometry
from edgewise.sizes import check_size


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes model input; the size is the model's. There is one way so far."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - its name for what a header may not hold

    colour: Literal["RGB"] = "RGB"
    resize: Literal["bilinear, antialiased, aspect not kept"] = "bilinear, antialiased, aspect not kept"
    scale: Literal["1/255"] = "1/255"


def preprocess(
    image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "3 h w"], Geometry]:
    """Model input in [0, 1] at `size`, and the Geometry that leads back to the pixels of `image`.

    Aspect is not kept, nothing is padded. ValueError unless both sides of `size` are multiples of 32.
    """
    check_size(size)
    scaled = resize(image, size).transpose(2, 0, 1).astype(np.float32, order="C")
    scaled /= 255
    return scaled, Geometry(original_size=(image.shape[0], image.shape[1]), model_size=size)


def resize(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """`image` at `size` = (height, width): bilinear, antialiased when it shrinks (Pillow's filter).

    Columns come first, then rows, whatever the version of Pillow: 13 turns that around for tall images, and
    the steps of 1/255 by which it rounds in between move boxes by up to a pixel. The same array if it has
    that size already.
    """
    if image.shape[:2] == size:
        return image
    narrow = Image.fromarray(image).resize((size[1], image.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(narrow.resize((size[1], size[0]), Image.Resampling.BILINEAR))
