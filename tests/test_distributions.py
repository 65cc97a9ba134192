from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgewise.boxes import cxcywh_to_xyxy
from edgewise.distributions import (
    bin_values,
    expected_offset,
    nearest_bins,
    refined_boxes,
    target_offsets,
)

SCALES = [4, 8]  # the authors' `reg_scale`, 1 / c
VALUES = bin_values(32, 0.5, 0.25, torch.float64)


@pytest.fixture(scope="module")
def functions(shared: Path) -> dict[str, Tensor]:
    with np.load(shared / "golden/ops/functions.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


@pytest.mark.parametrize(("key", "num_bins", "scale"), [("4", 32, 4), ("8", 32, 8), ("16_2", 16, 2)])
def test_bin_values_equal_the_recording(
    functions: dict[str, Tensor], key: str, num_bins: int, scale: int
) -> None:
    values = scale * bin_values(num_bins, 0.5, 1 / scale)
    torch.testing.assert_close(values, functions[f"weighting/{key}"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_offsets_and_boxes_equal_the_recording(functions: dict[str, Tensor], scale: int) -> None:
    logits = functions["integral/corners"].unflatten(2, (4, 33))
    offsets = expected_offset(logits, bin_values(32, 0.5, 1 / scale))
    torch.testing.assert_close(scale * offsets, functions[f"integral/{scale}/distance"], rtol=1e-5, atol=2e-6)
    boxes = refined_boxes(functions["integral/points"], offsets)
    torch.testing.assert_close(boxes, functions[f"integral/{scale}/boxes"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_targets_equal_the_recording(functions: dict[str, Tensor], scale: int) -> None:
    """The place between the bins is compared: exactly on a bin, both neighbours are right."""
    offsets = target_offsets(functions["bbox2distance/ref"], functions["bbox2distance/box_xyxy"])
    bins, share = nearest_bins(offsets.flatten(), bin_values(32, 0.5, 1 / scale))
    recorded = functions[f"bbox2distance/{scale}/target"].trunc() + functions[f"bbox2distance/{scale}/right"]
    torch.testing.assert_close(bins + share, recorded, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
def test_interpolation_equals_the_recording(functions: dict[str, Tensor], scale: int) -> None:
    bins, share = nearest_bins(functions["translate/value"] / scale, bin_values(32, 0.5, 1 / scale))
    index = functions[f"translate/{scale}/index"].clamp(0, 31).trunc()
    recorded = index + functions[f"translate/{scale}/right"]
    torch.testing.assert_close(bins + share, recorded, rtol=0, atol=1e-5)


@given(st.floats(-3, 3))
def test_two_bins_give_the_offset_back(offset: float) -> None:
    bins, share = nearest_bins(torch.tensor([offset], dtype=torch.float64), VALUES)
    assert 0 <= bins.item() <= 31
    assert 0 <= share.item() <= 1
    back = (1 - share) * VALUES[bins] + share * VALUES[bins + 1]
    assert back.item() == pytest.approx(np.clip(offset, -1, 1), abs=1e-12)


@given(st.lists(st.floats(0.05, 0.95), min_size=8, max_size=8))
def test_targets_are_what_refining_undoes(numbers: list[float]) -> None:
    initial = torch.tensor(numbers[:4], dtype=torch.float64)
    boxes = cxcywh_to_xyxy(torch.tensor(numbers[4:], dtype=torch.float64))
    refined = refined_boxes(initial, target_offsets(initial, boxes))
    torch.testing.assert_close(cxcywh_to_xyxy(refined), boxes)


def test_refined_boxes_by_hand() -> None:
    """Left edge out by a quarter of the width, bottom in by half the height."""
    box = refined_boxes(torch.tensor([0.5, 0.5, 0.4, 0.2]), torch.tensor([0.25, 0, 0, -0.5]))
    torch.testing.assert_close(box, torch.tensor([0.45, 0.45, 0.5, 0.1]))


def test_a_target_without_area_is_finite() -> None:
    offsets = target_offsets(torch.zeros(1, 4), torch.tensor([[0.0, 0, 1, 1]]))
    assert offsets.isfinite().all()


def test_certain_edges_lie_at_their_bin(generator: torch.Generator) -> None:
    bins = torch.randint(0, 33, (5, 4), generator=generator)
    logits = 1e4 * torch.nn.functional.one_hot(bins, 33).double()
    torch.testing.assert_close(expected_offset(logits, VALUES), VALUES[bins])


def test_uniform_edges_stay() -> None:
    logits = torch.zeros(1, 4, 33, dtype=torch.float64)
    torch.testing.assert_close(expected_offset(logits, VALUES), torch.zeros(1, 4, dtype=torch.float64))


def test_gradients_equal_finite_differences(generator: torch.Generator) -> None:
    logits = torch.randn(2, 4, 33, generator=generator, dtype=torch.float64, requires_grad=True)
    initial = torch.rand(2, 4, generator=generator, dtype=torch.float64) + 0.1
    assert torch.autograd.gradcheck(lambda z: refined_boxes(initial, expected_offset(z, VALUES)), (logits,))


def test_autocast_leaves_offsets_alone(generator: torch.Generator) -> None:
    logits, values = torch.randn(3, 4, 33, generator=generator), bin_values(32)
    expected = expected_offset(logits, values)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(expected_offset(logits, values), expected)


def test_bin_values_are_shared() -> None:
    assert bin_values(32) is bin_values(32)
    assert bin_values(32, dtype=torch.float64).dtype == torch.float64
