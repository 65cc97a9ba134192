from dataclasses import replace

import numpy as np
import pytest

from edgewise.evaluation.calibration.baselines import CURVE, NAIVE, OTHERS, RAW, calibrated_spread
from edgewise.evaluation.calibration.crossfit import OURS, as_decoded, claimed, crossfit
from edgewise.evaluation.calibration.fit import FOLDS, fit_calibration, folds
from edgewise.evaluation.calibration.metrics import inside
from edgewise.evaluation.calibration.pairs import Outcome
from tests.evaluation.calibration.outcomes import outcome
from tests.test_calibration import SOURCE


def test_every_conformal_way_holds_what_it_claims() -> None:
    reporting = outcome(2000, 200, seed=1)
    said = claimed(outcome(1500, 150), reporting, SOURCE)
    assert set(said.claims) == {OURS, *OTHERS}
    for name, one in said.claims.items():
        edges = inside(reporting.pairs.true_xyxy, one.low, one.high).mean((1, 2))
        joint = inside(reporting.pairs.true_xyxy, one.joint_low, one.joint_high).all(-1).mean(-1)
        if name == "raw distribution":  # errors are twice what it says
            assert edges[CURVE.index(0.9)] < 0.75
        else:
            np.testing.assert_allclose(edges, CURVE, atol=0.03)
            np.testing.assert_allclose(joint, CURVE, atol=0.06)


def test_ours_is_narrower_than_naive_where_spreads_tell_the_errors() -> None:
    said = claimed(outcome(1000, 100), outcome(1000, 100, seed=1), SOURCE)
    place = CURVE.index(0.9)
    width = {name: (one.joint_high - one.joint_low)[place].mean() for name, one in said.claims.items()}
    assert width[OURS] < 0.8 * min(width["fixed width"], width["share of the side"], width["share of √area"])


def test_what_is_said_of_an_image_never_depends_on_its_own_truth() -> None:
    whole = outcome(300, 30)
    fold = folds(30, FOLDS)[0]
    within = fold[whole.pairs.image]
    true = whole.pairs.true_xyxy + np.where(within, 50, 0)[:, None]
    other = Outcome(replace(whole.pairs, true_xyxy=true), whole.verdicts)
    before, after = crossfit(whole, SOURCE), crossfit(other, SOURCE)
    for name in (OURS, *OTHERS):
        for end in ("low", "high", "joint_low", "joint_high"):
            one, two = (getattr(said.claims[name], end)[:, within] for said in (before, after))
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(before.spread[within], after.spread[within])
    assert not np.array_equal(before.spread[~within], after.spread[~within])


def test_what_a_calibrated_detector_says_is_what_a_fit_claims() -> None:
    whole = outcome(300, 30)
    calibration = fit_calibration(whole, SOURCE)
    assert calibration.score is not None
    decoded = Outcome(
        replace(whole.pairs, spread=calibrated_spread(calibration, whole.pairs)),
        whole.verdicts.of(calibration.score.apply(whole.verdicts.scores)),
    )
    one, two = as_decoded(decoded, calibration), claimed(whole, whole, SOURCE)
    np.testing.assert_allclose(one.claims[OURS].joint_low, two.claims[OURS].joint_low)
    np.testing.assert_allclose(one.raw_scores, two.raw_scores, atol=1e-6)
    assert one.scores == pytest.approx(two.scores)


def test_a_raw_detector_is_judged_by_what_it_says_itself() -> None:
    whole = outcome(300, 30)
    said = as_decoded(whole, None)
    assert (said.own, *said.claims) == (RAW, RAW, *NAIVE)
    np.testing.assert_allclose(said.spread, whole.pairs.edges.std)
    place = CURVE.index(0.9)
    interval = np.stack([said.claims[RAW].low[place], said.claims[RAW].high[place]], -1)
    np.testing.assert_allclose(interval, whole.pairs.edges.interval(0.9))
    np.testing.assert_array_equal(said.scores, said.raw_scores)


def test_naive_ways_beside_a_detector_do_not_know_the_image_that_they_are_asked_about() -> None:
    whole = outcome(300, 30)
    fold = folds(30, FOLDS)[0][whole.pairs.image]
    true = whole.pairs.true_xyxy + np.where(fold, 50, 0)[:, None]
    other = Outcome(replace(whole.pairs, true_xyxy=true), whole.verdicts)
    for name in NAIVE:
        one, two = (as_decoded(each, None).claims[name].joint_low for each in (whole, other))
        np.testing.assert_array_equal(one[:, fold], two[:, fold])
        assert not np.array_equal(one[:, ~fold], two[:, ~fold])


def test_few_pairs_have_no_naive_ways_beside_them() -> None:
    few = outcome(300, 30)
    assert set(as_decoded(Outcome(few.pairs[np.arange(99)], few.verdicts), None).claims) == {RAW}
