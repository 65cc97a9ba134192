import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from edgewise.bins import bin_values
from edgewise.decode import decode, sigmoid, top_k
from edgewise.detections import Detections, Geometry

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
