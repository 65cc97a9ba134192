"""Honesty in numbers: what was claimed of pairs, held against what is true."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from edgewise.edges import EDGES
from edgewise.evaluation.calibration import metrics as m
from edgewise.evaluation.calibration.baselines import CURVE, NAIVE, Claims
from edgewise.evaluation.calibration.crossfit import Claimed, in_the_raw
from edgewise.evaluation.calibration.pairs import EdgePairs, Outcome
from edgewise.overlaps import area

SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""COCO's, by the area of the true box in pixels."""


def honesty(
    outcome: Outcome,
    said: Claimed,
    class_names: Sequence[str],
    layers: Mapping[str, Outcome] | None = None,
) -> dict[str, Any]:
    """All numbers as plain JSON values: counts, `edges`, `joint`, `sizes`, `classes`, `scores`, `methods`.

    These are of what was `said`, by the method `own`; `methods` has those it is compared with too. `layers`:
    what each of the decoder `layers` said, raw.
    Coverage and width are {"value", "low", "high"}: the last two bound 95 % of the bootstrap over images.
    Lengths are pixels. None where undefined.
    """
    pairs = outcome.pairs
    groups = {name: _within(pairs, *bounds) for name, bounds in SIZES.items()}
    classes = {name: pairs.labels == label for label, name in enumerate(class_names)}
    numbers = {
        "own": said.own,
        **_counts(pairs),
        "edges": {name: _edges(pairs, said, slice(edge, edge + 1)) for edge, name in enumerate(EDGES)}
        | {"all": _edges(pairs, said, slice(0, 4))},
        "joint": _joint(pairs, said.claims[said.own]),
        "sizes": {name: _group(pairs, said, rows) for name, rows in groups.items() if rows.any()},
        "classes": {name: _group(pairs, said, rows) for name, rows in classes.items() if rows.any()},
        "scores": _scores(outcome, said),
        "methods": _methods(pairs, said),
        "layers": {name: _layer(one) for name, one in (layers or {}).items() if len(one.pairs)},
    }
    plain: dict[str, Any] = _plain(numbers)
    return plain


def _counts(pairs: EdgePairs) -> dict[str, int]:
    return {
        "pairs": len(pairs),
        "images": pairs.num_images,
        "unmatched_detections": pairs.unmatched,
        "missed_boxes": pairs.missed,
    }


def _layer(outcome: Outcome) -> dict[str, Any]:
    """What one decoder layer said, raw."""
    pairs, said = outcome.pairs, in_the_raw(outcome)
    return {
        **_counts(pairs),
        **_edges(pairs, said, slice(0, 4)),
        "joint": _joint(pairs, said.claims[said.own]),
        "scores": _scores(outcome, said),
    }


def _within(pairs: EdgePairs, low: float, high: float) -> Bool[np.ndarray, " M"]:
    size = area(pairs.true_xyxy)
    rows: np.ndarray = (size >= low) & (size < high)
    return rows


def _group(pairs: EdgePairs, said: Claimed, rows: Bool[np.ndarray, " M"]) -> dict[str, Any]:
    """All four edges, and the whole box, of some pairs."""
    own = _rows(said.claims[said.own], rows)
    some = replace(said, spread=said.spread[rows], claims={said.own: own})
    return {
        "pairs": int(rows.sum()),
        **_edges(pairs[rows], some, slice(0, 4)),
        "joint": _joint(pairs[rows], own),
    }


def _rows(claims: Claims, rows: Bool[np.ndarray, " M"]) -> Claims:
    return Claims(
        claims.low[:, rows], claims.high[:, rows], claims.joint_low[:, rows], claims.joint_high[:, rows]
    )


def _edges(pairs: EdgePairs, said: Claimed, edges: slice) -> dict[str, Any]:
    """Of some edges together: likelihood, CRPS, spread against error, coverage and width."""
    errors, spread = pairs.errors[:, edges], said.spread[:, edges]
    bare, claims = pairs.edges.std[:, edges].astype(np.float64), said.claims[said.own]
    held = m.inside(pairs.true_xyxy, claims.low, claims.high)[..., edges].mean(-1)
    width = (claims.high - claims.low)[..., edges].mean(-1)
    return {
        "nll": m.laplace_nll(errors, spread).mean(),
        "nll_raw": m.bins_nll(pairs)[:, edges].mean(),
        "crps": m.laplace_crps(errors, spread).mean(),
        "crps_raw": m.bins_crps(pairs)[:, edges].mean(),
        "ence": m.ence(errors.ravel(), spread.ravel()),
        "ence_raw": m.ence(errors.ravel(), bare.ravel()),
        "sharpness": np.sqrt(np.square(spread).mean()),
        "rmse": np.sqrt(np.square(errors).mean()),
        "spearman": m.spearman(spread.ravel(), np.abs(errors).ravel()),
        **_coverage(held, width, pairs),
    }


def _joint(pairs: EdgePairs, claims: Claims) -> dict[str, Any]:
    """Of all four edges of a box at once; width is the mean over the edges."""
    held, width = joint_rows(pairs, claims)
    return _coverage(held, width, pairs)


def joint_rows(pairs: EdgePairs, claims: Claims) -> tuple[np.ndarray, np.ndarray]:
    """[L, M]: whether all four edges are held, and how wide the intervals are."""
    inside = np.asarray(m.inside(pairs.true_xyxy, claims.joint_low, claims.joint_high).all(-1))
    width: np.ndarray = (claims.joint_high - claims.joint_low).mean(-1)
    return inside.astype(np.float64), width


def _coverage(held: np.ndarray, width: np.ndarray, pairs: EdgePairs) -> dict[str, Any]:
    """{"coverage": {"90": …}, "width": {"90": …}} of rows [L, M] at the levels that are reported."""
    place = [CURVE.index(level) for level in m.REPORTED]
    columns = np.concatenate([held[place], width[place]]).T
    low, high = m.interval95(m.bootstrap_means(columns, pairs.image, pairs.num_images))
    values = [
        {"value": value, "low": bottom, "high": top}
        for value, bottom, top in zip(columns.mean(0), low, high, strict=True)
    ]
    names = [f"{level:.0%}"[:-1] for level in m.REPORTED]
    count = len(names)
    return {
        "coverage": dict(zip(names, values[:count], strict=True)),
        "width": dict(zip(names, values[count:], strict=True)),
    }


def _scores(outcome: Outcome, said: Claimed) -> dict[str, Any]:
    given, bare = outcome.verdicts.of(said.scores), outcome.verdicts.of(said.raw_scores)
    return {
        "d_ece": m.d_ece(given),
        "d_ece_raw": m.d_ece(bare),
        "la_ece": m.la_ece(given),
        "la_ece_raw": m.la_ece(bare),
        "olrp": m.olrp(given),
    }


def _methods(pairs: EdgePairs, said: Claimed) -> dict[str, Any]:
    """Each method at 90 %: what it claims, and how wide it is where it holds just 90 % of the boxes.

    `narrower`: by how much ours is, at equal coverage, than the best of the naive ones that are there.
    """
    level, found, drawn = 0.9, {}, {}
    place = CURVE.index(level)
    for name, claims in said.claims.items():
        held, width = joint_rows(pairs, claims)
        draws = m.bootstrap_means(np.concatenate([held, width]).T, pairs.image, pairs.num_images)
        count = len(CURVE)
        drawn[name] = np.array([width_at(level, one[:count], one[count:]) for one in draws])
        edges = m.inside(pairs.true_xyxy, claims.low, claims.high)[place]
        found[name] = {
            "edge_coverage": edges.mean(),
            "edge_width": (claims.high - claims.low)[place].mean(),
            "joint_coverage": with_bounds(held[place].mean(), draws[:, place]),
            "joint_width": with_bounds(width[place].mean(), draws[:, count + place]),
            "equal_coverage_width": with_bounds(width_at(level, held.mean(1), width.mean(1)), drawn[name]),
        }
    naive = [name for name in NAIVE if name in found]
    if naive:
        best = min(naive, key=lambda name: found[name]["equal_coverage_width"]["value"])
        ours = found[said.own]
        share = 1 - ours["equal_coverage_width"]["value"] / found[best]["equal_coverage_width"]["value"]
        ours["best_naive"] = best
        ours["narrower"] = with_bounds(share, 1 - drawn[said.own] / drawn[best])
    return found


def width_at(level: float, coverage: Float[np.ndarray, " L"], width: Float[np.ndarray, " L"]) -> float:
    """The width at which just `level` is held, between those claimed; nan where none reaches it."""
    if not coverage[0] <= level <= coverage[-1]:
        return nan
    return float(np.interp(level, coverage, width))


def with_bounds(value: float, draws: Float[np.ndarray, " draws"]) -> dict[str, float]:
    """A number with the two that bound 95 % of its bootstrap; nan where every draw is."""
    if np.isnan(draws).all():
        return {"value": value, "low": nan, "high": nan}
    low, high = m.interval95(draws)
    return {"value": value, "low": float(low), "high": float(high)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(value)
    return value
