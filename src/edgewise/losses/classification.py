"""Classification losses: a score that says at once which class and how well the box fits."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def varifocal(
    logits: Float[Tensor, "*b"],
    quality: Float[Tensor, "*b"],
    positive: Bool[Tensor, "*b"],
    alpha: float = 0.75,
    gamma: float = 2.0,
) -> Float[Tensor, "*b"]:
    """Varifocal loss (arXiv 2008.13367) of each class logit.

    Where `positive`, the score learns `quality`, the IoU of box and target, weighted by it; elsewhere
    `quality` is 0 and the score learns 0, weighted by α·scoreᵞ. No gradient flows through the weights.
    """
    weight = quality.where(positive, alpha * logits.detach().sigmoid() ** gamma)
    return weight * binary_cross_entropy_with_logits(logits, quality, reduction="none")


def matchability_aware(
    logits: Float[Tensor, "*b"],
    quality: Float[Tensor, "*b"],
    positive: Bool[Tensor, "*b"],
    gamma: float = 1.5,
) -> Float[Tensor, "*b"]:
    """Matchability-aware loss (DEIM, arXiv 2412.04234, Eq. 3) of each class logit.

    Where `positive`, the score p learns qᵞ, q being `quality`, the IoU of box and target, at full weight, so
    that a poor match is unlearned and not ignored; elsewhere it learns 0, weighted by pᵞ. No gradient flows
    through the weights.
    """
    weight = logits.detach().sigmoid().pow(gamma).where(~positive, 1.0)
    goal = quality.pow(gamma).where(positive, 0.0)
    return weight * binary_cross_entropy_with_logits(logits, goal, reduction="none")
