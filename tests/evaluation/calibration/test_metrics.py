"""Each number against one worked by hand, or against its definition integrated."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from edgewise.evaluation.calibration import metrics as m
from edgewise.evaluation.calibration.pairs import Verdicts
from tests.evaluation.calibration.outcomes import pairs


def test_the_likelihood_of_bins_is_that_of_their_density() -> None:
    some = pairs(50)
    density = some.edges.density(some.true_xyxy)
    nll = m.bins_nll(some)
    np.testing.assert_allclose(nll[density > 0.01], -np.log(density[density > 0.01]))


def test_an_edge_that_is_ruled_out_costs_much_and_not_infinitely() -> None:
    some = pairs(10)
    far = replace(some, true_xyxy=some.boxes_xyxy + 1000)
    np.testing.assert_allclose(m.bins_nll(far), np.log(some.edges.sides / m.LEAST_DENSITY))


def test_laplace_is_a_density_of_its_spread() -> None:
    x = np.linspace(-60, 60, 200_001)
    density = np.exp(-m.laplace_nll(x, np.full_like(x, 3.0)))
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-6)
    assert np.trapezoid(density * x**2, x) == pytest.approx(9, abs=1e-3)


@pytest.mark.parametrize("error", [0.0, -1.3, 8.0])
def test_laplace_crps_is_its_integral(error: float) -> None:
    x = np.linspace(-80, 80, 400_001)
    b = 2 / np.sqrt(2)
    cdf = np.where(x < 0, np.exp(x.clip(max=0) / b) / 2, 1 - np.exp(-x.clip(0) / b) / 2)
    integral = np.trapezoid(np.square(cdf - (x >= error)), x)
    assert m.laplace_crps(np.array([error]), np.array([2.0]))[0] == pytest.approx(integral, abs=1e-3)


def test_ence_by_hand() -> None:
    spread, errors = np.array([1.0, 1.0, 2.0, 2.0]), np.array([1.0, -1.0, 1.0, 3.0])
    # bins (1, 1) and (2, 2): RMV 1 and 2, RMSE 1 and √5
    assert m.ence(errors, spread, bins=2) == pytest.approx((0 + (5**0.5 - 2) / 2) / 2)
    assert np.isnan(m.ence(errors[:0], spread[:0]))


@given(st.lists(st.integers(0, 4), min_size=3, max_size=30), st.integers(0, 100))
def test_spearman_is_scipys(values: list[int], seed: int) -> None:
    a, b = np.array(values, float), np.random.default_rng(seed).integers(0, 5, len(values)).astype(float)
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert np.isnan(m.spearman(a, b))
    else:
        assert m.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_inside_is_by_edge_with_its_ends() -> None:
    true = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert m.inside(true, true, true + 1).tolist() == [[True] * 4]
    assert m.inside(true, true + np.array([0, 1, 0, 0]), true + 1).tolist() == [[True, False, True, True]]


def judged(rows: list[tuple[float, float]], boxes: int) -> Verdicts:
    """One class, one image: (score, IoU) of each detection."""
    scores, iou = np.array(rows).T
    zeros = np.zeros(len(rows), int)
    return Verdicts(scores, zeros, zeros, iou, iou, np.zeros(boxes, int), np.zeros(boxes, int))


def test_d_ece_by_hand() -> None:
    found = judged([(0.95, 0.8), (0.92, 0), (0.41, 0.6), (0.45, 0), (0.01, 0)], 2)
    # 0.9 … 1: mean score 0.935, precision 0.5; 0.4 … 0.5: 0.43 and 0.5; the last does not count
    assert m.d_ece(found) == pytest.approx(0.5 * 0.435 + 0.5 * 0.07)
    assert np.isnan(m.d_ece(judged([(0.01, 0)], 1)))


def test_lrp_by_hand() -> None:
    found = judged([(0.9, 0.9), (0.8, 0.7), (0.6, 0), (0.5, 0.5)], 4)
    # at 0.8: ((0.1 + 0.3) / 0.5 + 0 + 2) / (2 + 0 + 2) = 0.7; at 0.5: ((0.4 + 0.5) / 0.5 + 1 + 1) / 5 = 0.76
    error, threshold = m.lrp(found, 0)
    assert (error, threshold) == (pytest.approx(0.7), 0.8)
    assert m.olrp(found) == pytest.approx(0.7)


def test_lrp_of_nothing_found_is_one() -> None:
    assert m.lrp(judged([(0.9, 0)], 3), 0) == (1, 1)
    assert m.olrp(judged([(0.9, 0)], 3)) == 1


def test_lrp_takes_or_leaves_detections_of_one_score_together() -> None:
    error, threshold = m.lrp(judged([(0.9, 1.0), (0.9, 0), (0.9, 0)], 1), 0)
    assert (error, threshold) == (pytest.approx(2 / 3), 0.9)


def test_la_ece_by_hand() -> None:
    found = judged([(0.9, 0.9), (0.8, 0.7), (0.2, 0)], 2)
    # the best threshold keeps two, in bins of their own: |0.9 - 0.9| / 2 + |0.8 - 0.7| / 2
    assert m.la_ece(found) == pytest.approx(0.05)


def test_bootstrap_draws_whole_images() -> None:
    values = np.array([[1.0], [1.0], [0.0]])
    draws = m.bootstrap_means(values, np.array([0, 0, 1]), 2)
    assert set(np.round(draws[:, 0], 6)) == {0, 0.666667, 1}
    assert np.array_equal(draws, m.bootstrap_means(values, np.array([0, 0, 1]), 2))
    low, high = m.interval95(draws)
    assert (low[0], high[0]) == (0, 1)
