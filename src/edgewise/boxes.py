"""Box formats, area, IoU and GIoU. Element-wise unless a name says `pairwise`; any common frame."""

import torch
from jaxtyping import Float
from torch import Tensor


def cxcywh_to_xyxy(boxes: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """(cx, cy, w, h) to (x1, y1, x2, y2). Negative sides count as zero, so x1 <= x2 and y1 <= y2 hold."""
    centre, half = boxes[..., :2], boxes[..., 2:].clamp(min=0) / 2
    return torch.cat([centre - half, centre + half], -1)


def xyxy_to_cxcywh(boxes: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """(x1, y1, x2, y2) to (cx, cy, w, h). Crossed corners give negative sides."""
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(top_left + bottom_right) / 2, bottom_right - top_left], -1)


def area(boxes_xyxy: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b"]:
    """Width times height; negative for crossed corners on one axis."""
    return (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).prod(-1)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection and union areas of broadcast boxes."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    return inter, area(a) + area(b) - inter


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 with zero gradient where whole is 0: two boxes without area share nothing."""
    empty = whole == 0
    return torch.where(empty, 0.0, part / torch.where(empty, 1.0, whole))


def iou(a: Float[Tensor, "*b 4"], b: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b"]:
    """Intersection over union of boxes_xyxy, pair by pair; 0 where both boxes have no area."""
    return _ratio(*_overlap(a, b))


def giou(a: Float[Tensor, "*b 4"], b: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b"]:
    """Generalised IoU (arXiv 1902.09630) of boxes_xyxy, pair by pair, in [-1, 1]."""
    inter, union = _overlap(a, b)
    return _ratio(inter, union) - _ratio(_hull(a, b) - union, _hull(a, b))


def _hull(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    return (high - low).prod(-1)


def pairwise_iou(a: Float[Tensor, "*b m 4"], b: Float[Tensor, "*b n 4"]) -> Float[Tensor, "*b m n"]:
    """IoU of every box of `a` with every box of `b`."""
    return iou(*_pairs(a, b))


def pairwise_giou(a: Float[Tensor, "*b m 4"], b: Float[Tensor, "*b n 4"]) -> Float[Tensor, "*b m n"]:
    """GIoU of every box of `a` with every box of `b`."""
    return giou(*_pairs(a, b))


def _pairs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    shape = (*a.shape[:-1], b.shape[-2], 4)
    return a[..., :, None, :].expand(shape), b[..., None, :, :].expand(shape)
