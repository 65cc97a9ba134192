from math import isnan

import numpy as np
import pytest

from edgewise.evaluation.coco import coco_metrics
from edgewise.evaluation.f1 import THRESHOLDS, judged, peak, threshold_curves
from edgewise.evaluation.matching import truths
from tests.evaluation.cases import random_case


@pytest.mark.parametrize("seed", range(60))
def test_judged_as_by_the_evaluator(seed: int) -> None:
    # AP50 computed from our own matches equals the evaluator's, so the F1 curve counts what AP counts.
    annotations, detections = random_case(seed)
    rows = np.array([[d["image_id"], *d["bbox"], d["score"], d["category_id"]] for d in detections])
    metrics = coco_metrics(annotations, detections)
    labels, scores, right = judged(truths(annotations["annotations"]), rows.reshape(-1, 7))
    for label, one in enumerate(metrics.per_class.values()):
        if one.count:
            mine = labels == label
            assert _ap(scores[mine], right[mine], one.count) == pytest.approx(one.ap50, abs=1e-12)


def _ap(scores: np.ndarray, right: np.ndarray, count: int) -> float:
    right = right[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    at = np.searchsorted(hits / count, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0.0)[at].mean())


def test_f1_worked_by_hand() -> None:
    curves = threshold_curves(np.array([0.9, 0.6, 0.3]), np.array([True, False, True]), count=2)
    curve = curves.f1
    at = {0.0: 4 / 5, 0.3: 4 / 5, 0.301: 2 / 4, 0.6: 2 / 4, 0.601: 2 / 3, 0.9: 2 / 3, 0.901: 0.0}
    for threshold, f1 in at.items():
        assert curve[round(threshold * 1000)] == pytest.approx(f1)
    assert peak(curve) == (pytest.approx(0.8), pytest.approx(0.15, abs=1e-3))
    assert curves.precision[[0, 301, 601]] == pytest.approx([2 / 3, 1 / 2, 1])
    assert curves.recall[[0, 301, 601, 901]] == pytest.approx([1, 1 / 2, 1 / 2, 0])
    assert isnan(curves.precision[901])


def test_peak_is_the_middle_of_the_best_thresholds() -> None:
    curve = threshold_curves(np.array([0.8, 0.2]), np.array([True, False]), count=1).f1
    best, threshold = peak(curve)
    assert best == 1.0
    assert threshold == pytest.approx(0.5, abs=2e-3)


def test_undefined() -> None:
    curve = threshold_curves(np.array([0.5]), np.array([False]), count=0).f1
    assert len(curve) == len(THRESHOLDS)
    assert all(isnan(value) for value in peak(curve))
    best, threshold = peak(threshold_curves(np.array([0.5]), np.array([False]), count=1).f1)
    assert best == 0.0
    assert isnan(threshold)
