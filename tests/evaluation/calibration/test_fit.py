from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.calibration import INFINITE, LEVELS
from edgewise.evaluation.calibration import fit
from edgewise.evaluation.calibration.fit import (
    check_enough,
    conformal_quantiles,
    conformal_rank,
    fit_calibration,
    fit_scores,
    fit_spread,
    folds,
)
from edgewise.evaluation.calibration.metrics import d_ece
from tests.evaluation.calibration.outcomes import outcome, pairs, verdicts
from tests.test_calibration import SOURCE


@pytest.mark.parametrize(
    ("count", "level", "rank"), [(9, 0.9, 9), (99, 0.9, 90), (100, 0.9, 91), (10, 0.95, 11), (99, 0.07, 7)]
)
def test_the_conformal_rank_is_exact(count: int, level: float, rank: int) -> None:
    assert conformal_rank(count, level) == rank


def test_margins_are_ranks_and_infinite_where_there_are_too_few() -> None:
    ratios = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))  # 1 … 99
    margins = dict(zip(LEVELS, conformal_quantiles(ratios, LEVELS), strict=True))
    assert (margins[0.5], margins[0.9], margins[0.99], margins[0.995]) == (50, 90, 99, INFINITE)
    assert conformal_quantiles(ratios[:5], (0.9,)) == (INFINITE,)
    absurd = conformal_quantiles(ratios * 1e5, LEVELS)  # beyond INFINITE itself
    assert list(absurd) == sorted(absurd)


@given(st.integers(20, 60), st.integers(0, 1000))
def test_margins_hold_their_level_on_average(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    draws = rng.exponential(size=(400, count))
    rank = conformal_rank(count, 0.8)
    margins = np.sort(draws, 1)[:, rank - 1]
    held = 1 - np.exp(-margins).mean()  # the share of new errors below
    assert 0.8 - 0.012 < held < 0.8 + 1 / (count + 1) + 0.012


def test_a_known_scale_is_found_and_the_temperature_stays() -> None:
    fitted = fit_calibration(outcome(count=3000, images=300, scale=2), SOURCE)
    assert fitted.temperature == (1, 1, 1, 1)
    np.testing.assert_allclose(fitted.scale, 2, rtol=0.08)
    assert max(fitted.floor) < 0.02
    laplace90 = np.log(10) / np.sqrt(2)  # standard deviations that hold 90 %
    np.testing.assert_allclose(fitted.edge_margins(0.9), laplace90, rtol=0.1)
    assert fitted.joint_margin(0.9) > 1.4 * laplace90
    fitted.check_seal("the fit")


def test_errors_that_follow_the_size_alone_raise_the_floor() -> None:
    rng = np.random.default_rng(0)
    root_area = rng.uniform(10, 100, 2000)
    stds = np.tile(rng.uniform(0.1, 1, 2000), (len(fit.TEMPERATURES), 1))
    _, scale, floor = fit_spread(stds, np.abs(rng.laplace(0, 0.05 * root_area / np.sqrt(2))), root_area)
    assert floor == pytest.approx(0.05, rel=0.15)
    assert scale < 1


def test_another_temperature_is_taken_where_it_clearly_tells_more() -> None:
    rng = np.random.default_rng(0)
    useful = np.exp(rng.uniform(0, 2, 1000))
    stds = np.stack([useful if t == 2 else rng.permutation(useful) for t in fit.TEMPERATURES.tolist()])
    errors = np.abs(rng.laplace(0, useful))
    assert fit_spread(stds, errors, np.ones(1000))[0] == 2


def test_scores_learn_what_they_are_worth_in_order() -> None:
    found = verdicts(5000)
    curve = fit_scores(found)
    assert curve is not None
    np.testing.assert_allclose(curve.apply(np.array([0.3, 0.6, 0.9])), [0.09, 0.36, 0.81], atol=0.05)
    assert d_ece(found.of(curve.apply(found.scores))) < 0.2 * d_ece(found)
    assert (np.argsort(curve.apply(found.scores)) == np.argsort(found.scores)).all()


def test_scores_without_right_or_wrong_stay() -> None:
    found = verdicts(100)
    assert fit_scores(replace(found, iou=np.ones(100))) is None
    assert fit_scores(replace(found, iou=np.zeros(100))) is None


def test_scores_that_mean_the_opposite_keep_their_order() -> None:
    found = verdicts(2000)
    curve = fit_scores(replace(found, iou=np.where(found.scores < 0.5, 1.0, 0.0)))
    assert curve is not None
    assert (np.diff(curve.precision) > 0).all()


def test_too_few_pairs_are_refused_with_the_number_needed() -> None:
    for count, images in ((99, 40), (500, 9)):
        few = pairs(count, images)
        with pytest.raises(
            ValueError,
            match=rf"{count} detections in \d+ images of the val split found a box .*; at least 100 in 10 "
            r"images are needed, .*; annotate more images, or name a larger split",
        ):
            check_enough(few, "val")
    check_enough(pairs(100, 12), "val")


def test_folds_have_every_image_once() -> None:
    parts = folds(23, 5)
    assert np.sum(parts, 0).tolist() == [1] * 23
    assert {int(part.sum()) for part in parts} == {4, 5}
    assert len(folds(3, 5)) == 3
