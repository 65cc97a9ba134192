"""How improbable an annotated box is under what a detector says of its edges. Numpy only.

Every edge has a tail probability: how often an edge of this spread lies so far out. A box is at fault in one
of three ways, and each has a test that is strong where it applies: one edge is off; the whole box is moved,
so that two opposite edges are off to the same side; or several edges are off by any amount. Tails are those
of real residuals, which are heavy: with a Gaussian's, one edge far out would outweigh four that are all off.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from edgewise.calibration import INFINITE, LEVELS, Calibration
from edgewise.edges import EDGES

CAUSES = (*(f"{name} edge" for name in EDGES), "moved sideways", "moved up or down", "several edges")
"""What `Improbability.cause` counts."""

LEAST_SPREAD = 1e-3  # pixels: no edge is surer
LEAST = 1e-300  # a probability's logarithm stays finite


@dataclass(frozen=True, eq=False)
class Improbability:
    """Of n boxes: tails [n, 4] of the edges, the box's own probability [n], and its cause [n].

    `probability` is that a right annotation looks so wrong in any of the three ways: the least of the tests
    times the number of tests. `cause`, an index into CAUSES, is the test that found it; `edges` [n, 4] says
    which edges that was about.
    """

    tails: Float[np.ndarray, "n 4"]
    probability: Float[np.ndarray, " n"]
    cause: Int[np.ndarray, " n"]
    edges: Bool[np.ndarray, "n 4"]


def improbability(
    residual: Float[np.ndarray, "n 4"],
    spread: Float[np.ndarray, "n 4"],
    calibration: Calibration | None = None,
) -> Improbability:
    """How improbable annotated edges are that lie `residual` pixels beyond predicted ones of that `spread`.

    Both count towards larger x or y. With a calibration, tails are those of its own fitting data; without
    one they are Student's with four degrees of freedom, and the spread is taken at its word.
    """
    z = residual / np.maximum(spread, LEAST_SPREAD)
    tails = student_tail(z) if calibration is None else conformal_tail(z, calibration)
    low, high = np.where(z < 0, tails, 2 - tails) / 2, np.where(z > 0, tails, 2 - tails) / 2
    moves = [
        2 * np.minimum(fisher(low[:, [axis, axis + 2]]), fisher(high[:, [axis, axis + 2]])) for axis in (0, 1)
    ]
    tests = np.column_stack([4 * tails, *(2 * move for move in moves), fisher(tails)])  # [n, 7]
    cause = tests.argmin(1)
    own = np.concatenate([np.eye(4), [[1, 0, 1, 0], [0, 1, 0, 1]], [[1, 1, 1, 1]]]).astype(np.bool_)
    off = tails <= 2 * tails.min(1, keepdims=True).clip(min=0.05)  # of several edges, those that are off
    edges = own[cause] & (off | (cause < len(CAUSES) - 1)[:, None])
    return Improbability(tails, np.minimum(3 * tests.min(1), 1), cause, edges)


def student_tail(z: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """Pr(|T| ≥ |z|), T of Student's t with four degrees of freedom; in closed form, exact far out."""
    z = np.abs(z)
    root = np.sqrt(4 + z * z)
    short = 4 / (root * (root + z))  # 1 - z / root
    tail: np.ndarray = short**2 * (3 - short) / 2
    return tail


def conformal_tail(z: Float[np.ndarray, "n 4"], calibration: Calibration) -> Float[np.ndarray, "n 4"]:
    """The share of a calibration's own edges that lie as many spreads out as |z|, edge by edge.

    Beyond the last level that the calibration could fit, the tail falls as a power of z, with the exponent
    that it has from one tenth of the edges to the last level: at least 2, so that a variance exists.
    """
    z = np.abs(z)
    columns = [_tail(z[:, edge], np.array(row)) for edge, row in enumerate(calibration.margins)]
    return np.stack(columns, 1)


def _tail(z: Float[np.ndarray, " n"], margins: Float[np.ndarray, " l"]) -> Float[np.ndarray, " n"]:
    known = margins < INFINITE
    levels, margins = np.array(LEVELS)[known], np.maximum(margins[known], np.finfo(np.float64).tiny)
    if not len(levels):
        return student_tail(z)
    near = 1 - np.interp(z, [0.0, *margins], [0.0, *levels])
    end, least = margins[-1], 1 - levels[-1]
    tenth = margins[min(int(np.searchsorted(levels, 0.9)), len(levels) - 1)]
    steepness = max(2.0, np.log(0.1 / least) / np.log(end / tenth)) if end > tenth and least < 0.1 else 2.0
    far = least * (np.maximum(z, end) / end) ** -steepness
    tail: np.ndarray = np.where(z > end, far, near)
    return tail


def fisher(tails: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    """Fisher's combination of k independent tail probabilities: a χ² of 2k degrees of freedom.

    Its survival function is exp(-h)·Σ h^i / i! for i < k, h being -Σ log p.
    """
    h = -np.log(np.maximum(tails, LEAST)).sum(1)
    terms, total = np.ones_like(h), np.ones_like(h)
    for i in range(1, tails.shape[1]):
        terms = terms * h / i
        total = total + terms
    combined: np.ndarray = np.exp(-h) * total
    return combined
