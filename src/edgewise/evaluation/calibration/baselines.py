"""What an interval may be made of: our calibration, and the naive ways that it has to beat.

A method is fitted to pairs and then says, of other pairs, where their true edges lie. All but `raw` are
split-conformal, with the same ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from edgewise.calibration import Calibration
from edgewise.evaluation.calibration.fit import conformal_quantiles
from edgewise.evaluation.calibration.pairs import EdgePairs

CURVE = (*(x / 100 for x in range(50, 96, 5)), 0.975, 0.99)
"""The levels at which intervals are claimed."""


@dataclass(frozen=True, eq=False)
class Claims:
    """Ends of intervals in pixels, [L, M, 4] for the L levels of CURVE: of each edge, and of all four."""

    low: Float[np.ndarray, "L M 4"]
    high: Float[np.ndarray, "L M 4"]
    joint_low: Float[np.ndarray, "L M 4"]
    joint_high: Float[np.ndarray, "L M 4"]


Method = Callable[[EdgePairs], Callable[[EdgePairs], Claims]]


def calibrated(calibration: Calibration, pairs: EdgePairs, spread: Float[np.ndarray, "M 4"]) -> Claims:
    """What a calibration claims of pairs whose calibrated spread is known."""
    own = np.array([calibration.edge_margins(level) for level in CURVE])[:, None]  # [L, 1, 4]
    joint = np.array([calibration.joint_margin(level) for level in CURVE])[:, None, None]
    return _about(pairs.boxes_xyxy, own * spread, joint * spread)


def calibrated_spread(calibration: Calibration, pairs: EdgePairs) -> Float[np.ndarray, "M 4"]:
    """Calibrated standard deviations, from raw distributions as `decode` makes them."""
    std = pairs.edges.tempered(calibration.temperature).std
    return calibration.spread(std, pairs.boxes_xyxy).astype(np.float64)


def _about(boxes: np.ndarray, own: np.ndarray, joint: np.ndarray) -> Claims:
    return Claims(boxes - own, boxes + own, boxes - joint, boxes + joint)


def _widths(width: Callable[[EdgePairs], np.ndarray]) -> Method:
    """Intervals whose half width is a multiple, fitted by edge and jointly, of `width` [M, 4]."""

    def fit(fitting: EdgePairs) -> Callable[[EdgePairs], Claims]:
        ratios = np.abs(fitting.errors) / np.maximum(width(fitting), 1e-6)  # of boxes without area too
        own, joint = _by_level(ratios)

        def claims(pairs: EdgePairs) -> Claims:
            unit = width(pairs)
            return _about(pairs.boxes_xyxy, own[:, None] * unit, joint[:, None, None] * unit)

        return claims

    return fit


def raw(fitting: EdgePairs) -> Callable[[EdgePairs], Claims]:
    """The middle of each raw distribution; jointly as if edges were independent. Nothing is fitted."""
    return lambda pairs: _of_distributions(pairs, np.tile(CURVE, (4, 1)).T, np.array(CURVE) ** 0.25)


def recalibrated_quantiles(fitting: EdgePairs) -> Callable[[EdgePairs], Claims]:
    """The middle of each raw distribution, as much of it as held true edges (Kuleshov et al. 2018)."""
    needed = np.abs(2 * fitting.edges.cdf(fitting.true_xyxy.astype(fitting.edges.sides.dtype)) - 1)
    own, joint = _by_level(needed)
    return lambda pairs: _of_distributions(pairs, own, joint)


def _by_level(needed: Float[np.ndarray, "M 4"]) -> tuple[Float[np.ndarray, "L 4"], Float[np.ndarray, " L"]]:
    """What holds each edge, and all four, with every level of CURVE, by what each of M boxes needed."""
    own = np.array([conformal_quantiles(edge, CURVE) for edge in needed.T]).T
    return own, np.array(conformal_quantiles(needed.max(1), CURVE))


def _of_distributions(
    pairs: EdgePairs, own: Float[np.ndarray, "L 4"], joint: Float[np.ndarray, " L"]
) -> Claims:
    """The middle mass of each distribution, as much as `own` says by level and edge, and `joint` by level."""

    @cache  # the raw way asks for the same mass of every edge
    def middle(mass: float) -> np.ndarray:
        return pairs.edges.interval(min(max(mass, 1e-6), 1 - 1e-6)).astype(np.float64)  # [M, 4, 2]

    edges = np.stack(
        [np.stack([middle(mass)[:, e] for e, mass in enumerate(row)], 1) for row in own.tolist()]
    )
    together = np.stack([middle(mass) for mass in joint.tolist()])
    return Claims(edges[..., 0], edges[..., 1], together[..., 0], together[..., 1])


RAW = "raw distribution"

NAIVE: dict[str, Method] = {
    "fixed width": _widths(lambda pairs: np.ones_like(pairs.sides)),
    "share of the side": _widths(lambda pairs: pairs.sides),
    "share of √area": _widths(lambda pairs: np.tile(pairs.root_area[:, None], 4)),
}
"""Methods that know nothing of the distributions."""

OTHERS: dict[str, Method] = NAIVE | {
    RAW: raw,
    "recalibrated quantiles": recalibrated_quantiles,
}
"""All that our calibration is compared with."""
