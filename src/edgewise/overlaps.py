"""How large boxes are and what they share, in numpy, no torch: left, top, right, bottom; shapes broadcast."""

import numpy as np
from jaxtyping import Float


def common(a: Float[np.ndarray, "*m 4"], b: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*k 4"]:
    """The box that lies in both; its corners are crossed where there is none."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    return np.concatenate([low, high], -1)


def sides(boxes: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*b 4"]:
    """How long a box is across each edge: width, height, width, height."""
    length = boxes[..., 2:] - boxes[..., :2]
    return np.concatenate([length, length], -1)


def area(boxes: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*b"]:
    """0 for crossed corners."""
    return np.asarray((boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1))


def iou(a: Float[np.ndarray, "*m 4"], b: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*k"]:
    """The area in both as a share of the area in either; 0 where they share none."""
    inter = area(common(a, b))
    union = area(a) + area(b) - inter
    share: np.ndarray = np.divide(inter, union, out=np.zeros_like(inter), where=inter > 0)
    return share


def pairwise_iou(a: Float[np.ndarray, "m 4"], b: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "m n"]:
    """Of every box of one with every box of the other."""
    return iou(a[:, None], b)
