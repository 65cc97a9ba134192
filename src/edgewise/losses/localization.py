"""Box losses, and fine-grained localization: where each edge's distribution should put its weight."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from edgewise import boxes as box
from edgewise.distributions import nearest_bins, target_offsets


def l1(boxes: Float[Tensor, "*b 4"], target_boxes: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b"]:
    """Sum of the four absolute differences of two boxes_cxcywh."""
    return (boxes - target_boxes).abs().sum(-1)


def giou(boxes: Float[Tensor, "*b 4"], target_boxes: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b"]:
    """1 - GIoU of two boxes_cxcywh."""
    return 1 - box.giou(box.cxcywh_to_xyxy(boxes), box.cxcywh_to_xyxy(target_boxes))


@dataclass(frozen=True)
class EdgeGoals:
    """Where a target's edges lie between the bins of its initial box: bin `left` [P, 4] and the one after.

    The target is at (1 - share)·W(left) + share·W(left + 1).
    """

    left: Int64[Tensor, "P 4"]
    share: Float[Tensor, "P 4"]


@torch.no_grad()
def edge_goals(
    initial: Float[Tensor, "P 4"], target_boxes: Float[Tensor, "P 4"], values: Float[Tensor, " n"]
) -> EdgeGoals:
    """The goals that lead from initial boxes to target boxes, both cxcywh; `values` are W(n)."""
    return EdgeGoals(*nearest_bins(target_offsets(initial, box.cxcywh_to_xyxy(target_boxes)), values))


def fine_grained_localization(
    edge_logits: Float[Tensor, "*b P 4 n"], goals: EdgeGoals, iou: Float[Tensor, "*b P"]
) -> Float[Tensor, "*b P"]:
    """FGL (Eq. 5) of P matched queries: cross-entropy with the two bins around each target edge.

    Weighted by the IoU of the predicted box with its target, which gets no gradient.
    """
    log_probs = edge_logits.log_softmax(-1)
    left = goals.left.expand(log_probs.shape[:-1])[..., None]
    low, high = log_probs.gather(-1, left)[..., 0], log_probs.gather(-1, left + 1)[..., 0]  # [*b, P, 4]
    return -iou.detach() * torch.lerp(low, high, goals.share).sum(-1)
