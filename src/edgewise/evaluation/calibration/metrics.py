"""How honest error bars and scores are: one free function a number, each with its source."""

from math import nan

import numpy as np
from jaxtyping import Bool, Float, Int

from edgewise.evaluation.calibration.pairs import IOU, EdgePairs, Verdicts

REPORTED = (0.5, 0.8, 0.9, 0.95)  # levels of coverage and width
LEAST_DENSITY = 1e-3  # a side of the initial box: what an edge beyond all bins is taken to have
LEAST_SCORE = 0.05  # detections below are in no D-ECE: thousands that nobody asks for
DRAWS = 1000  # of a bootstrap

# ── distributions ──────────────────────────────────────────────────────────────────────────────────────


def bins_nll(pairs: EdgePairs) -> Float[np.ndarray, "M 4"]:
    """-log of the raw distribution's density at the true edge, in nats, density a pixel.

    The density is that of the masses spread evenly between bins (`EdgeDistributions.density`), and at least
    LEAST_DENSITY a side: one edge that is ruled out would otherwise be infinitely bad.
    """
    least = LEAST_DENSITY / np.maximum(pairs.edges.sides.astype(np.float64), 1e-6)
    nll: np.ndarray = -np.log(np.maximum(pairs.edges.density(_true(pairs)).astype(np.float64), least))
    return nll


def bins_crps(pairs: EdgePairs) -> Float[np.ndarray, "M 4"]:
    """Continuous ranked probability score of the raw distribution in pixels (Gneiting & Raftery 2007)."""
    return pairs.edges.crps(_true(pairs)).astype(np.float64)


def laplace_nll(errors: Float[np.ndarray, "*b"], spread: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """-log density at an error, in nats, of a Laplace distribution whose standard deviation is `spread`."""
    b = np.maximum(spread, 1e-6) / np.sqrt(2)
    nll: np.ndarray = np.log(2 * b) + np.abs(errors) / b
    return nll


def laplace_crps(errors: Float[np.ndarray, "*b"], spread: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """CRPS of the same: |e| + b·exp(-|e|/b) - 3b/4 (Jordan et al. 2019, b its scale), in pixels."""
    b, e = np.maximum(spread, 1e-6) / np.sqrt(2), np.abs(errors)
    crps: np.ndarray = e + b * np.exp(-e / b) - 0.75 * b
    return crps


def _true(pairs: EdgePairs) -> np.ndarray:
    true: np.ndarray = pairs.true_xyxy.astype(pairs.edges.sides.dtype)
    return true


# ── spreads ────────────────────────────────────────────────────────────────────────────────────────────


def spread_bins(
    errors: Float[np.ndarray, " M"], spread: Float[np.ndarray, " M"], bins: int = 10
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Root mean spread² and root mean error² of `bins` groups of as many pairs, by rising spread."""
    order = np.array_split(np.argsort(spread, kind="stable"), min(bins, len(spread)))
    claimed = np.array([np.sqrt(np.square(spread[rows]).mean()) for rows in order])
    found = np.array([np.sqrt(np.square(errors[rows]).mean()) for rows in order])
    return claimed, found


def ence(errors: Float[np.ndarray, " M"], spread: Float[np.ndarray, " M"], bins: int = 10) -> float:
    """Expected normalised calibration error (Levi et al. 2022, arXiv 1905.11659): mean |RMV - RMSE| / RMV."""
    if not len(errors):
        return nan
    claimed, found = spread_bins(errors, spread, bins)
    return float((np.abs(claimed - found) / np.maximum(claimed, 1e-12)).mean())


def spearman(a: Float[np.ndarray, " M"], b: Float[np.ndarray, " M"]) -> float:
    """Rank correlation, equal values sharing the mean of their ranks; nan where one of both is constant."""
    if len(a) < 2:
        return nan
    x, y = (_ranks(one) for one in (a, b))
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else nan


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: np.ndarray = (last - (count - 1) / 2)[place]
    return ranks


# ── intervals ──────────────────────────────────────────────────────────────────────────────────────────


def inside(
    true: Float[np.ndarray, "M 4"], low: Float[np.ndarray, "*L M 4"], high: Float[np.ndarray, "*L M 4"]
) -> Bool[np.ndarray, "*L M 4"]:
    """Whether a true edge lies in its interval, ends included: the mean is the coverage (PICP)."""
    held: np.ndarray = (low <= true) & (true <= high)
    return held


# ── scores ─────────────────────────────────────────────────────────────────────────────────────────────


def d_ece(verdicts: Verdicts, least: float = LEAST_SCORE, bins: int = 10) -> float:
    """Detection expected calibration error (Küppers et al., CVPRW 2020), by confidence alone, IoU 0.5.

    Σ over bins of share · |mean score - precision|, of all classes together, detections scored at least
    `least`.
    """
    kept = verdicts.scores >= least
    return _binned_error(verdicts.scores[kept], verdicts.right[kept].astype(np.float64), bins)


def la_ece(verdicts: Verdicts, bins: int = 25) -> float:
    """Localisation-aware ECE₀ (Kuzucu et al., ECCV 2024): scores are to say the IoU itself, 0 if none.

    Mean over classes of Σ share · |mean score - mean IoU|, each class at its best threshold by LRP.
    """
    errors = []
    for label in np.unique(verdicts.true_label).tolist():
        threshold = lrp(verdicts, label)[1]
        kept = (verdicts.labels == label) & (verdicts.scores >= threshold)
        errors.append(_binned_error(verdicts.scores[kept], verdicts.any_iou[kept], bins))
    defined = [one for one in errors if one == one]
    return float(np.mean(defined)) if defined else nan


def _binned_error(scores: np.ndarray, wanted: np.ndarray, bins: int) -> float:
    if not len(scores):
        return nan
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, scores - wanted, bins)
    return float(np.abs(gap).sum() / len(scores))


def lrp(verdicts: Verdicts, label: int) -> tuple[float, float]:
    """Least localisation-recall-precision error of a class, and the score threshold that gives it.

    LRP (Oksuz et al., TPAMI 2022) = (Σ over found of (1 - IoU) / (1 - 0.5) + false + missed) / (found + false
    + missed); less is better, 1 is finding nothing. The optimum over thresholds is oLRP.
    """
    own = verdicts.labels == label
    order = np.argsort(-verdicts.scores[own], kind="stable")
    scores, found = verdicts.scores[own][order], verdicts.iou[own][order]
    right, count = found > 0, int((verdicts.true_label == label).sum())
    hits = np.cumsum(right)
    located = np.cumsum(np.where(right, (1 - found) / (1 - IOU), 0))
    false, missed = np.arange(1, len(scores) + 1) - hits, count - hits
    error = (located + false + missed) / np.maximum(hits + false + missed, 1)
    last_of_equals = np.append(np.diff(scores) != 0, True)[: len(scores)]
    error = np.where(last_of_equals, error, np.inf)
    if not len(error) or error.min() >= 1:
        return 1.0, 1.0
    best = int(error.argmin())
    return float(error[best]), float(scores[best])


def olrp(verdicts: Verdicts) -> float:
    """Mean over classes with boxes of the least LRP."""
    labels = np.unique(verdicts.true_label).tolist()
    return float(np.mean([lrp(verdicts, label)[0] for label in labels])) if labels else nan


# ── how sure ───────────────────────────────────────────────────────────────────────────────────────────


def bootstrap_means(
    values: Float[np.ndarray, "M k"], image: Int[np.ndarray, " M"], num_images: int
) -> Float[np.ndarray, "draws k"]:
    """Means of the columns over DRAWS sets of images, drawn with replacement; rows belong to images."""
    sums = np.zeros((num_images, values.shape[1] + 1))
    np.add.at(sums, image, np.concatenate([values, np.ones((len(values), 1))], 1))
    times = np.random.default_rng(0).multinomial(num_images, np.full(num_images, 1 / num_images), DRAWS)
    drawn = times @ sums
    means: np.ndarray = drawn[:, :-1] / np.maximum(drawn[:, -1:], 1)
    return means


def interval95(
    draws: Float[np.ndarray, "draws *k"],
) -> tuple[Float[np.ndarray, "*k"], Float[np.ndarray, "*k"]]:
    """The middle 95 % of bootstrap draws."""
    low, high = np.nanquantile(draws, (0.025, 0.975), axis=0)
    return np.asarray(low), np.asarray(high)
