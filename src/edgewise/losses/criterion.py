"""All losses of a step: from one model output and the targets of its images to named scalars."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise import boxes as box
from edgewise.config import LossConfig
from edgewise.device import at_least_float32
from edgewise.losses.classification import matchability_aware, varifocal
from edgewise.losses.distillation import decoupled_distillation
from edgewise.losses.localization import edge_goals, fine_grained_localization, giou, l1
from edgewise.losses.matching import Matching, predictions
from edgewise.losses.normalizers import Normalizers
from edgewise.structures import DecoderOutput, InitialOutput, LayerOutput, Matches, ModelOutput, Targets


def detection_losses(
    output: ModelOutput,
    targets: Targets,
    matching: Matching,
    values: Float[Tensor, " n"],
    config: LossConfig,
    positives: Matches | None = None,
    normalizers: Normalizers | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Every loss of every output, weighted: training descends their sum.

    A name is LOSS/OUTPUT, the L layers being counted from 0 and `dn` being the denoising queries:

    - vfl, l1 and giou of 0 … L-1, initial, encoder, dn/0 … dn/L-1 and dn/initial; vfl is also the name
      where `config.classification` chooses another;
    - fgl of 0 … L-1 and dn/0 … dn/L-1; ddf of 0 … L-2 and dn/0 … dn/L-1.

    These 10L + 8 names never change: without boxes or denoising queries their terms are finite and still
    part of the graph. All are computed in float32 at least.

    `values` are W(n); `positives` match the denoising queries with their boxes. Sums over queries are divided
    by the number of boxes (classification), by that of pairs in `matching.union` (boxes and edges) and, of
    denoising queries, by that of positives; each at least 1. `normalizers` are these counts, by default those
    of this very batch. With the counts of a step that is divided into passes or processes, the losses of its
    parts add up to the loss of the whole.
    """
    if (output.denoising is None) != (positives is None):
        raise ValueError(
            f"the output has {'no ' if output.denoising is None else ''}denoising queries but positives are "
            f"{'missing' if positives is None else 'given'}; expected both or neither"
        )
    counts = normalizers or Normalizers.of(output, targets, matching, positives)
    numbers = [str(i) for i in range(len(output.layers))]

    normal = _Supervision(
        matching.outputs, matching.union, counts.emphasis, counts.boxes, counts.pairs, counts.others
    )
    losses = _named(_terms(output, normal, targets, values, config), [*numbers, "initial", "encoder"])
    del losses[f"ddf/{numbers[-1]}"]  # the last layer is the teacher

    positives = _no_matches(targets.labels.device) if positives is None else positives
    noised = _Supervision(
        (positives,) * (len(numbers) + 1),
        positives,
        counts.emphasis,
        counts.noised_pairs,
        counts.noised_pairs,
        counts.noised_others,
    )
    denoising = output.denoising or _without_queries(output)
    terms = _terms(denoising, noised, targets, values, config)
    return losses | _named(terms, [*(f"dn/{number}" for number in numbers), "dn/initial"])


@dataclass(frozen=True)
class _Supervision:
    """What one kind of query is to learn: the matches of each output for classification (`own`) and those
    that all of them share for boxes and edges, DDF's emphasis, and how many the whole step has of own matches
    (of one output), of shared ones, and of queries without.
    """

    own: tuple[Matches, ...]
    shared: Matches
    emphasis: float
    num_own: int
    num_shared: int
    num_others: int


def _terms(
    output: DecoderOutput, given: _Supervision, targets: Targets, values: Tensor, config: LossConfig
) -> dict[str, Tensor]:
    """The weighted losses of one kind of query, of each of its outputs [S] or each of its layers [L]."""
    logits, boxes = (torch.stack(part) for part in predictions(output))  # [S, B, Q, C], [S, B, Q, 4]
    edge_logits = torch.stack([at_least_float32(layer.edge_logits) for layer in output.layers])
    depth = len(edge_logits)  # layers come first, then the initial output
    image, query = given.shared.image, given.shared.query
    found = boxes[:, image, query]  # [S, M, 4]
    goals = targets.boxes.to(boxes.dtype)[given.shared.row].expand_as(found)
    ious = _ious(found[:depth], goals[:depth])  # [L, M]
    edges = edge_goals(found[depth], goals[depth], values.to(boxes.dtype))  # of all layers
    fgl = fine_grained_localization(edge_logits[:, image, query], edges, ious)  # [L, M]

    quality = logits[depth - 1].detach().sigmoid().amax(-1).repeat(depth, 1, 1)  # [L, B, Q]
    quality[:, image, query] = ious
    matched = torch.zeros(boxes.shape[1:3], dtype=torch.bool, device=boxes.device)
    matched[image, query] = True
    ddf = decoupled_distillation(
        edge_logits[:-1],
        edge_logits[-1],
        quality[:-1],
        matched,
        given.emphasis,
        given.num_shared,
        given.num_others,
        config.temperature,
    )
    taught = edge_logits[-1:, :, :0].sum((1, 2, 3, 4))  # the last layer is the teacher itself: 0
    num_own, num_shared = max(1, given.num_own), max(1, given.num_shared)
    return {
        "vfl": config.vfl * _classification(logits, boxes, given.own, targets, config) / num_own,
        "l1": config.l1 * l1(found, goals).sum(-1) / num_shared,
        "giou": config.giou * giou(found, goals).sum(-1) / num_shared,
        "fgl": config.fgl * fgl.sum(-1) / num_shared,
        "ddf": config.ddf * torch.cat([ddf, taught]),
    }


def _classification(
    logits: Tensor, boxes: Tensor, matches: Sequence[Matches], targets: Targets, config: LossConfig
) -> Tensor:
    """The sum of the chosen classification loss in each output [S]."""
    image, query, row = (
        torch.stack([getattr(one, name) for one in matches]) for name in ("image", "query", "row")
    )  # [S, M]
    output = torch.arange(len(matches), device=image.device)[:, None]
    target = output, image, query, targets.labels[row]
    quality, positive = torch.zeros_like(logits), torch.zeros_like(logits, dtype=torch.bool)
    quality[target] = _ious(boxes[output, image, query], targets.boxes.to(boxes.dtype)[row])
    positive[target] = True
    if config.classification == "mal":
        loss = matchability_aware(logits, quality, positive, config.mal_gamma)
    else:
        loss = varifocal(logits, quality, positive, config.alpha, config.gamma)
    return loss.sum((1, 2, 3))


def _ious(boxes: Tensor, goals: Tensor) -> Tensor:
    """IoU of boxes_cxcywh, without gradient."""
    return box.iou(box.cxcywh_to_xyxy(boxes.detach()), box.cxcywh_to_xyxy(goals))


def _named(terms: dict[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
    """LOSS/OUTPUT to scalar; a loss of the layers alone has fewer values than there are outputs."""
    return {
        f"{loss}/{name}": value
        for loss, values in terms.items()
        for name, value in zip(outputs, values.unbind(), strict=False)
    }


def _without_queries(output: ModelOutput) -> DecoderOutput:
    """The output for no queries at all, still part of the graph."""
    layers = tuple(
        LayerOutput(layer.logits[:, :0], layer.boxes[:, :0], layer.edge_logits[:, :0])
        for layer in output.layers
    )
    initial = output.initial
    logits = None if initial.logits is None else initial.logits[:, :0]
    return DecoderOutput(layers, InitialOutput(logits, initial.boxes[:, :0]))


def _no_matches(device: torch.device) -> Matches:
    return Matches(*torch.zeros(4, 0, dtype=torch.int64, device=device))
