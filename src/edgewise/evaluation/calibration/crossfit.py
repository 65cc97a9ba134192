"""What methods say of pairs: of a set they were not fitted to, or of each image with a fit to the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from edgewise.calibration import Calibration, Source
from edgewise.evaluation.calibration.baselines import OTHERS, Claims, calibrated, calibrated_spread, raw
from edgewise.evaluation.calibration.fit import FOLDS, fit_calibration, folds
from edgewise.evaluation.calibration.pairs import Outcome

OURS = "calibrated"  # the name of our own method among the others


@dataclass(frozen=True, eq=False)
class Claimed:
    """What was said of an outcome: calibrated spreads, intervals by method, scores [K] and what they were."""

    spread: Float[np.ndarray, "M 4"]
    claims: dict[str, Claims]
    scores: Float[np.ndarray, " K"]
    raw_scores: Float[np.ndarray, " K"]


def as_decoded(outcome: Outcome, calibration: Calibration) -> Claimed:
    """What a calibrated detector said itself, beside its raw distributions."""
    pairs, curve, scores = outcome.pairs, calibration.score, outcome.verdicts.scores
    return Claimed(
        spread=pairs.spread,
        claims={OURS: calibrated(calibration, pairs, pairs.spread), "raw distribution": raw(pairs)(pairs)},
        scores=scores,
        raw_scores=scores if curve is None else curve.undo(scores),
    )


def claimed(fitting: Outcome, reporting: Outcome, source: Source) -> Claimed:
    """What every method, fitted to one uncalibrated outcome, says of another."""
    calibration, pairs, scores = fit_calibration(fitting, source), reporting.pairs, reporting.verdicts.scores
    spread = calibrated_spread(calibration, pairs)
    others = {name: method(fitting.pairs)(pairs) for name, method in OTHERS.items()}
    return Claimed(
        spread=spread,
        claims={OURS: calibrated(calibration, pairs, spread), **others},
        scores=scores if calibration.score is None else calibration.score.apply(scores),
        raw_scores=scores,
    )


def crossfit(outcome: Outcome, source: Source, count: int = FOLDS) -> Claimed:
    """What every method says of each image when it was fitted to the other parts of the images."""
    pairs, verdicts = outcome.pairs, outcome.verdicts
    parts = [
        (fold[pairs.image], fold[verdicts.image], _split(outcome, fold, source))
        for fold in folds(pairs.num_images, count)
    ]
    own = [(rows, part) for rows, _, part in parts]
    return Claimed(
        spread=_spread([(rows, part.spread) for rows, part in own]),
        claims={
            name: Claims(
                **{
                    end: _spread([(rows, getattr(part.claims[name], end)) for rows, part in own])
                    for end in ("low", "high", "joint_low", "joint_high")
                }
            )
            for name in (OURS, *OTHERS)
        },
        scores=_spread([(rows, part.scores) for _, rows, part in parts], axis=0),
        raw_scores=verdicts.scores,
    )


def _split(outcome: Outcome, fold: Bool[np.ndarray, " I"], source: Source) -> Claimed:
    """Of the images of one part, fitted to the others."""
    within = fold[outcome.pairs.image]
    fitting = Outcome(outcome.pairs[~within], outcome.verdicts.within(~fold))
    return claimed(fitting, Outcome(outcome.pairs[within], outcome.verdicts.within(fold)), source)


def _spread(parts: Sequence[tuple[Bool[np.ndarray, " M"], np.ndarray]], axis: int = -2) -> np.ndarray:
    """Rows of parts put where their masks say."""
    rows, first = parts[0]
    shape = list(first.shape)
    shape[axis] = len(rows)
    whole = np.zeros(shape)
    for mask, part in parts:
        np.moveaxis(whole, axis, 0)[mask] = np.moveaxis(part, axis, 0)
    return whole
