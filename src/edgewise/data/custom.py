"""A user's own transform: any function of (image, boxes_xyxy, labels), checked and made repeatable."""

import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from edgewise.sample import Sample

# uint8 [H, W, 3] RGB, float32 [n, 4] in pixels, int64 [n] → the same of any size and number
Transform = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[Any, Any, Any]]


def transformed(sample: Sample, transform: Transform, key: Sequence[int]) -> Sample:
    """What `transform` makes of copies of a sample's image, boxes and labels; boxes are clipped to the image.

    Meanwhile the global generators of python, numpy and torch are seeded with `key`, so what it draws from
    them does not depend on the process. Raises ValueError, naming transform and image, if the result is not
    such a triple.
    """
    given = sample.image.copy(), sample.boxes_xyxy.copy(), sample.labels.copy()
    with _seeded(key):
        found = transform(*given)
    try:
        image, boxes, labels = found
        image, labels = np.ascontiguousarray(image), np.asarray(labels)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"the image is {image.dtype} {list(image.shape)}")
        if labels.shape != (len(boxes),) or (len(labels) and labels.dtype.kind not in "iu"):
            raise ValueError(f"labels are {labels.dtype} {list(labels.shape)} for {len(boxes)} boxes")
        made = replace(sample, image=image, boxes_xyxy=boxes, labels=labels.astype(np.int64))
    except (TypeError, ValueError) as error:
        where = sample.path or f"image {sample.image_id}"
        raise ValueError(
            f"transform {name_of(transform)} of {where}: {str(error).removeprefix(f'{sample.path}: ')}; "
            "expected it to return (image uint8 [H, W, 3], boxes_xyxy [n, 4] in pixels, integer labels [n])"
        ) from None
    height, width = made.size
    return replace(made, boxes_xyxy=made.boxes_xyxy.clip(0, np.array([width, height] * 2, np.float32)))


def name_of(transform: Transform) -> str:
    """What a transform is called in errors: the name of the function, or of its class."""
    return str(getattr(transform, "__qualname__", type(transform).__qualname__))


def check_can_travel(transform: Transform) -> None:
    """ValueError, naming the transform and the way out, if worker processes cannot be given it."""
    try:
        pickle.dumps(transform)
    except Exception as error:  # pickle raises nearly anything
        raise ValueError(
            f"transform {name_of(transform)} cannot be given to worker processes ({error}); define it at the "
            "top level of a module, or train with workers=0"
        ) from None


@contextmanager
def _seeded(key: Sequence[int]) -> Iterator[None]:
    """The global generators as `key` says, and afterwards as they were."""
    numbers = np.random.SeedSequence(key).generate_state(3)
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 - what a user's code draws from
    with torch.random.fork_rng(devices=[]):
        random.seed(int(numbers[0]))
        np.random.seed(numbers[1])  # noqa: NPY002
        torch.manual_seed(int(numbers[2]))
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
