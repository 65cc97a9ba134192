import numpy as np
import torch

from edgewise import boxes
from edgewise.overlaps import area, common, iou, pairwise_iou

A = np.array([[0.0, 0, 4, 2], [10, 10, 12, 14]])
B = np.array([[2.0, 1, 6, 3], [4, 0, 8, 2], [10, 10, 12, 14]])  # a corner, a side, all of it


def test_by_hand() -> None:
    assert common(A[0], B[0]).tolist() == [2, 1, 4, 2]
    assert area(A).tolist() == [8, 8]
    assert area(common(A[:, None], B)).tolist() == [[2, 0, 0], [0, 0, 8]]
    np.testing.assert_allclose(pairwise_iou(A, B), [[2 / 14, 0, 0], [0, 0, 1]])
    assert iou(A[0], B[0]) == 2 / 14


def test_no_boxes_and_boxes_without_area() -> None:
    assert pairwise_iou(A[:0], B).shape == (0, 3)
    point = np.array([[1.0, 1, 1, 1]])
    assert pairwise_iou(point, point).tolist() == [[0]]


def test_the_same_as_in_torch() -> None:
    rng = np.random.default_rng(0)
    a, b = (np.concatenate([low, low + rng.random((9, 2))], 1) for low in rng.random((2, 9, 2)))
    theirs = boxes.pairwise_iou(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(pairwise_iou(a, b), theirs.numpy(), atol=1e-12)
