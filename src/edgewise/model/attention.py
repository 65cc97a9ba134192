"""Self attention, and deformable attention with its samplers."""

import math
from collections.abc import Callable
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int32
from torch import Tensor, nn

from edgewise.caching import cached_constant
from edgewise.config import DecoderConfig
from edgewise.device import at_least_float32


class SelfAttention(nn.Module):
    """Multi-head attention whose position code goes into queries and keys only."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))  # queries, keys, values
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        x: Float[Tensor, "B Q D"],
        position: Float[Tensor, "#B Q D"],
        blocked: Bool[Tensor, "Q Q"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """`blocked[i, j]`: query i does not see query j."""
        dim = x.shape[-1]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        query, key = F.linear(x + position, weight[: 2 * dim], bias[: 2 * dim]).chunk(2, -1)
        value = F.linear(x, weight[2 * dim :], bias[2 * dim :])
        query, key, value = (
            t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (query, key, value)
        )  # [B, heads, Q, D / heads]
        mixed = attend(query, key, value, blocked)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def attend(
    query: Float[Tensor, "B heads Q d"],
    key: Float[Tensor, "B heads Q d"],
    value: Float[Tensor, "B heads Q d"],
    blocked: Bool[Tensor, "Q Q"] | None = None,
) -> Float[Tensor, "B heads Q d"]:
    """softmax(query · keyᵀ / √d) · value, head by head; `blocked[i, j]`: query i does not see key j.

    Where gradients in bfloat16 are wanted on a CPU these are two products, each rounded: torch's fused
    operation, which rounds at the end alone, takes twice as long there (torch 2.13).
    """
    if not (query.is_cpu and query.dtype == torch.bfloat16 and query.requires_grad):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=None if blocked is None else ~blocked
        )
    unseen = query.new_zeros(1, 1, 1)
    if blocked is not None:
        unseen = query.new_zeros(1, *blocked.shape).masked_fill(blocked, -math.inf)
    rows, columns, values = (one.flatten(0, 1) for one in (query, key, value))
    scores = torch.baddbmm(unseen, rows, columns.mT, alpha=query.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1), values).unflatten(0, query.shape[:2])  # type: ignore[no-any-return]


Sampler = Callable[[Tensor, tuple[tuple[int, int], ...], tuple[int, ...], Tensor, Tensor], Tensor]


def sample_grid(
    values: Float[Tensor, "BH T d"],
    sizes: tuple[tuple[int, int], ...],
    num_points: tuple[int, ...],
    locations: Float[Tensor, "BH Q P 2"],
    weights: Float[Tensor, "BH Q P"],
) -> Float[Tensor, "BH Q d"]:
    """Weighted sum of `values` at P points per query, read bilinearly with `F.grid_sample`.

    `values` holds the rows of maps of the `sizes` given, one map after the other; the first `num_points[0]`
    points lie in the first map, and so on. Locations are (x, y), [0, 1] from border to border; zero outside.
    """
    grids = (2 * locations - 1).split(num_points, 2)
    levels = values.split([h * w for h, w in sizes], 1)
    sampled = [
        F.grid_sample(level.transpose(1, 2).unflatten(2, size), grid, align_corners=False)
        for level, size, grid in zip(levels, sizes, grids, strict=True)
    ]  # [BH, d, Q, points] each
    return (torch.cat(sampled, 3) * weights[:, None]).sum(3).transpose(1, 2)


def sample_gather(
    values: Float[Tensor, "BH T d"],
    sizes: tuple[tuple[int, int], ...],
    num_points: tuple[int, ...],
    locations: Float[Tensor, "BH Q P 2"],
    weights: Float[Tensor, "BH Q P"],
) -> Float[Tensor, "BH Q d"]:
    """The same as `sample_grid`, from indexing and products alone: what runtimes without it can run."""
    bh, tokens, _ = values.shape
    width, height, start = (
        torch.cat([locations.new_full((n,), one) for one, n in zip(numbers, num_points, strict=True)])
        for numbers in ([w for _, w in sizes], [h for h, _ in sizes], _starts(sizes))
    )  # [P] each, of the map a point lies in
    x, y = locations[..., 0] * width - 0.5, locations[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    column = torch.stack([left, left + 1, left, left + 1], 2)  # [BH, Q, 4, P]
    row = torch.stack([top, top, top + 1, top + 1], 2)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    share = (1 - (x[:, :, None] - column).abs()) * (1 - (y[:, :, None] - row).abs())
    share = share * inside * weights[:, :, None]
    cell = row.clamp(min=0).minimum(height - 1) * width + column.clamp(min=0).minimum(width - 1)
    image = torch.arange(bh, device=values.device)[:, None] * tokens
    picked = values.flatten(0, 1).index_select(0, ((cell + start).long().flatten(1) + image).flatten())
    picked = picked.view(*share.shape[:2], -1, values.shape[-1])  # [BH, Q, 4P, d]
    return (share.flatten(2)[:, :, None] @ picked).squeeze(2)


def sample_bags(
    values: Float[Tensor, "BH T d"],
    sizes: tuple[tuple[int, int], ...],
    num_points: tuple[int, ...],
    locations: Float[Tensor, "BH Q P 2"],
    weights: Float[Tensor, "BH Q P"],
) -> Float[Tensor, "BH Q d"]:
    """The same as `sample_grid`, without gradients: rows are read whole and summed as they are read.

    On CPU that takes a third of the time with 32 channels a head, and a little less with 16.
    """
    bh, tokens, channels = values.shape
    size, last, start = _levels(sizes, num_points, locations.dtype, locations.device)
    image = (torch.arange(bh, device=values.device, dtype=torch.int32) * tokens)[:, None, None]
    place = locations * size - 0.5
    low = place.floor()
    high = low + 1
    above = place - low
    shares = ((1 - above) * ((low >= 0) & (low <= last)), above * ((high >= 0) & (high <= last)))
    cells = [one.clamp(min=0).minimum(last).int() for one in (low, high)]
    width = size[:, 0].int()
    rows = [one[..., 1] * width + start + image for one in cells]
    down = [one[..., 1] * weights for one in shares]
    cell = torch.stack([row + one[..., 0] for row in rows for one in cells], -1)
    share = torch.stack([y * x[..., 0] for y in down for x in shares], -1)  # [BH, Q, P, 4]
    sums = F.embedding_bag(
        cell.view(-1, cell[0, 0].numel()),
        values.flatten(0, 1),
        mode="sum",
        per_sample_weights=share.view(-1, share[0, 0].numel()),
    )
    return sums.view(bh, -1, channels)


@cached_constant
def _levels(
    sizes: tuple[tuple[int, int], ...], num_points: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "P 2"], Float[Tensor, "P 2"], Int32[Tensor, " P"]]:
    """Of the map a point lies in: (width, height), its last column and row, and where its rows begin."""
    level = [i for i, count in enumerate(num_points) for _ in range(count)]
    size = torch.tensor([sizes[i][::-1] for i in level], dtype=dtype, device=device)
    start = torch.tensor([_starts(sizes)[i] for i in level], dtype=torch.int32, device=device)
    return size, size - 1, start


def _starts(sizes: tuple[tuple[int, int], ...]) -> list[int]:
    """The row of `values` where each map begins."""
    return list(accumulate((h * w for h, w in sizes[:-1]), initial=0))


SAMPLERS: dict[str, Sampler] = {"gather": sample_gather, "grid_sample": sample_grid}


class DeformableAttention(nn.Module):
    """Each query reads a few points around its box, on every map; there are no projections of values."""

    num_points_scale: Tensor
    reach = 0.5  # an offset of 1 is half a side of the box, over the points of its level

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.num_points = config.num_points
        self.sample = SAMPLERS[config.sampler]
        scale = [1 / n for n in config.num_points for _ in range(n)]
        self.register_buffer("num_points_scale", torch.tensor(scale))
        self.sampling_offsets = nn.Linear(config.dim, config.num_heads * len(scale) * 2)
        self.attention_weights = nn.Linear(config.dim, config.num_heads * len(scale))
        self._initialise()

    def _initialise(self) -> None:
        """Equal weights; head k looks in direction 2πk/heads, its j-th point of a level j steps out."""
        angle = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)  # [heads, 2]
        steps = torch.cat([torch.arange(1, n + 1) for n in self.num_points])  # [P]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((direction[:, None] * steps[:, None]).flatten())
        for zero in (self.sampling_offsets.weight, *self.attention_weights.parameters()):
            nn.init.zeros_(zero)

    def forward(
        self,
        query: Float[Tensor, "B Q D"],
        references: Float[Tensor, "B Q 4"],
        values: Float[Tensor, "BH T d"],
        sizes: tuple[tuple[int, int], ...],
    ) -> Float[Tensor, "B Q D"]:
        """What each query sees; `references` are boxes_cxcywh, `values` the maps by image and head."""
        heads = (self.num_heads, -1)
        offsets = self.sampling_offsets(query).unflatten(2, (*heads, 2))  # [B, Q, heads, P, 2]
        weights = at_least_float32(self.attention_weights(query).unflatten(2, heads)).softmax(-1)
        boxes = references[:, :, None, None]
        scale = (self.num_points_scale * self.reach)[:, None]
        locations = boxes[..., :2] + at_least_float32(offsets) * scale * boxes[..., 2:]
        seen: Tensor = self.sample(
            values,
            sizes,
            self.num_points,
            locations.transpose(1, 2).flatten(0, 1),
            weights.transpose(1, 2).flatten(0, 1),
        )
        seen = seen.unflatten(0, (-1, self.num_heads))  # [B, heads, Q, d]
        return seen.transpose(1, 2).flatten(2).to(query.dtype)
