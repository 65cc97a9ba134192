import math

import numpy as np
import pytest
from scipy import stats

from edgewise.uses.improbable import CAUSES, conformal_tail, fisher, improbability, student_tail
from tests.uses.cases import calibration


def test_the_students_tail_is_scipys() -> None:
    z = np.array([-60.0, -3, -0.5, 0, 0.1, 1, 2.776, 4.604, 20, 1e4])
    np.testing.assert_allclose(student_tail(z), 2 * stats.t.sf(np.abs(z), 4), rtol=1e-9)


def test_fisher_by_hand_and_by_scipy() -> None:
    assert fisher(np.array([[0.5, 0.5]]))[0] == pytest.approx(0.25 * (1 + math.log(4)))
    assert fisher(np.array([[0.03]]))[0] == pytest.approx(0.03)
    tails = np.array([[0.01, 0.2, 0.9, 0.5], [1e-9, 1e-9, 1e-9, 1e-9], [1, 1, 1, 1]])
    np.testing.assert_allclose(fisher(tails), [stats.combine_pvalues(row).pvalue for row in tails], rtol=1e-6)
    assert fisher(np.zeros((1, 4)))[0] >= 0


def test_the_conformal_tail_reads_the_margins() -> None:
    tail = conformal_tail(np.array([[0.0, 1.0, -1.0, 1.99]]), calibration(steep=2))
    np.testing.assert_allclose(tail, [[1, 0.5, 0.5, 0.005]], atol=1e-9)


def test_beyond_the_margins_the_tail_falls_as_a_power() -> None:
    steepness = math.log(0.1 / 0.005) / math.log(1.99 / 1.8)
    tail = conformal_tail(np.array([[3.98, 2.5, 1.99, 1.8]]), calibration(steep=2))
    assert tail[0, 0] == pytest.approx(0.005 * 2**-steepness)
    assert (np.diff(tail[0]) > 0).all()


def test_levels_too_many_for_the_data_are_left_out() -> None:
    few = calibration(steep=2, known=0.5)  # 1.0 spread holds one half, more is not known
    tail = conformal_tail(np.array([[1.0, 2.0, 0.5, 0.0]]), few)
    np.testing.assert_allclose(tail, [[0.5, 0.5 / 4, 0.75, 1]])
    none = calibration(known=0.0)
    np.testing.assert_allclose(conformal_tail(np.full((1, 4), 2.0), none), student_tail(np.full((1, 4), 2.0)))


def cause(*residual: float, spread: float = 1.0) -> tuple[str, float, list[bool]]:
    found = improbability(np.array([residual], np.float64), np.full((1, 4), float(spread)))
    return CAUSES[found.cause[0]], float(found.probability[0]), found.edges[0].tolist()


def test_one_edge_far_out_is_that_edge() -> None:
    name, probability, edges = cause(0, 0, 10, 0)
    assert name == "right edge"
    assert probability == pytest.approx(3 * 4 * student_tail(np.array([10.0]))[0])
    assert edges == [False, False, True, False]


@pytest.mark.parametrize("sign", [-1, 1])
def test_opposite_edges_off_to_one_side_are_a_move(sign: int) -> None:
    name, probability, edges = cause(4 * sign, 0, 4 * sign, 0)
    half = student_tail(np.array([4.0]))[0] / 2  # by hand: 0.00807
    assert half == pytest.approx(0.00807, abs=1e-5)
    assert name == "moved sideways"
    assert probability == pytest.approx(3 * 2 * 2 * half**2 * (1 - 2 * math.log(half)))
    assert edges == [True, False, True, False]
    assert cause(0, 4 * sign, 0, 4 * sign)[0] == "moved up or down"


def test_a_box_too_large_is_several_edges() -> None:
    name, probability, edges = cause(-3, -3, 3, 3)
    tail = student_tail(np.full((1, 4), 3.0))
    assert name == "several edges"
    assert probability == pytest.approx(3 * fisher(tail)[0])
    assert edges == [True] * 4
    assert cause(-3, -3, 3, 0.1)[2] == [True, True, True, False]


def test_residuals_count_in_units_of_their_spread() -> None:
    assert cause(8, 0, 0, 0, spread=2)[1] == pytest.approx(cause(4, 0, 0, 0)[1])
    assert cause(5, 5, 5, 5, spread=10)[1] == 1  # never more than certain


def test_right_boxes_are_rarely_improbable() -> None:
    rng = np.random.default_rng(0)
    found = improbability(rng.standard_t(4, (20000, 4)), np.ones((20000, 4)))
    for level in (0.1, 0.01):
        assert (found.probability < level).mean() < level


def test_no_boxes() -> None:
    found = improbability(np.zeros((0, 4)), np.zeros((0, 4)), calibration())
    assert found.probability.shape == (0,)
    assert found.tails.shape == found.edges.shape == (0, 4)


def test_an_edge_without_spread() -> None:
    found = improbability(np.array([[0.0, 0, 1, 0]]), np.zeros((1, 4)))
    assert CAUSES[found.cause[0]] == "right edge"
    assert np.isfinite(found.probability).all()
