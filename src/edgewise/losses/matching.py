"""Which query answers for which target: a Hungarian matching of every output, and their union."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from edgewise import boxes as box
from edgewise.config import MatchingConfig
from edgewise.device import at_least_float32
from edgewise.extras import require
from edgewise.losses.union import union
from edgewise.structures import DecoderOutput, Matches, ModelOutput, Targets


@dataclass(frozen=True)
class Matching:
    """The matches of a batch: those of each output alone, which classification uses, and their `union`.

    `outputs` are the layers from first to last, the initial output and the encoder. Each of them pairs
    min(queries, targets) queries of an image with one target each, so all are equally long. `undefined`
    names the outputs that had a cost which is not finite: 0 … L-1, initial, encoder.
    """

    outputs: tuple[Matches, ...]
    union: Matches
    undefined: tuple[str, ...] = ()


def predictions(output: DecoderOutput) -> tuple[list[Tensor], list[Tensor]]:
    """Logits [B, Q, C] and boxes_cxcywh [B, Q, 4] of every output: the layers, initial, encoder if any.

    In float32 at least. Raises ValueError for the output of a model in inference form.
    """
    if output.initial.logits is None:
        raise ValueError(
            "the output has no initial logits, so it is of a model in inference form; "
            "losses need the output of a model in training mode: call model.train() first"
        )
    logits = [*(layer.logits for layer in output.layers), output.initial.logits]
    boxes = [*(layer.boxes for layer in output.layers), output.initial.boxes]
    if isinstance(output, ModelOutput):
        logits.append(output.encoder.logits)
        boxes.append(output.encoder.boxes)
    return [at_least_float32(one) for one in logits], [at_least_float32(one) for one in boxes]


@torch.no_grad()
def match(output: ModelOutput, targets: Targets, config: MatchingConfig) -> Matching:
    """Match every output with the targets, image by image, at the least total cost.

    The costs of all outputs are computed together and moved to the host once. One that is not a number
    counts as 1, and its output is named in `Matching.undefined`: it is for the caller to refuse the step, in
    all processes at once.
    """
    logits, boxes = predictions(output)
    image = targets.image
    class_logits = torch.stack([one[image, :, targets.labels] for one in logits])  # [S, N, Q]
    candidates = torch.stack([one[image] for one in boxes])  # [S, N, Q, 4]
    costs = matching_cost(class_logits, candidates, targets.boxes.to(candidates.dtype), config).cpu().numpy()
    names = [*map(str, range(len(output.layers))), "initial", "encoder"]
    undefined = [name for name, cost in zip(names, costs, strict=True) if not np.isfinite(cost).all()]
    outputs = [_assign(np.nan_to_num(cost, nan=1.0), targets) for cost in costs]
    *outputs, shared = _moved([*outputs, union(outputs)], image.device)
    return Matching(tuple(outputs), shared, tuple(undefined))


def matching_cost(
    class_logits: Float[Tensor, "S N Q"],
    boxes: Float[Tensor, "S N Q 4"],
    target_boxes: Float[Tensor, "N 4"],
    config: MatchingConfig,
) -> Float[Tensor, "S N Q"]:
    """What it costs, in each output, to match target n with each query of its image.

    `class_logits` are those of the target's class; boxes are cxcywh. Where two boxes without area have no
    IoU, it is 1.
    """
    goals = target_boxes[:, None].expand_as(boxes)
    corners, goal_corners = box.cxcywh_to_xyxy(boxes), box.cxcywh_to_xyxy(goals)
    cost = (
        config.class_cost * focal_cost(class_logits, config.alpha, config.gamma)
        + config.l1_cost * (boxes - goals).abs().sum(-1)
        - config.giou_cost * box.giou(corners, goal_corners)
    )
    flat = (box.area(corners) == 0) & (box.area(goal_corners) == 0)
    return torch.where(flat, 1.0, cost)


def focal_cost(
    logits: Float[Tensor, "*b"], alpha: float = 0.25, gamma: float = 2.0, eps: float = 1e-8
) -> Float[Tensor, "*b"]:
    """Focal loss (arXiv 1708.02002) of saying yes to these logits less that of saying no."""
    p = logits.sigmoid()
    yes = alpha * (1 - p) ** gamma * -(p + eps).log()
    no = (1 - alpha) * p**gamma * -(1 - p + eps).log()
    return yes - no


def _assign(cost: Float[np.ndarray, "N Q"], targets: Targets) -> Matches:
    """The cheapest matches of one output on the host, by image, then by query."""
    solve = require("scipy.optimize", "train").linear_sum_assignment
    images, queries, found = [], [], []
    for i, (begin, count) in enumerate(zip(targets.offsets, targets.counts, strict=True)):
        query, target = solve(cost[begin : begin + count].T)
        images.append(np.full(len(query), i))
        queries.append(query)
        found.append(target)
    image, query, target = (torch.from_numpy(np.concatenate(part)) for part in (images, queries, found))
    return Matches(image, query, target, torch.tensor(targets.offsets)[image] + target)


def _moved(matches: Sequence[Matches], device: torch.device) -> list[Matches]:
    """The same on `device`, carried there in one transfer."""
    table: Int64[Tensor, "4 M"] = torch.cat(
        [torch.stack([one.image, one.query, one.target, one.row]) for one in matches], 1
    ).to(device)
    return [Matches(*part) for part in table.split([len(one) for one in matches], 1)]
