"""What of an image the model sees, in numbers before pixels: it is resampled once, and read no larger."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

from edgewise.data.colours import PLAIN, Colours, mean_colour, recoloured

Pixels = UInt8[np.ndarray, "_ _ 3"]


class Window(NamedTuple):
    """Edges in whole pixels of an image; they may lie beyond it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    def shrunk(self, by: int) -> "Window":
        """The same on an image of 1/`by` the size: the whole pixels there that hold it."""
        return Window(self.left // by, self.top // by, -(-self.right // by), -(-self.bottom // by))


@dataclass(frozen=True)
class View:
    """A window of an image with the boxes in it, in pixels of the image of `size`, and its looks.

    Outside of the image it is black. It may be flipped left to right and top to bottom.
    """

    size: tuple[int, int]
    window: Window
    boxes_xyxy: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    flipped: tuple[bool, bool] = (False, False)
    colours: Colours = PLAIN

    def shrunk(self, size: tuple[int, int], by: int) -> "View":
        """The same of the image at 1/`by`, of `size`."""
        return replace(self, size=size, window=self.window.shrunk(by), boxes_xyxy=self.boxes_xyxy / by)

    def placed(self, size: tuple[int, int]) -> tuple[Window, Window]:
        """The part of the image in the window, and where it goes in an output of `size` before it is flipped.

        Both are whole pixels, so that part is stretched by up to a pixel; the boxes are stretched with it.
        """
        window, (height, width) = self.window, self.size
        (tall, wide), (top, left) = window.size, (window.top, window.left)
        inner = Window(max(left, 0), max(top, 0), min(window.right, width), min(window.bottom, height))
        x1, x2 = _scaled(inner.left - left, inner.right - left, wide, size[1])
        y1, y2 = _scaled(inner.top - top, inner.bottom - top, tall, size[0])
        return inner, Window(x1, y1, x2, y2)

    def shrinks(self, size: tuple[int, int]) -> float:
        """How many times smaller the image gets in an output of `size`, along the side where it is less."""
        source, target = self.placed(size)
        return min(ours / theirs for ours, theirs in zip(source.size, target.size, strict=True))


def _scaled(first: int, last: int, side: int, target: int) -> tuple[int, int]:
    """first..last of `side` pixels among `target` pixels: rounded, one at least."""
    start = min(round(first * target / max(1, side)), target - 1)
    return start, max(round(last * target / max(1, side)), start + 1)


def render(image: Pixels, view: View, size: tuple[int, int]) -> tuple[Pixels, Float32[np.ndarray, "n 4"]]:
    """The view of an image at `size` = (height, width), and the boxes in it, in pixels of the output.

    Colours change and flips happen where there are fewer pixels, before enlarging or after shrinking.
    """
    source, target = view.placed(size)
    part = image[source.top : source.bottom, source.left : source.right]
    if math.prod(source.size) > math.prod(target.size):
        part = _changed(resampled(part, target.size), view)
    else:
        part = resampled(_changed(part, view), target.size)
    scale = np.divide(target.size[::-1], source.size[::-1])
    boxes = (view.boxes_xyxy - np.tile(source[:2], 2)) * np.tile(scale, 2) + np.tile(target[:2], 2)
    for axis, side in enumerate(reversed(size)):
        if view.flipped[axis]:
            boxes[:, [axis, axis + 2]] = side - boxes[:, [axis + 2, axis]]
    if target.size == size:
        return part, boxes.astype(np.float32)
    canvas = np.zeros((*size, 3), np.uint8)
    top = size[0] - target.bottom if view.flipped[1] else target.top
    left = size[1] - target.right if view.flipped[0] else target.left
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return canvas, boxes.astype(np.float32)


def _changed(part: Pixels, view: View) -> Pixels:
    """In other colours and flipped, by Pillow: numpy takes several times as long."""
    if view.colours == PLAIN and not any(view.flipped):
        return part
    picture = recoloured(Image.fromarray(part), view.colours, mean_colour(part))
    for flip, way in zip(
        view.flipped, (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM), strict=True
    ):
        picture = picture.transpose(way) if flip else picture
    return np.array(picture)


def resampled(image: Pixels, size: tuple[int, int]) -> Pixels:
    """`image` at `size`, within 1 of 255 of what `preprocess.resize` makes of it, in a fifth of the time.

    The same array if it has that size already.
    """
    if image.shape[:2] == size:
        return image
    if not image.flags.writeable:  # torch would warn
        image = image.copy()
    pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2)  # channels last: torch has a kernel for that
    found = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return np.ascontiguousarray(found[0].permute(1, 2, 0).numpy())
