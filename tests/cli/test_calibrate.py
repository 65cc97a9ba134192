"""`edgewise calibrate` and what follows from it, with a detector that sees boxes and not pixels."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.api import Detector
from edgewise.bins import bin_values
from edgewise.checkpoint import load, save, store_thresholds
from edgewise.data.open import open_dataset
from edgewise.data.scenes import CLASS_NAMES, SceneDataset, write_coco
from edgewise.decode import calibrated_std
from edgewise.detections import Detections
from edgewise.edges import EdgeDistributions
from edgewise.evaluation.calibration import fit
from edgewise.predict.network import NetworkPredictor
from edgewise.seen import SeenImages
from edgewise.thresholds import Thresholds
from tests.cli.conftest import Edgewise
from tests.train.tiny import tiny_config

SIDE = 96


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes")
    splits = [("train", 2), ("val", 40), ("test", 30)]
    write_coco(path, [SceneDataset(n, split=name, size=(SIDE, SIDE)) for name, n in splits])
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    Detector(tiny_config(len(CLASS_NAMES)), CLASS_NAMES, device="cpu").save(path)
    found = Thresholds(
        split="val", shared=0.5, by_class=(None,) * len(CLASS_NAMES), counts=(1,) * len(CLASS_NAMES)
    )
    store_thresholds(path, found)
    return path


@pytest.fixture(autouse=True)
def seeing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictor finds every box, off by its own idea of each edge's spread; and as many that are not."""
    monkeypatch.setattr(fit, "FEWEST_PAIRS", 40)
    boxes: dict[bytes, Any] = {}
    for split in ("val", "test"):
        dataset = open_dataset(data, split)
        boxes |= {one.image.tobytes(): one for one in (dataset[i] for i in range(len(dataset)))}

    def predict_arrays(
        self: NetworkPredictor, images: Sequence[np.ndarray], threshold: float = 0.0, edges: bool = False
    ) -> list[Detections]:
        return [_seen(self, boxes[image.tobytes()], edges) for image in images]

    def predict_layers(self: NetworkPredictor, images: Sequence[np.ndarray]) -> list[tuple[Detections, ...]]:
        return [(one,) for one in predict_arrays(self, images, edges=True)]

    monkeypatch.setattr(NetworkPredictor, "predict_arrays", predict_arrays)
    monkeypatch.setattr(NetworkPredictor, "predict_layers", predict_layers)


def _seen(predictor: NetworkPredictor, sample: Any, edges: bool) -> Detections:
    rng = np.random.default_rng(sample.image_id)
    true, labels = np.tile(sample.boxes_xyxy, (2, 1)).astype(np.float64), np.tile(sample.labels, 2)
    real = np.arange(len(true)) < len(sample.labels)
    sigma = np.exp(rng.uniform(np.log(0.3), np.log(2), true.shape))
    boxes = true + rng.laplace(0, 2 * sigma / np.sqrt(2)) + 500 * ~real[:, None]
    scores = np.where(real, rng.uniform(0.55, 0.95, len(true)), rng.uniform(0.05, 0.7, len(true)))
    sides = np.tile(np.maximum(boxes[:, 2:] - boxes[:, :2], 1), 2)
    values = bin_values(32)
    raw = EdgeDistributions.of(-np.square(values / (sigma / sides)[..., None]) / 2, values, boxes, sides)
    calibration = predictor.calibration
    if calibration is not None and calibration.score is not None:
        scores = calibration.score.apply(scores)
    order = np.argsort(-scores)
    found = Detections(
        boxes_xyxy=boxes,
        scores=scores,
        labels=labels,
        edge_std=calibrated_std(raw, boxes, calibration),
        size=(SIDE, SIDE),
        class_names=predictor.class_names,
        calibration=calibration,
        edges=raw,
    )[order]
    return found if edges else replace(found, edges=None)


def test_a_checkpoint_is_calibrated_and_evaluation_says_how_honest_it_is(
    weights: Path, data: Path, tmp_path: Path, edgewise: Edgewise
) -> None:
    code, text = edgewise("calibrate", weights, data, "--report", tmp_path / "report")
    assert code == 0, text
    assert "Honesty on the val split, cross-validated" in text
    assert "left, top, right, bottom: temperature" in text
    assert f"{weights}: calibrated on the val split" in text
    assert (tmp_path / "report/reliability.png").exists()
    stored = load(weights).calibration
    assert stored is not None
    assert (stored.source.split, stored.source.images) == ("val", 40)
    assert stored.source.data == open_dataset(data, "val").fingerprint
    assert stored.scale[0] == pytest.approx(2, rel=0.25)

    code, text = edgewise("evaluate", weights, data, "--split", "test", "--out", tmp_path / "out")
    assert code == 0, text
    assert "90 % intervals hold" in text
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())["honesty"]
    assert numbers["joint"]["coverage"]["90"]["value"] == pytest.approx(0.9, abs=0.1)
    assert numbers["scores"]["d_ece"] < numbers["scores"]["d_ece_raw"]
    assert (tmp_path / "out/coverage_width.png").exists()
    assert "90 % intervals hold" in numbers["summary"]


def test_a_copy_may_be_calibrated(weights: Path, data: Path, tmp_path: Path, edgewise: Edgewise) -> None:
    before = weights.read_bytes()
    code, text = edgewise("calibrate", weights, data, "--out", tmp_path / "b.safetensors")
    assert code == 0, text
    assert weights.read_bytes() == before
    assert load(tmp_path / "b.safetensors").calibration is not None


def test_thresholds_keep_the_same_detections_and_calibrating_again_changes_nothing(
    weights: Path, data: Path
) -> None:
    detector = Detector.from_pretrained(weights, device="cpu")
    detector.calibrate(data)
    first, thresholds = detector.calibration, detector.thresholds
    assert first is not None
    assert first.score is not None
    assert thresholds is not None
    assert thresholds.shared == pytest.approx(float(first.score.apply(np.array([0.5]))[0]))
    detector.calibrate(data)
    assert detector.calibration == first
    assert detector.thresholds is not None
    assert detector.thresholds.shared == pytest.approx(thresholds.shared)
    assert detector.uncalibrated().thresholds is not None
    assert detector.uncalibrated().calibration is None
    assert detector.calibration == first


def test_an_uncalibrated_detector_is_told_how_honest_its_raw_error_bars_are(
    weights: Path, data: Path, tmp_path: Path, edgewise: Edgewise
) -> None:
    code, text = edgewise("evaluate", weights, data, "--split", "test", "--out", tmp_path)
    assert code == 0, text
    assert "raw 90 % intervals hold" in text
    numbers = json.loads((tmp_path / "metrics.json").read_text())["honesty"]
    assert numbers["own"] == "raw distribution"
    assert numbers["joint"]["coverage"]["90"]["value"] < 0.7  # errors are twice what it says
    assert "# Honesty, not calibrated" in (tmp_path / "honesty.md").read_text()


def test_an_untrained_detector_has_no_honesty(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # what finds every box
    bare = Detector(tiny_config(len(CLASS_NAMES)), CLASS_NAMES, device="cpu")
    metrics = bare.evaluate(data, "train")
    assert metrics.honesty is None
    assert "honesty" not in metrics.to_dict()


def test_images_that_were_trained_on_are_warned_of(weights: Path, data: Path, edgewise: Edgewise) -> None:
    seen = SeenImages.of(open_dataset(data, "val").paths[:10])
    save(weights, replace(load(weights), seen=seen))
    detector = Detector.from_pretrained(weights, device="cpu")
    with pytest.warns(UserWarning, match="25% of the 40 images of the val split were trained on: errors are"):
        detector.calibrate(data)
    assert detector.checkpoint().seen == seen
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, text = edgewise("calibrate", weights, data)
    assert code == 0, text
    assert "warning: 25% of the 40 images of the val split were trained on: errors are smaller" in text
    assert "so the error bars; calibrate on images held out" in text
    assert "UserWarning" not in text


def test_bad_input_is_one_clear_error(
    weights: Path, data: Path, tmp_path: Path, edgewise: Edgewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "FEWEST_PAIRS", 10_000)
    code, text = edgewise("calibrate", weights, data)
    assert code == 1
    assert "detections in 40 images of the val split found a box" in text
    assert "at least 10000 in 10 images are needed" in text

    other = tmp_path / "other.safetensors"
    Detector(tiny_config(1), ["dog"], device="cpu").save(other)
    code, text = edgewise("calibrate", other, data)
    assert code == 1
    assert "the predictor's classes are dog; the dataset's are" in text

    code, text = edgewise("calibrate", tmp_path / "nothing.safetensors", data)
    assert code == 1
    assert "not an Edgewise file, so it has no place for thresholds or a calibration" in text
