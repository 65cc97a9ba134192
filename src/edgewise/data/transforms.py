"""The paper's augmentations as pure functions of (image, boxes_xyxy, labels) and a numpy Generator.

They follow torchvision's v2 transforms of the same names (RandomPhotometricDistort, RandomZoomOut,
RandomIoUCrop, SanitizeBoundingBoxes). Boxes stay in pixels of the image at hand.
"""

import math

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8
from PIL import Image, ImageEnhance

from edgewise.config import AugmentConfig
from edgewise.overlaps import pairwise_iou
from edgewise.preprocess import resize
from edgewise.sample import Sample

Pixels = UInt8[np.ndarray, "H W 3"]
Boxes = Float32[np.ndarray, "n 4"]
Labels = Int[np.ndarray, " n"]

CROP_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # 1 keeps the whole image
CROP_TRIALS = 40
CANVAS_PIXELS = 2**24  # a larger zoom-out canvas holds more detail than any model input


def augment(sample: Sample, config: AugmentConfig, strong: bool, rng: np.random.Generator) -> Sample:
    """`sample` with each augmentation applied by its chance: a function of its arguments only.

    `strong` adds photometric distortion, zoom-out and crop; the flips are always on.
    """
    image, boxes, labels = sample.image, sample.boxes_xyxy, sample.labels
    if strong:
        image = photometric_distort(image, config.photometric, rng)
        if rng.random() < config.zoom_out:
            image, boxes = zoom_out(image, boxes, config.max_zoom, rng)
        if rng.random() < config.crop:
            image, boxes, labels = iou_crop(image, boxes, labels, rng)
    boxes, labels = sanitize(boxes, labels)
    if rng.random() < config.flip:
        image, boxes = flip_horizontal(image, boxes)
    if rng.random() < config.vertical_flip:
        image, boxes = flip_vertical(image, boxes)
    return Sample(image, boxes, labels, sample.image_id, sample.path)


def photometric_distort(image: Pixels, probability: float, rng: np.random.Generator) -> Pixels:
    """Brightness, contrast, saturation, hue and the order of channels changed, each with `probability`."""
    brightness, contrast, saturation, hue, permute = rng.random(5) < probability
    contrast_first = rng.random() < 0.5
    factor = rng.uniform([0.875, 0.5, 0.5, -0.05], [1.125, 1.5, 1.5, 0.05])
    order = rng.permutation(3)

    picture = Image.fromarray(image)
    if brightness:
        picture = ImageEnhance.Brightness(picture).enhance(factor[0])
    if contrast and contrast_first:
        picture = ImageEnhance.Contrast(picture).enhance(factor[1])
    if saturation:
        picture = ImageEnhance.Color(picture).enhance(factor[2])
    if hue:
        picture = _turn_hue(picture, factor[3])
    if contrast and not contrast_first:
        picture = ImageEnhance.Contrast(picture).enhance(factor[1])
    pixels = np.asarray(picture)
    return pixels[..., order] if permute else pixels


def _turn_hue(picture: Image.Image, turn: float) -> Image.Image:
    """Hue turned by `turn` of the circle."""
    hue, saturation, value = picture.convert("HSV").split()
    shift = int(turn * 255)
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def zoom_out(
    image: Pixels, boxes: Boxes, max_zoom: float, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "H2 W2 3"], Boxes]:
    """The image somewhere on a black canvas of 1 to `max_zoom` times its sides.

    A canvas of more than CANVAS_PIXELS is made that small by shrinking the image first.
    """
    zoom = rng.uniform(1, max_zoom)
    place = rng.random(2)
    height, width = image.shape[:2]
    shrink = math.sqrt(CANVAS_PIXELS / (height * width)) / zoom
    if shrink < 1:
        size = max(1, int(height * shrink)), max(1, int(width * shrink))
        image = resize(image, size)
        boxes = boxes * np.array([size[1] / width, size[0] / height] * 2, np.float32)
        height, width = size
    canvas = np.zeros((int(height * zoom), int(width * zoom), 3), np.uint8)
    top, left = int((canvas.shape[0] - height) * place[0]), int((canvas.shape[1] - width) * place[1])
    canvas[top : top + height, left : left + width] = image
    return canvas, boxes + np.array([left, top, left, top], np.float32)


def iou_crop(
    image: Pixels, boxes: Boxes, labels: Labels, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "H2 W2 3"], Float32[np.ndarray, "m 4"], Int[np.ndarray, " m"]]:
    """A window that holds the centre of a box and overlaps one such box by at least a drawn IoU.

    Sides are 0.3 to 1 of the image's, aspect is 0.5 to 2. Boxes with their centre in the window are kept
    and clipped to it. After 40 windows that do not fit another IoU is drawn, and one of them keeps all;
    an image without boxes is kept as it is.
    """
    height, width = image.shape[:2]
    while len(boxes):
        overlap = rng.choice(CROP_OVERLAPS)
        if overlap == 1:
            break
        sides = (rng.uniform(0.3, 1, (CROP_TRIALS, 2)) * (width, height)).astype(int)
        corners = (rng.random((CROP_TRIALS, 2)) * ((width, height) - sides)).astype(int)
        windows = np.concatenate([corners, corners + sides], 1).astype(np.float32)
        inside = _centre_inside(boxes, windows)
        best = np.where(inside, pairwise_iou(windows, boxes), -1).max(1)
        fits = (sides > 0).all(1) & (best >= overlap)
        fits &= (sides[:, 0] >= 0.5 * sides[:, 1]) & (sides[:, 0] <= 2 * sides[:, 1])
        if fits.any():
            first = int(fits.argmax())
            left, top, right, bottom = (int(edge) for edge in windows[first])
            kept = boxes[inside[first]].clip(windows[first, [0, 1, 0, 1]], windows[first, [2, 3, 2, 3]])
            kept -= windows[first, [0, 1, 0, 1]]
            return image[top:bottom, left:right], kept, labels[inside[first]]
    return image, boxes, labels


def _centre_inside(boxes: Boxes, windows: Float32[np.ndarray, "t 4"]) -> Bool[np.ndarray, "t n"]:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside: np.ndarray = np.logical_and(windows[:, None, :2] < centre, centre < windows[:, None, 2:]).all(-1)
    return inside


def flip_horizontal(image: Pixels, boxes: Boxes) -> tuple[Pixels, Boxes]:
    """Left and right exchanged."""
    width = image.shape[1]
    x1, y1, x2, y2 = boxes.T
    return image[:, ::-1], np.stack([width - x2, y1, width - x1, y2], 1)


def flip_vertical(image: Pixels, boxes: Boxes) -> tuple[Pixels, Boxes]:
    """Top and bottom exchanged."""
    height = image.shape[0]
    x1, y1, x2, y2 = boxes.T
    return image[::-1], np.stack([x1, height - y2, x2, height - y1], 1)


def sanitize(boxes: Boxes, labels: Labels) -> tuple[Float32[np.ndarray, "m 4"], Int[np.ndarray, " m"]]:
    """The boxes with both sides of at least one pixel, and their labels."""
    kept = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    return boxes[kept], labels[kept]
