"""When a decoder has said enough: how much its sure edges still change from layer to layer."""

from jaxtyping import Float
from torch import Tensor

from edgewise.distributions import edge_kl
from edgewise.structures import LayerOutput

SURE = 0.1  # the score from which a query has a say


def change(before: LayerOutput, after: LayerOutput) -> Float[Tensor, " B"]:
    """By how many nats layer `after` changed an image's edges at most: KL(after ‖ before), of sure queries.

    A query is sure if a class scores at least `SURE` in `after`; an image without any has changed by 0.
    """
    moved = edge_kl(after.edge_logits, before.edge_logits).amax(-1)  # [B, Q]
    sure = after.logits.amax(-1).sigmoid() >= SURE
    return moved.where(sure, 0).amax(-1)
