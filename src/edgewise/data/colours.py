"""Photometric distortion as one affine map of colours, so that all of its steps are one pass over the pixels.

The steps are those of torchvision's RandomPhotometricDistort. What lies between two steps is not clipped to
0..255, and hue turns about the axis of grays instead of in HSV, which would take most of a batch's time.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

_LUMA = np.array([0.299, 0.587, 0.114])  # Pillow's gray
_SAMPLED = 64  # rows and columns that the mean colour is taken from, about


@dataclass(frozen=True)
class Colours:
    """How colours change: factors, a turn of the hue in circles, then the channel that each one shows."""

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_last: bool = False
    channels: tuple[int, int, int] = (0, 1, 2)

    def matrix(self, mean: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, "3 4"]:
        """[A | t] of colour → A · colour + t, for an image of `mean` colour (contrast is about its gray)."""
        found = np.eye(4)
        found[:3] *= self.brightness

        def contrasted() -> np.ndarray:
            step = np.diag([self.contrast] * 3 + [1.0])
            step[:3, 3] = (1 - self.contrast) * (_LUMA @ (found @ [*mean, 1.0])[:3])
            return step @ found

        if not self.contrast_last:
            found = contrasted()
        found[:3] = self.saturation * found[:3] + (1 - self.saturation) * (_LUMA @ found[:3])
        found[:3] = _turn(self.hue) @ found[:3]
        if self.contrast_last:
            found = contrasted()
        return np.asarray(found[list(self.channels)])


PLAIN = Colours()


def draw_colours(probability: float, rng: np.random.Generator) -> Colours:
    """Brightness, contrast, saturation, hue and the order of channels, each changed with `probability`."""
    brightness, contrast, saturation, hue, permute = rng.random(5) < probability
    contrast_last = bool(rng.random() >= 0.5)
    drawn = rng.uniform([0.875, 0.5, 0.5, -0.05], [1.125, 1.5, 1.5, 0.05])
    first, second, third = rng.permutation(3).tolist()
    return Colours(
        float(drawn[0]) if brightness else 1.0,
        float(drawn[1]) if contrast else 1.0,
        float(drawn[2]) if saturation else 1.0,
        float(drawn[3]) if hue else 0.0,
        bool(contrast) and contrast_last,
        (first, second, third) if permute else (0, 1, 2),
    )


def recoloured(picture: Image.Image, colours: Colours, mean: Float64[np.ndarray, " 3"]) -> Image.Image:
    """An RGB picture of `mean` colour in other ones."""
    if colours == PLAIN:
        return picture
    return picture.convert("RGB", tuple(colours.matrix(mean).ravel().tolist()))


def mean_colour(image: UInt8[np.ndarray, "H W 3"]) -> Float64[np.ndarray, " 3"]:
    """Of a grid of its pixels: near enough, and next to nothing to do."""
    rows, columns = (max(1, side // _SAMPLED) for side in image.shape[:2])
    return np.asarray(image[::rows, ::columns].mean((0, 1)))


def _turn(circles: float) -> Float64[np.ndarray, "3 3"]:
    """The rotation about the axis of grays (Rodrigues): each gray stays, so does the mean of the channels."""
    cosine, sine = math.cos(2 * math.pi * circles), math.sin(2 * math.pi * circles) / math.sqrt(3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return np.asarray(cosine * np.eye(3) + (1 - cosine) / 3 + sine * across)
