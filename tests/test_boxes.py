from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgewise.boxes import (
    area,
    cxcywh_to_xyxy,
    giou,
    iou,
    pairwise_giou,
    pairwise_iou,
    xyxy_to_cxcywh,
)

coordinate = st.floats(0, 1, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> Tensor:
    """One box_xyxy in [0, 1], sides of zero among them."""
    x1, x2 = sorted((draw(coordinate), draw(coordinate)))
    y1, y2 = sorted((draw(coordinate), draw(coordinate)))
    return torch.tensor([x1, y1, x2, y2], dtype=torch.float64)


def test_iou_and_giou_equal_the_recording(shared: Path) -> None:
    with np.load(shared / "golden/ops/functions.npz") as arrays:
        a, b, expected_iou, expected_giou = (
            torch.from_numpy(arrays[f"boxes/{key}"]) for key in ("a", "b", "iou", "giou")
        )
    a, b = cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)
    torch.testing.assert_close(pairwise_iou(a, b), expected_iou)
    torch.testing.assert_close(pairwise_giou(a, b), expected_giou)


def test_by_hand() -> None:
    """Unit squares shifted by half a side: 1/2 of 3/2; one apart from the other: hull 3, union 2."""
    a = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]])
    b = torch.tensor([[0.5, 0, 1.5, 1], [2, 0, 3, 1]])
    torch.testing.assert_close(iou(a, b), torch.tensor([1 / 3, 0]))
    torch.testing.assert_close(giou(a, b), torch.tensor([1 / 3, -1 / 3]))
    assert area(a).tolist() == [1, 1]


@given(boxes())
def test_formats_there_and_back(box: Tensor) -> None:
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(box)), box)


def test_negative_sides_count_as_zero() -> None:
    box = torch.tensor([0.5, 0.5, -0.2, 0.4])
    torch.testing.assert_close(cxcywh_to_xyxy(box), torch.tensor([0.5, 0.3, 0.5, 0.7]))


def test_crossed_corners_give_negative_sides() -> None:
    box = torch.tensor([0.6, 0.3, 0.4, 0.7])
    torch.testing.assert_close(xyxy_to_cxcywh(box), torch.tensor([0.5, 0.5, -0.2, 0.4]))


@given(boxes(), boxes())
def test_ranges_and_symmetry(a: Tensor, b: Tensor) -> None:
    one, other = iou(a, b), giou(a, b)
    assert 0 <= one <= 1 + 1e-12
    assert -1 - 1e-12 <= other <= one + 1e-12
    torch.testing.assert_close(one, iou(b, a))
    torch.testing.assert_close(other, giou(b, a))


@given(boxes())
def test_a_box_and_itself(box: Tensor) -> None:
    expected = 1.0 if area(box) > 0 else 0.0
    assert iou(box, box).item() == pytest.approx(expected)
    assert giou(box, box).item() == pytest.approx(expected)


@given(boxes(), boxes())
def test_gradients_are_finite_even_without_area(a: Tensor, b: Tensor) -> None:
    for function in (iou, giou):
        moved = a.clone().requires_grad_()
        function(moved, b).backward()
        assert moved.grad.isfinite().all()


def test_gradients_equal_finite_differences(generator: torch.Generator) -> None:
    corners = torch.rand(2, 6, 2, 2, generator=generator, dtype=torch.float64).sort(2).values
    a, b = corners.flatten(2)
    for function in (iou, giou):
        assert torch.autograd.gradcheck(function, (a.clone().requires_grad_(), b))


def test_pairwise_is_pair_by_pair(generator: torch.Generator) -> None:
    corners = torch.rand(7, 2, 2, generator=generator).sort(1).values.flatten(1)
    a, b = corners[:3], corners[3:]
    for function, pairwise in ((iou, pairwise_iou), (giou, pairwise_giou)):
        table = pairwise(a, b)
        assert table.shape == (3, 4)
        for i in range(3):
            for j in range(4):
                torch.testing.assert_close(table[i, j], function(a[i], b[j]))
    assert pairwise_iou(a, torch.zeros(0, 4)).shape == (3, 0)
