"""Learning from a better detector: its scores and edge distributions for the objects both have found.

Queries of two models do not correspond, and each measures offsets from initial boxes of its own. So they meet
at the targets, and the teacher's distributions are carried into the student's frame, pixel by pixel.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from edgewise import boxes as box
from edgewise.config import DistillConfig, MatchingConfig
from edgewise.device import at_least_float32
from edgewise.distributions import nearest_bins, target_offsets
from edgewise.losses.matching import Matching, matching_cost
from edgewise.losses.normalizers import Normalizers
from edgewise.structures import DecoderOutput, Targets


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of each target: its scores, and where it sees the edges.

    `probs` belong to `values`, W(n), from the boxes `initial`; `quality` is the IoU of its box with the
    target.
    """

    scores: Float[Tensor, "N C"]
    probs: Float[Tensor, "N 4 n"]
    initial: Float[Tensor, "N 4"]
    quality: Float[Tensor, " N"]
    values: Float[Tensor, " n"]


@torch.no_grad()
def lesson(
    teacher: DecoderOutput, targets: Targets, values: Float[Tensor, " n"], config: MatchingConfig
) -> Lesson:
    """The last layer's word on each target, by the query that matches it at the least cost.

    The teacher's classes must be those of the targets; `values` are its W(n).
    """
    last = teacher.layers[-1]
    logits, boxes = at_least_float32(last.logits), at_least_float32(last.boxes)
    image, goals = targets.image, targets.boxes.to(boxes.dtype)
    class_logits = logits[image, :, targets.labels][None]  # [1, N, Q]
    query = matching_cost(class_logits, boxes[image][None], goals, config)[0].argmin(-1)
    return Lesson(
        logits[image, query].sigmoid(),
        at_least_float32(last.edge_logits)[image, query].softmax(-1),
        teacher.initial.boxes[image, query].to(boxes.dtype),
        box.iou(box.cxcywh_to_xyxy(boxes[image, query]), box.cxcywh_to_xyxy(goals)),
        values.to(boxes.dtype),
    )


def teaching_losses(
    output: DecoderOutput,
    lesson: Lesson,
    matching: Matching,
    values: Float[Tensor, " n"],
    config: DistillConfig,
    counts: Normalizers,
) -> dict[str, Float[Tensor, ""]]:
    """kd_edges/i and kd_scores/i of each layer i, weighted; 0 where student and teacher agree.

    Edges are taught to the queries of `matching.union`, in proportion to the teacher's own IoU; scores to
    each layer's own matches, which are the ones whose scores shall be high. `values` are the student's W(n),
    sums are divided by `counts` as those of the other losses are.
    """
    image, query, row = matching.union.image, matching.union.query, matching.union.row
    initial = at_least_float32(output.initial.boxes)[image, query]
    goal = transported(
        lesson.probs[row], lesson.initial[row], initial, lesson.values, values.to(initial.dtype)
    )  # [P, 4, n]
    losses = {}
    for i, layer in enumerate(output.layers):
        edges = at_least_float32(layer.edge_logits)[image, query]
        taught = lesson.quality[row] * edge_divergence(edges, goal, config.temperature).mean(-1)
        losses[f"kd_edges/{i}"] = config.weight * taught.sum() / max(1, counts.pairs)
        own = matching.outputs[i]
        logits = at_least_float32(layer.logits)[own.image, own.query]
        told = score_divergence(logits, lesson.scores[own.row]).sum()
        losses[f"kd_scores/{i}"] = config.weight * told / max(1, counts.boxes)
    return losses


@torch.no_grad()
def transported(
    probs: Float[Tensor, "*b 4 m"],
    initial: Float[Tensor, "*b 4"],
    new_initial: Float[Tensor, "*b 4"],
    values: Float[Tensor, " m"],
    new_values: Float[Tensor, " n"],
) -> Float[Tensor, "*b 4 n"]:
    """Edge distributions over `values` from the boxes `initial` as ones over `new_values` from `new_initial`.

    Each bin's probability goes to the two new bins around its place in the image, shared out so that their
    mean is that place; what lies beyond the outer bins goes to the nearest. So the mean edge stays where it
    is if no probability lies beyond. Boxes are cxcywh.
    """
    shift = target_offsets(new_initial, box.cxcywh_to_xyxy(initial))  # of the old edge in the new frame
    scale = (initial[..., 2:] / new_initial[..., 2:].clamp(min=1e-9)).repeat(*[1] * (initial.ndim - 1), 2)
    left, share = nearest_bins(shift[..., None] + scale[..., None] * values, new_values)  # [*b, 4, m]
    moved = probs.new_zeros(*probs.shape[:-1], len(new_values))
    return moved.scatter_add(-1, left, probs * (1 - share)).scatter_add(-1, left + 1, probs * share)


def edge_divergence(
    logits: Float[Tensor, "*b n"], goal: Float[Tensor, "*b n"], temperature: float = 1.0
) -> Float[Tensor, "*b"]:
    """T²·KL(goal at T ‖ softmax of logits / T), where a distribution at T is p^(1/T), normalised.

    Least, and 0, at softmax(logits) = goal whatever T; a higher one gives small probabilities more say. No
    gradient flows to `goal`.
    """
    soft = goal.detach() ** (1 / temperature)
    soft = soft / soft.sum(-1, keepdim=True)
    log_probs = (logits / temperature).log_softmax(-1)
    return temperature**2 * (torch.xlogy(soft, soft) - soft * log_probs).sum(-1)


def score_divergence(logits: Float[Tensor, "*b"], goal: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """KL of two coins, `goal` and σ(logits): the cross-entropy less what of it cannot be learned."""
    p = goal.detach()
    entropy = -torch.xlogy(p, p) - torch.xlogy(1 - p, 1 - p)
    return F.binary_cross_entropy_with_logits(logits, p, reduction="none") - entropy
