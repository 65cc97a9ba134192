"""Dense one-to-one augmentation: more objects in one image, so that more queries have something to learn.

Mosaic and mixup as in DEIM (arXiv 2412.04234), copy-blend as in DEIMv2 (arXiv 2509.20787): pure functions of
Samples and a numpy Generator. What comes back carries the image id and path of the first Sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from edgewise.sample import Sample

CENTRE = (0.3, 0.7)  # where the four images of a mosaic may meet, as shares of its sides
ZOOM = (1.0, 1.5)  # size of an image in a mosaic, the smallest that fills its place being 1
VISIBLE = 0.25  # share of a box that must be left of it
BLEND = (0.45, 0.55)  # weight of the first image
PASTED = 3  # objects, at most
PASTED_AREA = (100, 0.25)  # pixels at least, share of the image at most
MARGIN = (0.1, 0.25)  # of its surroundings that an object brings along, as shares of its sides
COVERED = 0.2  # share of the smaller of two boxes that a pasted object may overlap
TRIALS = 10  # places tried for an object


def mosaic(samples: Sequence[Sample], size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """Four images on one canvas of `size` = (height, width), around a point near its middle.

    Each fills its quarter with a window of its own at a drawn zoom: where the quarters are equal, at half to
    three quarters of the size it would have alone. Boxes are clipped; one with less than a quarter of its
    area or a pixel left is dropped. No image is resized as a whole.
    """
    height, width = size
    x, y = (int(share * side) for share, side in zip(rng.uniform(*CENTRE, 2), (width, height), strict=True))
    canvas = np.empty((height, width, 3), np.uint8)
    boxes, labels = [], []
    places = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    for sample, place in zip(samples, places, strict=True):
        left, top, right, bottom = place
        window = _window(sample.size, ((bottom - top) / height, (right - left) / width), rng)
        part = Image.fromarray(sample.image).resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR, box=tuple(window)
        )
        canvas[top:bottom, left:right] = np.asarray(part)
        scale = np.array([right - left, bottom - top]) / (window[2:] - window[:2])
        moved = (sample.boxes_xyxy - np.tile(window[:2], 2)) * np.tile(scale, 2) + (left, top, left, top)
        clipped = moved.clip((left, top, left, top), (right, bottom, right, bottom))
        kept = _visible(clipped, moved)
        boxes.append(clipped[kept].astype(np.float32))
        labels.append(sample.labels[kept])
    return replace(samples[0], image=canvas, boxes_xyxy=np.concatenate(boxes), labels=np.concatenate(labels))


def _window(size: tuple[int, int], share: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """x1, y1, x2, y2 of a part of an image of `size` that shall fill `share` of the canvas.

    Its aspect is that of the share, so the image is stretched no more than it would be on the whole canvas.
    """
    sides = np.array(share) / (max(share) * rng.uniform(*ZOOM)) * size  # height, width
    top, left = rng.random(2) * (size - sides)
    return np.array([left, top, left + sides[1], top + sides[0]])


def _visible(clipped: np.ndarray, whole: np.ndarray) -> Bool[np.ndarray, " n"]:
    left, all_of_it = clipped[:, 2:] - clipped[:, :2], whole[:, 2:] - whole[:, :2]
    visible: np.ndarray = (left >= 1).all(1) & (left.prod(1) >= VISIBLE * all_of_it.prod(1))
    return visible


def mixup(a: Sample, b: Sample, rng: np.random.Generator) -> Sample:
    """Two images of one size blended about evenly, with the boxes of both."""
    share = rng.uniform(*BLEND)
    return replace(
        a,
        image=_blend(a.image, b.image, share),
        boxes_xyxy=np.concatenate([a.boxes_xyxy, b.boxes_xyxy]),
        labels=np.concatenate([a.labels, b.labels]),
    )


def copy_blend(sample: Sample, donor: Sample, rng: np.random.Generator) -> Sample:
    """Up to three objects of `donor`, an image of the same size, blended in at drawn places.

    Each brings some of its surroundings along. Objects of less than 100 pixels or more than a quarter of the
    image are not taken; one that would cover a fifth of another box at each of ten places is left out.
    """
    image, boxes, labels = sample.image.copy(), sample.boxes_xyxy, sample.labels
    for index in _fit_to_paste(donor, rng):
        patch = _with_margin(donor.boxes_xyxy[index], donor.size, rng)
        found = _place(donor.boxes_xyxy[index], patch, boxes, sample.size, rng)
        if found is None:
            continue
        shift = np.array(found) - patch[:2]
        (x1, y1, x2, y2), (x, y) = patch, found
        there = image[y : y + y2 - y1, x : x + x2 - x1]
        there[...] = _blend(there, donor.image[y1:y2, x1:x2], rng.uniform(*BLEND))
        boxes = np.concatenate(
            [boxes, (donor.boxes_xyxy[index] + np.tile(shift, 2))[None].astype(np.float32)]
        )
        labels = np.append(labels, donor.labels[index])
    return replace(sample, image=image, boxes_xyxy=boxes, labels=labels)


def _fit_to_paste(donor: Sample, rng: np.random.Generator) -> Iterator[int]:
    """A few of the donor's boxes, in drawn order."""
    area = (donor.boxes_xyxy[:, 2:] - donor.boxes_xyxy[:, :2]).prod(1)
    fit = np.flatnonzero((area >= PASTED_AREA[0]) & (area <= PASTED_AREA[1] * np.prod(donor.size)))
    yield from rng.permutation(fit)[:PASTED].tolist()


def _with_margin(box: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The whole pixels of a box and of its surroundings within an image of `size`: x1, y1, x2, y2."""
    margin = rng.uniform(*MARGIN) * (box[2:] - box[:2])
    low, high = np.floor(box[:2] - margin), np.ceil(box[2:] + margin)
    return np.concatenate([low, high]).clip(0, [size[1], size[0]] * 2).astype(int)


def _place(
    box: Float32[np.ndarray, " 4"],
    patch: np.ndarray,
    others: Float32[np.ndarray, "n 4"],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """The left top corner of the first drawn place for `patch` where its box hardly covers others."""
    room = np.array([size[1], size[0]]) - (patch[2:] - patch[:2])
    corners = rng.integers(room + 1, size=(TRIALS, 2))
    tried = box + np.tile(corners - patch[:2], 2)  # [TRIALS, 4]
    shared = np.minimum(tried[:, None, 2:], others[:, 2:]) - np.maximum(tried[:, None, :2], others[:, :2])
    smaller = np.minimum((box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(1))
    free = (shared.clip(0).prod(-1) <= COVERED * smaller).all(1)
    return (int(corners[free.argmax()][0]), int(corners[free.argmax()][1])) if free.any() else None


def _blend(
    a: UInt8[np.ndarray, "H W 3"], b: UInt8[np.ndarray, "H W 3"], share: float
) -> UInt8[np.ndarray, "H W 3"]:
    """share · a + (1 - share) · b."""
    return np.asarray(Image.blend(Image.fromarray(b), Image.fromarray(a), share))
