"""A trace says what the model says, layer by layer, in pixels."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from edgewise.api import Detector
from edgewise.distributions import edge_kl
from edgewise.predict.trace import Trace
from edgewise.preprocess import preprocess
from edgewise.structures import ModelOutput
from tests.train.tiny import NAMES, tiny_config

HEIGHT, WIDTH = 50, 70


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Its edges are moved off their start, by layers that differ."""
    detector = Detector(tiny_config().updated({"decoder.num_layers": 3}), NAMES, device="cpu", seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for head in detector.model.decoder.dec_bbox_head:
            bias = head.layers[-1].bias
            bias.copy_(torch.randn(bias.shape, generator=generator))
    return detector


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def trace(detector: Detector, image: np.ndarray) -> Trace:
    return detector.trace(image, 0.0)


@pytest.fixture(scope="module")
def output(detector: Detector, image: np.ndarray) -> ModelOutput:
    ready, _ = preprocess(image, detector.config.size)
    with torch.inference_mode():
        return detector.model(torch.from_numpy(ready)[None])


def test_it_says_what_the_model_says(trace: Trace, output: ModelOutput, image: np.ndarray) -> None:
    order = output.logits[0].amax(-1).sort(descending=True, stable=True).indices
    scale = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    assert len(trace) == 10
    assert len(trace.edges) == 3
    assert trace.image is image
    assert np.array_equal(trace.labels, output.logits[0, order].argmax(-1))
    boxes = [trace.initial_boxes_xyxy, *trace.boxes_xyxy]
    for ours, theirs in zip(boxes, [output.initial, *output.layers], strict=True):
        centre, half = theirs.boxes[0, order].numpy().reshape(-1, 2, 2).transpose(1, 0, 2)
        expected = np.concatenate([centre - half / 2, centre + half / 2], 1) * scale
        np.testing.assert_allclose(ours, expected, atol=1e-4)
    for layer, theirs in enumerate(output.layers):
        np.testing.assert_allclose(trace.edges[layer].mean, trace.boxes_xyxy[layer], atol=1e-3)
        scores = theirs.logits[0, order].sigmoid().numpy()[np.arange(10), trace.labels]
        np.testing.assert_allclose(trace.scores[layer], scores, rtol=1e-6)


def test_divergences_are_the_models(trace: Trace, output: ModelOutput) -> None:
    order = output.logits[0].amax(-1).sort(descending=True, stable=True).indices
    edges = [layer.edge_logits[0, order] for layer in output.layers]
    following = torch.stack([edge_kl(later, earlier) for earlier, later in pairwise(edges)])
    assert following.max() > 0.1
    np.testing.assert_allclose(trace.kl_next, following, rtol=1e-3, atol=1e-6)
    last = torch.stack([edge_kl(edges[-1], one) for one in edges])
    np.testing.assert_allclose(trace.kl_last, last, rtol=1e-3, atol=1e-6)
    assert (trace.kl_last[-1] == 0).all()


def test_thresholds_keep_the_best(detector: Detector, trace: Trace, image: np.ndarray) -> None:
    third = float(trace.scores[-1, 2])
    some = detector.trace(image, third)
    assert len(some) == 3
    np.testing.assert_array_equal(some.boxes_xyxy, trace.boxes_xyxy[:, :3])


def test_one_layer_has_no_next(detector: Detector, image: np.ndarray) -> None:
    one = detector.at(layers=1).trace(image, 0.0)
    assert one.kl_next.shape == (0, 10, 4)
    assert one.kl_last.shape == (1, 10, 4)


def test_a_detector_that_stops_early_has_fewer_layers(detector: Detector, image: np.ndarray) -> None:
    assert len(detector.at(exit=1e9).trace(image, 0.0).edges) == 2


def test_pictures(trace: Trace, tmp_path: Path) -> None:
    figure = trace.plot(1)
    assert len(figure.axes) == 5 * 4  # the box and four edges: at first, and after each of three layers
    figure.savefig(tmp_path / "trace.png")
    assert (tmp_path / "trace.png").stat().st_size > 10_000


def test_what_is_not_there(detector: Detector, trace: Trace, image: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="box 10: expected 0 to 9"):
        trace.plot(10)
    none = detector.trace(image, 1.0)
    assert none.boxes_xyxy.shape == (3, 0, 4)
    with pytest.raises(ValueError, match="box 0: no object reached the threshold"):
        none.plot()
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="2 images; expected a single one to trace"):
        detector.trace(tmp_path)
