"""Decoupled distillation: earlier layers learn the last layer's edge distributions."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def matched_emphasis(matched: int, unmatched: int) -> float:
    """√K_m / (√K_m + √K_u): how much of DDF the matched queries are, against all the others."""
    return float(matched**0.5 / (matched**0.5 + unmatched**0.5)) if matched else 0.0


def divergence(
    student: Float[Tensor, "*b n"], teacher: Float[Tensor, "*b n"], temperature: float = 5.0
) -> Float[Tensor, "*b"]:
    """T²·KL(teacher ‖ student) of the softmax of logits / T; exactly 0 where they are equal.

    No gradient flows to the teacher.
    """
    goal = (teacher.detach() / temperature).log_softmax(-1)
    return temperature**2 * (goal.exp() * (goal - (student / temperature).log_softmax(-1))).sum(-1)


def decoupled_distillation(
    students: Float[Tensor, "L B Q 4 n"],
    teacher: Float[Tensor, "B Q 4 n"],
    quality: Float[Tensor, "L B Q"],
    matched: Bool[Tensor, "B Q"],
    emphasis: float,
    num_matched: int,
    num_others: int,
    temperature: float = 5.0,
) -> Float[Tensor, " L"]:
    """DDF (Eq. 6) of each layer: the mean over matched queries' edges blended with that over all others'.

    `quality` weights a query: the IoU of the student's box with its target where `matched`, the teacher's
    best score elsewhere. `emphasis` is the share of the matched mean. `num_matched` and `num_others` are the
    queries that the two means are over: those given here, or all of a step of which these are a part. The
    losses of its parts then add up to that of the whole. A mean over none is 0.
    """
    loss = divergence(students, teacher.expand_as(students), temperature).mean(-1)  # [L, B, Q]
    share = torch.full_like(loss[0], (1 - emphasis) / max(1, num_others))
    share = share.masked_fill(matched, emphasis / max(1, num_matched))
    return (share * quality.detach() * loss).sum((1, 2))
