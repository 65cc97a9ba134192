import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from edgewise import distributions
from edgewise.bins import bin_values
from edgewise.calibration import ScoreCalibration
from edgewise.decode import decode, sigmoid, top_k
from edgewise.detections import Detections, Geometry
from edgewise.edges import EdgeDistributions
from tests.test_detections import promise

VALUES = bin_values(32)


def decoded(logits: np.ndarray, boxes: np.ndarray, size: tuple[int, int] = (100, 200), **kw) -> Detections:
    """With flat distributions around `boxes`, and classes named after their numbers."""
    edges = np.zeros((len(boxes), 4, len(VALUES)), np.float32)
    names = tuple(map(str, range(logits.shape[1])))
    geometry = Geometry(size, (64, 64))
    return decode(logits, boxes, edges, boxes, geometry, values=VALUES, class_names=names, **kw)


def test_a_case_worked_by_hand() -> None:
    logits = np.array([[-2.0, 0.0], [1.0, -3.0]], np.float32)
    boxes = np.array([[0.5, 0.5, 0.2, 0.4], [0.1, 0.9, 0.4, 0.2]], np.float32)
    edges = np.full((2, 4, 33), -100, np.float32)
    edges[:, :, [1, 31]] = 0  # half at -a, half at +a: a standard deviation of a = 1/2 side
    edges[1, 3, 1] = -100  # all at +a: no doubt
    found = decode(
        logits,
        boxes,
        edges,
        boxes / 2,
        Geometry(original_size=(100, 200), model_size=(64, 64)),
        values=VALUES,
        class_names=("cat", "dog"),
        category_ids=(17, 18),
        max_detections=3,
        source="a.jpg",
    )
    assert found.labels.tolist() == [0, 1, 0]
    assert found.names.tolist() == ["cat", "dog", "cat"]
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-1.0, 0.0, 2.0])), rtol=1e-6)
    second, first = [80, 30, 120, 70], [-20, 80, 60, 100]  # the first reaches out of the image and stays so
    np.testing.assert_allclose(found.boxes_xyxy, [first, second, second], atol=1e-4)
    np.testing.assert_allclose(
        found.edge_std, [[20, 5, 20, 0], [10, 10, 10, 10], [10, 10, 10, 10]], atol=1e-4
    )
    assert (found.size, found.category_ids, found.source) == ((100, 200), (17, 18), "a.jpg")
    assert not found.calibrated


@pytest.mark.parametrize(("index", "width", "height"), [(0, 640, 480), (1, 1333, 800)])
def test_matches_the_reference(shared: Path, index: int, width: int, height: int) -> None:
    golden = np.load(shared / "golden/n/eval.npz")
    found = decoded(golden["pred_logits"][index], golden["pred_boxes"][index], (height, width))
    np.testing.assert_array_equal(found.labels, golden["post.labels"][index])
    np.testing.assert_array_equal(found.boxes_xyxy, golden["post.boxes"][index])
    np.testing.assert_allclose(found.scores, golden["post.scores"][index], atol=1e-7)


def test_threshold_keeps_what_reaches_it() -> None:
    logits = np.array([[0.0, -1.0, 1.0]], np.float32)
    found = decoded(logits, np.full((1, 4), 0.5, np.float32), threshold=0.5)
    assert found.labels.tolist() == [2, 0]
    nothing = decoded(logits, np.full((1, 4), 0.5, np.float32), threshold=0.9)
    assert len(nothing) == 0
    assert nothing.edge_std.shape == nothing.boxes_xyxy.shape == (0, 4)


def test_threshold_by_class() -> None:
    logits = np.array([[0.0, -1.0, 1.0]], np.float32)  # scores 0.5, 0.27, 0.73
    boxes = np.full((1, 4), 0.5, np.float32)
    assert decoded(logits, boxes, threshold=np.array([0.6, 0.2, 0.7])).labels.tolist() == [2, 1]


def test_equal_scores_keep_their_order() -> None:
    logits = np.zeros((6, 4), np.float32)
    logits[2, 1] = 1
    found = decoded(logits, np.full((6, 4), 0.5, np.float32), max_detections=5)
    assert found.labels.tolist() == [1, 0, 1, 2, 3]


def test_top_k_is_a_stable_sort(generator: torch.Generator) -> None:
    values = torch.randint(0, 20, (500,), generator=generator).numpy().astype(np.float32)
    expected = np.argsort(-values, kind="stable")
    for k in (1, 7, 499, 500, 900):
        np.testing.assert_array_equal(top_k(values, k), expected[:k])


def test_extreme_logits_do_not_overflow() -> None:
    x = np.array([-np.inf, -1e4, -90, 0, 90, 1e4, np.inf], np.float32)
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        scores = sigmoid(x)
    np.testing.assert_allclose(scores, [0, 0, 0, 0.5, 1, 1, 1], atol=1e-30)


def test_precision_is_that_of_the_model() -> None:
    for dtype in (np.float32, np.float64):
        found = decoded(np.zeros((1, 2), dtype), np.full((1, 4), 0.5, dtype))
        assert found.scores.dtype == found.boxes_xyxy.dtype == dtype


def test_distributions_are_kept_on_request(generator: torch.Generator) -> None:
    logits = torch.randn(9, 2, generator=generator).numpy()
    initial = torch.rand(9, 4, generator=generator)
    edge_logits = torch.randn(9, 4, 33, generator=generator)
    offsets = distributions.expected_offset(edge_logits, distributions.bin_values(32))
    boxes = distributions.refined_boxes(initial, offsets)
    arguments = (logits, boxes.numpy(), edge_logits.numpy(), initial.numpy(), Geometry((100, 200), (64, 64)))
    found = decode(*arguments, values=VALUES, class_names=("a", "b"), max_detections=7, edges=True)
    assert found.edges is not None
    np.testing.assert_allclose(found.edges.mean, found.boxes_xyxy, atol=1e-3)
    np.testing.assert_array_equal(found.edges.std, found.edge_std)
    without = decode(*arguments, values=VALUES, class_names=("a", "b"), max_detections=7)
    assert without.edges is None
    np.testing.assert_array_equal(without.edge_std, found.edge_std)


def calibrated(logits: np.ndarray, **kw) -> tuple[Detections, Detections]:
    """The same output as it is, and by a calibration with every number turned."""
    size = len(logits)
    rng = np.random.default_rng(0)
    initial = rng.uniform(0.2, 0.8, (size, 4)).astype(np.float32)
    edges = rng.standard_normal((size, 4, 33)).astype(np.float32)
    curve = ScoreCalibration(scores=(0, 0.5, 1), precision=(0, 0.2, 1))
    calibration = promise(
        temperature=(1.0, 2.0, 0.5, 1.0), scale=(2.0, 1.0, 1.0, 1.0), floor=(0.0, 0.0, 0.0, 0.1), score=curve
    )
    names = tuple(map(str, range(logits.shape[1])))
    raw, own = (
        decode(
            logits,
            initial,
            edges,
            initial,
            Geometry((100, 200), (64, 64)),
            values=VALUES,
            class_names=names,
            calibration=one,
            edges=True,
            **kw,
        )
        for one in (None, calibration)
    )
    return raw, own


def test_a_calibration_makes_error_bars_and_scores() -> None:
    raw, own = calibrated(np.array([[2.0, -1.0], [0.0, 1.0]], np.float32))
    assert own.calibrated
    assert not raw.calibrated
    assert own.edge_std.dtype == own.scores.dtype == np.float32
    for name in ("boxes_xyxy", "labels"):  # boxes and ranks stay
        np.testing.assert_array_equal(getattr(own, name), getattr(raw, name))
    np.testing.assert_array_equal(own.edge_probs, raw.edge_probs)
    np.testing.assert_allclose(own.edge_std[:, 0], 2 * raw.edge_std[:, 0])
    assert raw.edges is not None
    for edge, temperature in ((1, 2.0), (2, 0.5)):
        logits = np.log(raw.edges.probs) / np.float32(temperature)
        other = EdgeDistributions.of(logits, VALUES, raw.edges.origin, raw.edges.sides)
        np.testing.assert_allclose(own.edge_std[:, edge], other.std[:, edge], rtol=1e-4)
    sides = raw.boxes_xyxy[:, 2:] - raw.boxes_xyxy[:, :2]
    floor = 0.1 * np.sqrt(sides.prod(1))
    np.testing.assert_allclose(own.edge_std[:, 3], np.hypot(raw.edge_std[:, 3], floor), rtol=1e-5)
    np.testing.assert_allclose(own.scores, np.interp(raw.scores, [0, 0.5, 1], [0, 0.2, 1]), rtol=1e-6)
    outer = own.joint_interval(0.9)[1]
    reach = 1.5 * 0.9 * own.edge_std * [-1, -1, 1, 1]
    np.testing.assert_allclose(outer, own.boxes_xyxy + reach, rtol=1e-5)


def test_a_threshold_is_on_the_scores_that_come_out() -> None:
    raw, own = calibrated(np.array([[2.0, -1.0], [0.1, 1.0]], np.float32), threshold=0.5)
    assert raw.scores.min() > 0.5
    assert len(raw) == 3
    assert own.scores.min() > 0.5
    assert len(own) == 2  # 0.73 → 0.57, but 0.525 → 0.24


def test_one_box_alone_is_the_same() -> None:
    """Whatever else is kept, in whatever shape of image."""
    logits = np.random.default_rng(1).standard_normal((20, 2)).astype(np.float32)
    _, many = calibrated(logits)
    _, few = calibrated(logits, max_detections=3)
    part = many[:3]
    for a, b in zip(
        (*few.joint_interval(0.9), few.edge_interval(0.5)),
        (*part.joint_interval(0.9), part.edge_interval(0.5)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [(480, 640), (100, 1000), (777, 333), (1, 1)])
def test_error_bars_scale_with_the_image(size: tuple[int, int]) -> None:
    """The same output on images of several shapes: edges and bars in shares of the image stay."""
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0.3, 0.6, (3, 4)).astype(np.float32)
    logits, edges = rng.standard_normal((3, 2)), rng.standard_normal((3, 4, 33))
    shares = []
    for geometry in (Geometry(size, (64, 64)), Geometry((200, 100), (64, 64))):
        found = decode(
            logits,
            boxes,
            edges,
            boxes,
            geometry,
            values=VALUES,
            class_names=("a", "b"),
            calibration=promise(),
            edges=True,
        )
        scale = geometry.scale.astype(np.float64)
        assert found.edges is not None
        inner, outer = found.joint_interval(0.9)
        interval = found.edge_interval(0.9) / scale[:, None]
        shares.append(
            (found.edge_std / scale, inner / scale, outer / scale, interval, found.edges.mean / scale)
        )
    for one, other in zip(*shares, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_side_below_zero_counts_as_none() -> None:
    found = decoded(np.zeros((1, 1), np.float32), np.array([[0.5, 0.5, -0.1, 0.2]], np.float32))
    np.testing.assert_allclose(found.boxes_xyxy, [[100, 40, 100, 60]], rtol=1e-6)
    assert found.edge_std[0, [0, 2]].tolist() == [0, 0]


def test_bad_output_is_named() -> None:
    boxes = np.full((2, 4), 0.5, np.float32)
    logits = np.array([[0, np.nan], [0, 0]], np.float32)
    with pytest.raises(ValueError, match=r"class logits of 1 of 2 queries are not numbers.*try float32"):
        decoded(logits, boxes)
    with pytest.raises(ValueError, match="logits of 2 classes but 1 class_names"):
        decode(
            np.zeros((2, 2), np.float32),
            boxes,
            np.zeros((2, 4, 33), np.float32),
            boxes,
            Geometry((10, 10), (64, 64)),
            values=VALUES,
            class_names=("cat",),
        )
