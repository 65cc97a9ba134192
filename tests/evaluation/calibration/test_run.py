"""From images to a calibration, and what is refused."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from edgewise.detections import Detections
from edgewise.evaluation.calibration.pairs import collect
from edgewise.evaluation.calibration.run import calibrate, measured
from tests.evaluation.calibration.test_pairs import with_edges
from tests.evaluation.fakes import FakeDataset, Oracle

RNG = np.random.default_rng(0)
BOXES = [
    [(int(RNG.integers(2)), 5, 5, 20, 20), (int(RNG.integers(2)), 40, 30, 30, 20), (0, 60, 2, 15, 18)]
    for _ in range(40)
]
DATASET = FakeDataset(BOXES)
ENOUGH = np.array([0.5, 0.5])


def noisy(seed: int = 1):
    """The boxes of an image with errors of half a pixel, and one detection in four that is not there."""
    oracle, rng = Oracle(DATASET), np.random.default_rng(seed)

    def predict(images: list[np.ndarray]) -> list[Detections]:
        answers = []
        for one in oracle(images):
            boxes = one.boxes_xyxy + rng.laplace(0, 0.5, one.boxes_xyxy.shape).astype(np.float32)
            boxes[rng.random(len(one)) < 0.1] += 200
            scores = np.sort(rng.uniform(0.6, 1, len(one)))[::-1].astype(np.float32)
            answers.append(with_edges(replace(one, boxes_xyxy=boxes, scores=scores)))
        return answers

    return predict


def test_a_detector_is_calibrated_from_images() -> None:
    calibration, honesty = calibrate(DATASET, noisy(), ENOUGH, split="val", size=(64, 96))
    source = calibration.source
    assert (source.split, source.images, source.size) == ("val", 40, (64, 96))
    assert source.date == date.today().isoformat()
    assert source.pairs == len(honesty.outcome.pairs) > 100
    calibration.check_seal("fresh")
    held = honesty.numbers["edges"]["all"]["coverage"]["90"]["value"]
    assert held == pytest.approx(0.9, abs=0.05)
    assert "cross-validated" in honesty.title
    text = calibration.describe()
    assert "left, top, right, bottom: temperature 1.00 1.00 1.00 1.00; spread times" in text
    assert f"from {source.pairs} matched detections in 40 images of val" in text


def test_few_pairs_and_other_classes_are_refused() -> None:
    few = FakeDataset(BOXES[:9])
    with pytest.raises(ValueError, match=r"\d+ detections in 9 images of the val split found a box"):
        calibrate(few, noisy(), ENOUGH, split="val")
    other = replace(DATASET, class_names=("dog", "bird"))
    with pytest.raises(ValueError, match="the predictor's classes are dog, cat; the dataset's are dog, bird"):
        calibrate(other, noisy(), ENOUGH, split="val")


def test_nothing_found_has_no_honesty() -> None:
    calibration, _ = calibrate(DATASET, noisy(), ENOUGH, split="val")
    nothing = collect(DATASET, noisy(), np.array([1.1, 1.1]))
    assert measured(nothing, {}, calibration, ("dog", "cat")) is None
