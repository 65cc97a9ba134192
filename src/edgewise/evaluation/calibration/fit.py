"""Fitting a Calibration to pairs: spreads by likelihood, margins by conformal ranks, scores by precision.

Margins are ranks of errors in spreads that were fitted without their image. What is reported about a fit is
not even that: `crossfit.crossfit` fits anew for each part of the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Bool, Float, Int

from edgewise.calibration import INFINITE, LEVELS, Calibration, ScoreCalibration, Source
from edgewise.decode import sigmoid
from edgewise.evaluation.calibration.pairs import IOU, EdgePairs, Outcome, Verdicts

FOLDS = 5
FEWEST_PAIRS, FEWEST_IMAGES = 100, 10
TEMPERATURES = 2.0 ** np.arange(-1.5, 1.75, 0.25)
FLOORS = (0.002, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.5)  # in roots of the area, for a scale of 1


def fit_calibration(outcome: Outcome, source: Source) -> Calibration:
    """The sealed calibration of what an uncalibrated detector did on a data set; see `check_enough`."""
    pairs, edges = outcome.pairs, _Spreads.of(outcome.pairs)
    fitted = edges.fit(np.ones(len(pairs), bool))
    unseen = np.zeros((len(pairs), 4))
    for fold in folds(pairs.num_images, FOLDS):
        within = fold[pairs.image]
        unseen[within] = edges.fit(~within).spread(edges, within)
    ratios = np.abs(pairs.errors) / np.maximum(unseen, np.finfo(np.float64).tiny)
    left, top, right, bottom = (conformal_quantiles(one, LEVELS) for one in ratios.T)
    return Calibration(
        temperature=fitted.temperature,
        scale=fitted.scale,
        floor=fitted.floor,
        margins=(left, top, right, bottom),
        joint=conformal_quantiles(ratios.max(1), LEVELS),
        score=fit_scores(outcome.verdicts),
        source=source,
    ).sealed()


def enough(pairs: EdgePairs) -> bool:
    """Whether pairs and images are as many as a level needs to mean something."""
    return len(pairs) >= FEWEST_PAIRS and len(np.unique(pairs.image)) >= FEWEST_IMAGES


def check_enough(pairs: EdgePairs, split: str) -> None:
    """ValueError, with the numbers needed, where pairs or images are too few for a level to mean something.

    Over the draw of n pairs the coverage of a level is Beta(k, n + 1 - k), k its conformal rank: that of a
    90 % interval from 100 of them has a standard deviation of 3 points.
    """
    if not enough(pairs):
        raise ValueError(
            f"{len(pairs)} detections in {len(np.unique(pairs.image))} images of the {split} split found a "
            f"box (same class, IoU {IOU} or more, score above the threshold); at least {FEWEST_PAIRS} in "
            f"{FEWEST_IMAGES} images are needed, which hold a 90 % interval to 90 % give or take 3; "
            "annotate more images, or name a larger split"
        )


# ── spreads ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Fitted:
    """What `Calibration.spread` needs, by edge."""

    temperature: tuple[float, float, float, float]
    scale: tuple[float, float, float, float]
    floor: tuple[float, float, float, float]

    def spread(self, edges: "_Spreads", rows: Bool[np.ndarray, " M"]) -> Float[np.ndarray, "n 4"]:
        """As `Calibration.spread`, from standard deviations that were computed before."""
        columns = [
            np.hypot(s * edges.std[np.searchsorted(TEMPERATURES, t), rows, edge], f * edges.root_area[rows])
            for edge, (t, s, f) in enumerate(zip(self.temperature, self.scale, self.floor, strict=True))
        ]
        return np.stack(columns, 1)


@dataclass(frozen=True, eq=False)
class _Spreads:
    """Standard deviations [T, M, 4] at each of TEMPERATURES, with errors [M, 4] and roots of areas [M]."""

    std: np.ndarray
    errors: np.ndarray
    root_area: np.ndarray

    @classmethod
    def of(cls, pairs: EdgePairs) -> "_Spreads":
        stds = [pairs.edges.tempered((t,) * 4).std for t in TEMPERATURES.tolist()]
        return cls(np.stack(stds).astype(np.float64), np.abs(pairs.errors), pairs.root_area)

    def fit(self, rows: Bool[np.ndarray, " M"]) -> _Fitted:
        """By edge the temperature, scale and floor of greatest likelihood."""
        found = [
            fit_spread(self.std[:, rows, edge], self.errors[rows, edge], self.root_area[rows])
            for edge in range(4)
        ]
        temperature, scale, floor = zip(*found, strict=True)
        return _Fitted(temperature, scale, floor)


def fit_spread(
    stds: Float[np.ndarray, "T M"], errors: Float[np.ndarray, " M"], root_area: Float[np.ndarray, " M"]
) -> tuple[float, float, float]:
    """Temperature, scale and floor that make absolute `errors` likeliest, of all in TEMPERATURES and FLOORS.

    Errors of edges have the tails of a Laplace distribution; with b = spread / √2 its negative logarithm is
    log(2b) + |error| / b. For given temperature and floor / scale the best scale is √2·mean(|error| / spread
    at scale 1), so that the search is a small table and cannot get stuck. The temperature stays 1 unless
    another is better by two standard errors.
    """
    found = {
        (temperature, floor): _scaled(np.hypot(std, floor * root_area), errors)
        for temperature, std in zip(TEMPERATURES.tolist(), stds, strict=True)
        for floor in FLOORS
    }
    best = min(found, key=lambda key: found[key][1].mean())
    plain = min(((1.0, floor) for floor in FLOORS), key=lambda key: found[key][1].mean())
    gain = found[plain][1] - found[best][1]
    if gain.mean() < 2 * gain.std() / np.sqrt(len(gain)):
        best = plain
    (temperature, floor), (scale, _) = best, found[best]
    return temperature, scale, floor * scale


def _scaled(spread: np.ndarray, errors: np.ndarray) -> tuple[float, np.ndarray]:
    """The likeliest scale of a spread, and what each error then costs."""
    spread = np.maximum(spread, 1e-6)
    scale = max(float(np.sqrt(2) * (errors / spread).mean()), 1e-6)
    return scale, np.log(scale * spread) + np.sqrt(2) * errors / (scale * spread)


# ── margins ────────────────────────────────────────────────────────────────────────────────────────────


def conformal_rank(count: int, level: float) -> int:
    """⌈(n+1)·level⌉: which of n sorted errors holds a new one with probability `level` (Vovk et al. 2005)."""
    return ceil(round((count + 1) * level, 9))


def conformal_quantiles(values: Float[np.ndarray, " M"], levels: Sequence[float]) -> tuple[float, ...]:
    """At each level the value of that rank; INFINITE, which none exceeds, where there are too few."""
    ordered = np.append(np.sort(np.minimum(values, INFINITE)), INFINITE)
    ranks = [conformal_rank(len(values), level) for level in levels]
    return tuple(float(ordered[min(rank, len(ordered)) - 1]) for rank in ranks)


# ── scores ─────────────────────────────────────────────────────────────────────────────────────────────


def fit_scores(verdicts: Verdicts) -> ScoreCalibration | None:
    """Beta calibration (Kull et al., AISTATS 2017): logit p = a·ln s - b·ln(1 - s) + c, with a, b > 0.

    Strictly rising, so that it keeps the order of detections, and with three numbers to fit it needs few of
    them. None where all detections are right, or none.
    """
    right = verdicts.right
    if right.all() or not right.any():
        return None
    grid = sigmoid(np.linspace(-9, 9, 145))
    curve = sigmoid(_terms(grid) @ _beta(verdicts.scores, right))
    curve = np.maximum.accumulate(curve.clip(1e-9, 1 - 1e-9)) * (1 - 1e-3) + 1e-3 * grid  # strictly rising
    return ScoreCalibration(scores=(0, *grid.tolist(), 1), precision=(0, *curve.tolist(), 1))


def _beta(scores: Float[np.ndarray, " K"], right: Bool[np.ndarray, " K"]) -> Float[np.ndarray, " 3"]:
    """a, b and c of greatest likelihood, by Newton's method; a or b that would be negative is nothing."""
    columns = [0, 1, 2]
    while True:
        weights = np.zeros(3)
        weights[columns] = _logistic(_terms(scores)[:, columns], right)
        negative = [i for i in columns if i < 2 and weights[i] < 0]
        if not negative:
            return weights
        columns.remove(negative[0])


def _logistic(terms: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression."""
    ridge = 1e-3
    weights = np.zeros(terms.shape[1])
    for _ in range(50):
        p = sigmoid(terms @ weights)
        gradient = terms.T @ (p - right) + ridge * weights
        hessian = (terms * (p * (1 - p))[:, None]).T @ terms + ridge * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step * min(1, 5 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _terms(scores: np.ndarray) -> np.ndarray:
    s = scores.clip(1e-6, 1 - 1e-6)
    return np.stack([np.log(s), -np.log1p(-s), np.ones_like(s)], 1)


# ── without its own image ──────────────────────────────────────────────────────────────────────────────


def folds(num_images: int, count: int) -> list[Bool[np.ndarray, " I"]]:
    """Which images are in each of `count` parts, always drawn alike: every image is in one."""
    part: Int[np.ndarray, " I"] = np.random.default_rng(0).permutation(num_images) % count
    return [part == number for number in range(min(count, num_images))]
