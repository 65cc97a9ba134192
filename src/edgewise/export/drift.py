"""Where an artifact leaves its checkpoint: the first of its inner tensors that differs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from edgewise.artifact import Artifact
from edgewise.export.graph import PICKS, Graph
from edgewise.model import DFine
from edgewise.runtime.engines import Arrays

Steps = Callable[[list[str], Arrays], dict[str, np.ndarray]]  # names, inputs → tensors of the artifact


@dataclass(frozen=True)
class Drift:
    """The first tensor that differs, of `compared` in order; `after` is the one before it, which does not.

    `tensor` is None where none does: then it is what the artifact is fed, or what is done with its outputs.
    """

    tensor: str | None
    after: str | None
    compared: int
    difference: float  # greatest of what was asked about, in root mean squares of the tensor

    def __str__(self) -> str:
        if self.tensor is None:
            return f"none of the {self.compared} tensors that were compared drifts"
        before = f"after {self.after}, which agrees" if self.after else "the first that is compared"
        return (
            f"the first tensor that drifts is {self.tensor} ({before}): off by {self.difference:.2g} of its "
            "root mean square"
        )


def first_drift(
    model: DFine, artifact: Artifact, steps: Steps, inputs: Arrays, limit: float, share: float = 1.0
) -> Drift:
    """Runs the model, on the CPU, and the artifact on the same inputs, and compares what their parts say.

    `limit` is what numbers may differ by, in root mean squares: all those of a map, and of tensors with one
    row a query all those of `share` of the queries, as a coarse rounding tips single ones over to another
    object. Queries are aligned by the cells they were made of, since neighbours in the ranking may swap.
    """
    graph = Graph(model, artifact)
    with torch.inference_mode():
        given = [torch.from_numpy(np.array(one)) for one in inputs.values()]
        expected = {name: one.numpy() for name, one in graph(*given).items()}
    found = steps(list(expected), inputs)
    after, compared, queries = None, 0, expected[PICKS].shape[1]
    for name, own in expected.items():
        if name not in found or name == PICKS:
            continue
        compared += 1
        other, asked = found[name], 1.0
        if own.shape == other.shape and own.shape[1:2] == (queries,) and PICKS in found:
            own, other = _aligned(own, other, expected[PICKS], found[PICKS])
            asked = share
        difference = _difference(own, other, asked)
        if not difference <= limit:
            return Drift(name, after, compared, difference)
        after = name
    return Drift(None, after, compared, 0.0)


def _aligned(
    own: np.ndarray, other: np.ndarray, own_picks: np.ndarray, other_picks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The queries that both picked, in the order of their cells."""
    pairs = []
    for one, two, first, second in zip(own, other, own_picks, other_picks, strict=True):
        _, rows, columns = np.intersect1d(first, second, return_indices=True)
        pairs.append((one[rows], two[columns]))
    return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))  # type: ignore[return-value]


def _difference(own: np.ndarray, other: np.ndarray, share: float) -> float:
    """The greatest, in root mean squares of `own`, of the `share` of the rows that differ least."""
    if own.shape != other.shape:
        return float("inf")
    if not own.size:
        return 0.0
    own, other = own.astype(np.float64), other.astype(np.float64)
    rows = np.abs(own - other).reshape(len(own), -1).max(1)
    return float(np.quantile(rows, share) / max(np.sqrt(np.square(own).mean()), 1e-12))
