"""The paper's augmentations, drawn by a numpy Generator as changes of a View, so that pixels come last.

They follow torchvision's v2 transforms of the same names (RandomPhotometricDistort, RandomZoomOut,
RandomIoUCrop, SanitizeBoundingBoxes). Boxes stay in pixels of the image.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from edgewise.config import AugmentConfig
from edgewise.data.colours import PLAIN, draw_colours
from edgewise.data.dataset import Unread
from edgewise.data.view import View, Window, render
from edgewise.overlaps import area, common, pairwise_iou
from edgewise.sample import Sample

Boxes = Float[np.ndarray, "n 4"]

CROP_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # 1 keeps the whole image
CROP_TRIALS = 40


def augment(
    sample: Sample | Unread,
    config: AugmentConfig,
    strong: bool,
    rng: np.random.Generator,
    size: tuple[int, int],
) -> Sample:
    """`sample` at `size` with each augmentation applied by its chance: a function of its arguments only.

    `strong` adds photometric distortion, zoom-out and crop; the flips are always on. An image not read yet is
    read no larger than it needs to be. Raises what reading raises.
    """
    height, width = sample.size
    whole = View((height, width), Window(0, 0, width, height), sample.boxes_xyxy, sample.labels)
    view = draw_view(whole, config, strong, rng)
    if isinstance(sample, Sample):
        image = sample.image
    else:
        image, by = sample.read(view.shrinks(size))
        view = view.shrunk((image.shape[0], image.shape[1]), by)
    pixels, boxes = render(image, view, size)
    return Sample(pixels, boxes, view.labels, sample.image_id, sample.path)


def draw_view(view: View, config: AugmentConfig, strong: bool, rng: np.random.Generator) -> View:
    """`view` augmented; its boxes have sides of a pixel at least."""
    colours = draw_colours(config.photometric, rng) if strong else PLAIN
    if strong:
        if rng.random() < config.zoom_out:
            view = zoom_out(view, config.max_zoom, rng)
        if rng.random() < config.crop:
            view = iou_crop(view, rng)
    boxes, labels = sanitize(view.boxes_xyxy, view.labels)
    flipped = bool(rng.random() < config.flip), bool(rng.random() < config.vertical_flip)
    return replace(view, boxes_xyxy=boxes, labels=labels, flipped=flipped, colours=colours)


def zoom_out(view: View, max_zoom: float, rng: np.random.Generator) -> View:
    """The window somewhere in one of 1 to `max_zoom` times its sides."""
    zoom = rng.uniform(1, max_zoom)
    place = rng.random(2)
    height, width = view.window.size
    tall, wide = int(height * zoom), int(width * zoom)
    left = view.window.left - int((wide - width) * place[1])
    top = view.window.top - int((tall - height) * place[0])
    return replace(view, window=Window(left, top, left + wide, top + tall))


def iou_crop(view: View, rng: np.random.Generator) -> View:
    """A smaller window that holds the centre of a box and overlaps one such box by at least a drawn IoU.

    Sides are 0.3 to 1 of the window's, aspect is 0.5 to 2. Boxes with their centre in the new one are kept
    and clipped to it. After 40 windows that do not fit another IoU is drawn, and one of them keeps all;
    a view without boxes is kept as it is.
    """
    height, width = view.window.size
    boxes, image = view.boxes_xyxy, np.array([0, 0, *view.size[::-1]], np.float32)
    while len(boxes):
        overlap = rng.choice(CROP_OVERLAPS)
        if overlap == 1:
            break
        sides = (rng.uniform(0.3, 1, (CROP_TRIALS, 2)) * (width, height)).astype(int)
        corners = (rng.random((CROP_TRIALS, 2)) * ((width, height) - sides)).astype(int) + view.window[:2]
        windows = np.concatenate([corners, corners + sides], 1).astype(np.float32)
        inside = _centre_inside(boxes, windows)
        best = np.where(inside, pairwise_iou(windows, boxes), -1).max(1)
        fits = (area(common(windows, image)) > 0) & (best >= overlap)  # boxes may lie beyond the image
        fits &= (sides[:, 0] >= 0.5 * sides[:, 1]) & (sides[:, 0] <= 2 * sides[:, 1])
        if fits.any():
            first = int(fits.argmax())
            kept = boxes[inside[first]].clip(windows[first, [0, 1, 0, 1]], windows[first, [2, 3, 2, 3]])
            window = Window(*(int(edge) for edge in windows[first]))
            return replace(view, window=window, boxes_xyxy=kept, labels=view.labels[inside[first]])
    return view


def _centre_inside(boxes: Boxes, windows: Float32[np.ndarray, "t 4"]) -> Bool[np.ndarray, "t n"]:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside: np.ndarray = np.logical_and(windows[:, None, :2] < centre, centre < windows[:, None, 2:]).all(-1)
    return inside


def sanitize(
    boxes: Boxes, labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "m 4"], Int[np.ndarray, " m"]]:
    """The boxes with both sides of at least one pixel, and their labels."""
    kept = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    return boxes[kept], labels[kept]
