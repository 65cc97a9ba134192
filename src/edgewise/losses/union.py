"""The union of all outputs' matches, which the box and edge losses of every output share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from edgewise.structures import Matches


def union(matches: Sequence[Matches]) -> Matches:
    """One target for each query that any of the outputs matched, by image, then by query.

    It is the target that most outputs matched the query with and, of equally many, the one that lies first
    in its image. Several queries may share a target. (D-FINE's "global optimal" set, its ties made stable.)
    """
    image, query, target, row = (
        torch.cat([getattr(one, name) for one in matches]) for name in ("image", "query", "target", "row")
    )
    queries, rows = _extent(query), _extent(row)
    pair, votes = torch.unique((image * queries + query) * rows + row, return_counts=True)
    slot = pair // rows  # image and query in one number; pairs ascend by slot, then by target
    order = torch.argsort(slot * (len(matches) + 1) - votes, stable=True)  # most votes first within a slot
    pair, slot = pair[order], slot[order]
    leads = torch.ones_like(slot, dtype=torch.bool)
    leads[1:] = slot[1:] != slot[:-1]
    slot, kept = slot[leads], pair[leads] % rows
    target_of = torch.zeros(rows, dtype=target.dtype, device=target.device).index_put((row,), target)
    return Matches(slot // queries, slot % queries, target_of[kept], kept)


def _extent(index: Tensor) -> int:
    return int(index.max()) + 1 if len(index) else 1
