"""What the benchmarks of audit, selection and fusion count."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.data.scenes import SceneDataset
from edgewise.detections import Detections
from tests.uses.cases import detections

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
AUDIT, FUSION, SELECTION = (
    runpy.run_path(str(BENCHMARKS / f"{name}.py")) for name in ("audit", "fusion", "selection")
)
BOX = np.array([10.0, 20, 110, 70])


# ── audit ──────────────────────────────────────────────────────────────────────────────────────────


def test_mistakes_are_as_large_as_they_say() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        by = AUDIT["moved"](BOX, rng) - BOX
        assert by[:2] == pytest.approx(by[2:])
        assert np.hypot(by[0] / 100, by[1] / 50) == pytest.approx(0.08)
        by = np.abs(AUDIT["one_edge"](BOX, rng) - BOX)
        assert sorted(by)[:3] == [0, 0, 0]
        assert by.max() == pytest.approx(0.15 * (100, 50, 100, 50)[int(by.argmax())])
        by = AUDIT["resized"](BOX, rng) - BOX
        assert np.abs(by) == pytest.approx([8, 4, 8, 4])
        assert np.sign(by).tolist() in ([-1, -1, 1, 1], [1, 1, -1, -1])


def test_a_twentieth_of_the_boxes_is_made_wrong() -> None:
    source = SceneDataset(20, size=(96, 96))
    samples = [source[index] for index in range(20)]
    total = sum(len(one.labels) for one in samples)
    bad = AUDIT["harmed"](source, samples, AUDIT["moved"], 3)
    assert len(bad.wrong) == round(0.05 * total)
    changed = {
        (index, box)
        for index, one in enumerate(samples)
        for box in range(len(one.labels))
        if not np.array_equal(bad[index].boxes_xyxy[box], one.boxes_xyxy[box])
    }
    assert changed == set(bad.wrong)
    assert set(AUDIT["harmed"](source, samples, AUDIT["moved"], 4).wrong) != changed


def test_precision_and_recall_by_hand() -> None:
    hit = np.array([True, False, True, False])  # of three that are wrong one has no detection
    recall, precision = AUDIT["curve"](hit, 3)
    assert recall.tolist() == [1 / 3, 1 / 3, 2 / 3, 2 / 3]
    assert precision.tolist() == [1, 1 / 2, 2 / 3, 1 / 2]
    scores = AUDIT["scores"](hit, 3)
    assert scores["average_precision"] == pytest.approx((1 + 2 / 3) / 3)
    assert scores["precision_at_k"] == pytest.approx(2 / 3)


# ── fusion ─────────────────────────────────────────────────────────────────────────────────────────


def views() -> list[Detections]:
    one = detections((0, 0.9, (10, 10, 30, 30)), std=[[1, 1, 1, 1]])
    return [one, detections((0, 0.3, (14, 10, 34, 30)), (1, 0.5, (14, 10, 34, 30)), std=3.0)]


def test_ways_to_fuse() -> None:
    kept = FUSION["suppressed"](views(), None)
    assert kept.boxes_xyxy[:, 0].tolist() == [10, 14]
    assert kept.labels.tolist() == [0, 1]
    by_score = FUSION["by_score"](views(), None)
    assert by_score.boxes_xyxy[0, 0] == pytest.approx((0.9 * 10 + 0.3 * 14) / 1.2)
    cut = detections((0, 0.9, (12, 10, 24, 30)), std=[[1, 1, 12, 1]])  # as `placed` marks it
    whole = detections((0, 0.9, (10, 10, 30, 30)))
    fused = FUSION["by_score_uncut"]([cut, whole], None)
    np.testing.assert_allclose(fused.boxes_xyxy, [[11, 10, 30, 30]], atol=1e-3)


def test_errors_are_those_of_the_sure_detection_of_the_class() -> None:
    found = detections((0, 0.9, (11, 10, 30, 30)), (0, 0.5, (10, 10, 30, 30)), (1, 0.2, (50, 10, 70, 30)))
    boxes = np.array([[10.0, 10, 30, 30], [50, 10, 70, 30]])
    errors, spreads = FUSION["found_edges"](found, boxes, np.array([0, 1]))
    assert errors[0].tolist() == [1, 0, 0, 0]
    assert spreads[0].tolist() == [1, 1, 1, 1]
    assert np.isnan(errors[1]).all()


# ── selection ──────────────────────────────────────────────────────────────────────────────────────


def rounds(*ap: float, boxes: tuple[int, ...] = (10, 20, 40)) -> list[dict[str, Any]]:
    return [
        {"ap": one, "images": 8 * (place + 1), "boxes": count}
        for place, (one, count) in enumerate(zip(ap, boxes, strict=True))
    ]


def test_areas_by_hand() -> None:
    assert SELECTION["area"](rounds(0.1, 0.3, 0.3), "images", 24) == pytest.approx(0.25, abs=1e-3)
    assert SELECTION["area"](rounds(0.1, 0.3, 0.3), "boxes", 30) == pytest.approx(0.25, abs=1e-3)


def test_the_gain_has_an_interval_and_boxes_a_common_end() -> None:
    ours = [rounds(0.1, 0.3, 0.5), rounds(0.1, 0.4, 0.5), rounds(0.1, 0.2, 0.5)]
    chance = [rounds(0.1, 0.2, 0.5, boxes=(10, 15, 20))] * 3
    by_images = SELECTION["compared"]({"select": ours, "random": chance}, "images")
    assert by_images["gain"] == pytest.approx(0.05, abs=1e-3)  # 0, 0.05 and 0.1
    low, high = by_images["gain_95"]
    assert (high - low) / 2 == pytest.approx(4.303 * 0.05 / 3**0.5, rel=1e-2)
    by_boxes = SELECTION["compared"]({"select": ours[:2], "random": chance[:2]}, "boxes")
    assert by_boxes["areas"]["select"] == pytest.approx([0.2, 0.25], abs=1e-3)  # up to 20 boxes
    assert by_boxes["areas"]["random"] == pytest.approx([0.25, 0.25], abs=1e-3)


def test_a_subset_may_hold_a_scene_twice() -> None:
    pool = SceneDataset(5, 7, size=(96, 96))
    part = SELECTION["subset"](pool, [3, 1, 3])
    assert len(part) == 3
    for index, place in enumerate((3, 1, 3)):
        np.testing.assert_array_equal(part[index].image, pool[place].image)
    assert part.image_ids == (3, 1, 3)
