"""Edge distributions in torch: bins to offsets, offsets to edges, edges to bins.

The four edges of a box are always left, top, right, bottom; an offset is positive where it moves its
edge outwards and is measured in sides of the initial box (width for left and right, height for top
and bottom). Equation numbers are those of arXiv 2410.13842; `docs/math.md` maps symbols to names.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from edgewise import bins
from edgewise.caching import cached_constant


@cached_constant
def bin_values(
    num_bins: int,
    a: float = 0.5,
    c: float = 0.25,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, " n"]:
    """W(n) (Eq. 4) as a cached tensor [N+1]; see `edgewise.bins.bin_values`. Do not write into it."""
    return torch.tensor(bins.bin_values(num_bins, a, c), dtype=dtype, device=device)


def expected_offset(logits: Float[Tensor, "*b 4 n"], values: Float[Tensor, " n"]) -> Float[Tensor, "*b 4"]:
    """Σₙ W(n)·Pr(n), the inner sum of Eq. 2: each edge's mean offset, in sides of the initial box.

    Not a matrix product, which autocast would round to bfloat16.
    """
    return (logits.softmax(-1) * values).sum(-1)


def edge_kl(later: Float[Tensor, "*b 4 n"], earlier: Float[Tensor, "*b 4 n"]) -> Float[Tensor, "*b 4"]:
    """KL(later ‖ earlier) of each edge's distribution, both given as logits: nats lost by stopping early."""
    after, before = later.log_softmax(-1), earlier.log_softmax(-1)
    return (after.exp() * (after - before)).sum(-1).clamp(min=0)


def refined_boxes(initial: Float[Tensor, "*b 4"], offsets: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """Boxes (cx, cy, w, h) whose edges are those of `initial` (same format) moved by `offsets` (Eq. 2).

    Not clamped: offsets that cross give a negative side, as in the paper's code.
    """
    centre, side = initial[..., :2], initial[..., 2:]
    top_left = centre - side / 2 - offsets[..., :2] * side
    bottom_right = centre + side / 2 + offsets[..., 2:] * side
    return torch.cat([(top_left + bottom_right) / 2, bottom_right - top_left], -1)


def target_offsets(
    initial: Float[Tensor, "*b 4"], boxes_xyxy: Float[Tensor, "*b 4"], eta: float = 1e-16
) -> Float[Tensor, "*b 4"]:
    """Offsets that would move the edges of `initial` (cx, cy, w, h) onto `boxes_xyxy`: φ of Eq. 5.

    `eta` is added to a side before dividing by it, so that a box without area has a finite answer.
    """
    centre, side = initial[..., :2], initial[..., 2:]
    top_left = (centre - boxes_xyxy[..., :2]) / (side + eta) - 0.5
    bottom_right = (boxes_xyxy[..., 2:] - centre) / (side + eta) - 0.5
    return torch.cat([top_left, bottom_right], -1)


def nearest_bins(
    offsets: Float[Tensor, "*b"], values: Float[Tensor, " n"]
) -> tuple[Int[Tensor, "*b"], Float[Tensor, "*b"]]:
    """The bin n at or below each offset and the share ω of bin n+1, so that (1-ω)W(n) + ωW(n+1) = offset.

    Offsets beyond the outer bins take the nearest end: (0, 0) below W(0), (N-1, 1) at W(N) and above.
    """
    last = len(values) - 1
    left = (torch.searchsorted(values, offsets.contiguous(), right=True) - 1).clamp(0, last - 1)
    low, high = values[left], values[left + 1]
    return left, ((offsets - low) / (high - low)).clamp(0, 1)
