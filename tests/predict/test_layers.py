"""What is said after each layer is what a detector cut there says."""

import numpy as np
import pytest
import torch

from edgewise.api import Detector
from edgewise.detections import Detections
from edgewise.model import anytime
from edgewise.predict.layers import LayerPredictor, Times
from tests.train.tiny import NAMES, tiny_config


@pytest.fixture(scope="module")
def detector() -> Detector:
    detector = Detector(tiny_config().updated({"decoder.num_layers": 3}), NAMES, device="cpu", seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for head in (*detector.model.decoder.dec_bbox_head, *detector.model.decoder.dec_score_head):
            for value in head.parameters():
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
    return detector


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in ((50, 70), (64, 64), (90, 40))]


def assert_close(ours: Detections, theirs: Detections) -> None:
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-4)
    assert np.array_equal(ours.labels, theirs.labels)
    np.testing.assert_allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=1e-2)
    np.testing.assert_allclose(ours.edge_std, theirs.edge_std, rtol=1e-3, atol=1e-4)


def test_steps_are_those_of_cut_detectors(detector: Detector, images: list[np.ndarray]) -> None:
    steps = LayerPredictor(detector.predictor(), detector.model, [4])(images)
    assert [set(one) for one in steps] == [{4, 10}] * 3
    for queries in (4, 10):
        for layer in (1, 2, 3):
            cut = detector.at(layers=layer, queries=queries).predictor()
            for image, one in zip(images, steps, strict=True):
                found = one[queries].detections[layer - 1]
                assert found.edges is not None
                assert_close(found, cut.predict_arrays([image])[0])


def test_changes_decide_like_the_model(
    detector: Detector, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anytime, "SURE", 0.0)
    steps = LayerPredictor(detector.predictor(), detector.model)(images)
    first = [one[10].changes[0] for one in steps]
    middle = sorted(first)[1]
    stopping = detector.at(exit=middle).predictor()
    for image, one, change in zip(images, steps, first, strict=True):
        expected = one[10].detections[1 if change < middle else 2]
        if abs(change / middle - 1) > 1e-4:  # that very one is decided by rounding
            assert_close(stopping.predict_arrays([image])[0], expected)


def test_times(detector: Detector, images: list[np.ndarray]) -> None:
    times = LayerPredictor(detector.predictor(), detector.model).times(images[0], 2)
    assert isinstance(times, Times)
    assert set(times.decoder) == {(layer, queries) for layer in (1, 2, 3) for queries in (2, 3, 7, 10)}
    assert all(ms > 0 for ms in (times.maps, times.first_exit, times.no_exit, *times.decoder.values()))
    two = detector.at(layers=2)
    assert np.isnan(LayerPredictor(two.predictor(), two.model, [10]).times(images[0], 1).first_exit)


def test_the_model_stays(detector: Detector, images: list[np.ndarray]) -> None:
    before = {key: value.clone() for key, value in detector.model.state_dict().items()}
    predictor = LayerPredictor(detector.predictor(), detector.model)
    predictor.times(images[0], 1)
    predictor(images)
    assert all(torch.equal(value, before[key]) for key, value in detector.model.state_dict().items())
    assert detector.config.decoder.num_queries == 10
