import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.api import Detector
from edgewise.calibration import INFINITE, LEVELS, Calibration, ScoreCalibration, Source
from edgewise.detections import Detections
from edgewise.plain import from_plain
from tests.train.tiny import NAMES, tiny_config

SOURCE = Source(data="d41d8c", split="val", date="2026-11-22", images=20, pairs=300, threshold=0.5)
LINE = ScoreCalibration(scores=(0, 0.2, 0.6, 1), precision=(0, 0.1, 0.8, 1))


def calibration(score: ScoreCalibration | None = LINE) -> Calibration:
    """One whose margin is 3·level on every edge and 4·level on all together."""
    row = tuple(3 * level for level in LEVELS)
    return Calibration(
        temperature=(1, 1.5, 1, 0.5),
        scale=(1, 2, 1, 1),
        floor=(0, 0, 0.1, 0),
        margins=(row, row, row, row),
        joint=tuple(4 * level for level in LEVELS),
        score=score,
        source=SOURCE,
    ).sealed()


def test_the_spread_is_scaled_and_never_below_the_floor():
    std = np.array([[3.0, 3.0, 3.0, 3.0]])
    spread = calibration().spread(std, np.array([[0.0, 0.0, 20.0, 80.0]]))  # √area is 40
    np.testing.assert_allclose(spread, [[3, 6, 5, 3]])


def test_margins_are_those_of_the_next_tabulated_level():
    fitted = calibration()
    np.testing.assert_allclose(fitted.edge_margins(0.9), 2.7)
    assert fitted.joint_margin(0.9) == pytest.approx(3.6)
    assert fitted.joint_margin(0.9001) == pytest.approx(4 * 0.905)
    assert fitted.joint_margin(0.995) == pytest.approx(4 * 0.995)
    assert fitted.joint_margin(0.9951) == fitted.edge_margins(0.9999)[0] == INFINITE


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, -0.1, 90.0])
def test_a_level_is_between_0_and_1(level: float):
    for read in (calibration().edge_margins, calibration().joint_margin):
        with pytest.raises(ValueError, match=f"level {level}: expected a number between 0 and 1, such as"):
            read(level)


def test_a_hand_in_it_is_noticed():
    fitted = calibration()
    fitted.check_seal("a.safetensors")
    for changed in ({"scale": (1, 1, 1, 1)}, {"score": None}, {"seal": ""}):
        with pytest.raises(ValueError, match=r"a\.safetensors: the calibration was altered after it was fit"):
            replace(fitted, **changed).check_seal("a.safetensors")


def test_the_seal_survives_json():
    values = json.loads(json.dumps(asdict(calibration())))
    assert from_plain(Calibration, values, "json") == calibration()
    from_plain(Calibration, values, "json").check_seal("json")


def test_margins_must_rise():
    with pytest.raises(ValueError, match="margins must rise with the level"):
        replace(calibration(), joint=(1.0,) + (0.5,) * (len(LEVELS) - 1))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"scale": (1, 0, 1, 1)}, r"scale \(1.0, 0.0, 1.0, 1.0\): expected four numbers above 0"),
        ({"floor": (0, 0, -0.1, 0)}, "floor .*: expected four numbers from 0"),
        ({"floor": (0, 0, float("nan"), 0)}, "floor .*: expected four numbers from 0"),
        ({"joint": (1.0, 2.0)}, f"margins of 2 levels; expected {len(LEVELS)}, none below 0"),
    ],
)
def test_numbers_that_cannot_be_a_calibration_are_refused(changes: dict[str, Any], match: str):
    with pytest.raises(ValueError, match=match):
        replace(calibration(), **changes)


def test_scores_go_along_the_line_and_back():
    scores = np.array([0, 0.1, 0.2, 0.4, 0.9, 1])
    np.testing.assert_allclose(LINE.apply(scores), [0, 0.05, 0.1, 0.45, 0.95, 1])
    np.testing.assert_allclose(LINE.undo(LINE.apply(scores)), scores)
    assert LINE.apply(scores.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("scores", "precision"),
    [((0, 0.5, 1), (0, 0, 1)), ((0.1, 1), (0, 1)), ((0, 1), (0, 0.9)), ((), ()), ((0, 1), (0, 0.5, 1))],
)
def test_a_line_that_is_no_order_is_refused(scores: tuple[float, ...], precision: tuple[float, ...]):
    with pytest.raises(ValueError, match=r"must rise from 0 to 1|2 scores for 3 values"):
        ScoreCalibration(scores=scores, precision=precision)


SHAPES = [(50, 70), (200, 31), (17, 300), (64, 64)]


def test_calibration_and_intervals_are_equal_through_save_and_load(tmp_path: Path):
    detector = Detector(tiny_config(), NAMES, device="cpu")
    detector.calibration = calibration()
    detector.save(tmp_path / "a.safetensors")
    loaded = Detector.from_pretrained(tmp_path / "a.safetensors", device="cpu")
    assert loaded.calibration == detector.calibration
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in SHAPES]
    alone = [detector.predict(image, threshold=0.0) for image in images]
    batch = loaded.predict(images, threshold=0.0, batch=3)
    for image, one, other in zip(images, alone, batch, strict=True):
        again = loaded.predict(image, threshold=0.0)
        assert len(one) == len(again) == len(other) > 0
        for a, b, c in zip(promised(one), promised(again), promised(other), strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-3)  # pixels


def promised(found: Detections) -> tuple[np.ndarray, ...]:
    return (found.scores, found.edge_std, found.edge_interval(0.9), *found.joint_interval(0.5))


def test_an_uncalibrated_detector_promises_nothing_and_says_the_way_out():
    detector = Detector(tiny_config(), NAMES, device="cpu")
    detector.calibration = calibration()
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    bare, found = (one.predict(image, threshold=0.0) for one in (detector.uncalibrated(), detector))
    np.testing.assert_array_equal(LINE.apply(bare.scores), found.scores)
    for ask in (bare.edge_interval, bare.joint_interval):
        with pytest.raises(ValueError, match=r"not calibrated.*run: edgewise calibrate CHECKPOINT DATA"):
            ask(0.9)
