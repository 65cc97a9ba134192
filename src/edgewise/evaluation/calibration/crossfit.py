"""What methods say of pairs: of a set they were not fitted to, or of each image with a fit to the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from edgewise.calibration import Calibration, Source
from edgewise.evaluation.calibration.baselines import (
    CURVE,
    NAIVE,
    OTHERS,
    RAW,
    Claims,
    Method,
    calibrated,
    calibrated_spread,
    raw,
)
from edgewise.evaluation.calibration.fit import FOLDS, enough, fit_calibration, folds
from edgewise.evaluation.calibration.pairs import EdgePairs, Outcome

OURS = "calibrated"  # the name of our own method among the others


@dataclass(frozen=True, eq=False)
class Claimed:
    """What was said of an outcome: spreads, intervals by method, scores [K] and what they were.

    `own` is the method that spreads and scores are of, which the others are compared with.
    """

    own: str
    spread: Float[np.ndarray, "M 4"]
    claims: dict[str, Claims]
    scores: Float[np.ndarray, " K"]
    raw_scores: Float[np.ndarray, " K"]


def as_decoded(outcome: Outcome, calibration: Calibration | None) -> Claimed:
    """What a detector said itself, calibrated or raw, beside the naive ways where pairs are enough for them.

    These are fitted to the very images, each part by the others.
    """
    pairs, scores = outcome.pairs, outcome.verdicts.scores
    naive = _crossfitted(pairs, NAIVE) if enough(pairs) else {}
    if calibration is None:
        said = in_the_raw(outcome)
        return replace(said, claims=said.claims | naive)
    return Claimed(
        own=OURS,
        spread=pairs.spread,
        claims={OURS: calibrated(calibration, pairs, pairs.spread), **naive, RAW: raw(pairs)(pairs)},
        scores=scores,
        raw_scores=scores if calibration.score is None else calibration.score.undo(scores),
    )


def in_the_raw(outcome: Outcome) -> Claimed:
    """What the distributions and scores of an uncalibrated detector say by themselves."""
    pairs, scores = outcome.pairs, outcome.verdicts.scores
    return Claimed(RAW, pairs.edges.std.astype(np.float64), {RAW: raw(pairs)(pairs)}, scores, scores)


def claimed(fitting: Outcome, reporting: Outcome, source: Source) -> Claimed:
    """What every method, fitted to one uncalibrated outcome, says of another."""
    calibration, pairs, scores = fit_calibration(fitting, source), reporting.pairs, reporting.verdicts.scores
    spread = calibrated_spread(calibration, pairs)
    others = {name: method(fitting.pairs)(pairs) for name, method in OTHERS.items()}
    return Claimed(
        own=OURS,
        spread=spread,
        claims={OURS: calibrated(calibration, pairs, spread), **others},
        scores=scores if calibration.score is None else calibration.score.apply(scores),
        raw_scores=scores,
    )


def crossfit(outcome: Outcome, source: Source) -> Claimed:
    """What every method says of each image when it was fitted to the other parts of the images."""
    pairs, verdicts = outcome.pairs, outcome.verdicts
    spread, scores = np.zeros((len(pairs), 4)), np.zeros(len(verdicts.scores))
    parts = []
    for fold in folds(pairs.num_images, FOLDS):
        rows, own = fold[pairs.image], fold[verdicts.image]
        others, these = (Outcome(pairs[r], verdicts.within(f)) for r, f in ((~rows, ~fold), (rows, fold)))
        said = claimed(others, these, source)
        spread[rows], scores[own] = said.spread, said.scores
        parts.append((rows, said.claims))
    claims = {name: _joined([(rows, one[name]) for rows, one in parts]) for name in (OURS, *OTHERS)}
    return Claimed(OURS, spread, claims, scores, verdicts.scores)


def _crossfitted(pairs: EdgePairs, methods: Mapping[str, Method]) -> dict[str, Claims]:
    """The same of single methods."""
    parts = [fold[pairs.image] for fold in folds(pairs.num_images, FOLDS)]
    return {
        name: _joined([(rows, method(pairs[~rows])(pairs[rows])) for rows in parts])
        for name, method in methods.items()
    }


def _joined(parts: Sequence[tuple[Bool[np.ndarray, " M"], Claims]]) -> Claims:
    """Claims of parts, put where their masks say."""

    def whole(end: str) -> np.ndarray:
        joined = np.zeros((len(CURVE), len(parts[0][0]), 4))
        for rows, claims in parts:
            joined[:, rows] = getattr(claims, end)
        return joined

    return Claims(whole("low"), whole("high"), whole("joint_low"), whole("joint_high"))
