import numpy as np
import pytest
import torch
from torch import Tensor

from edgewise.config import DecoderConfig
from edgewise.model.decoder import Gate, QualityEstimator, anchors, denoising_mask

CPU = torch.device("cpu")


def state(functions: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in functions.items() if key.startswith(prefix)}


@pytest.mark.parametrize(
    ("key", "sizes"),
    [("640x640", ((80, 80), (40, 40), (20, 20))), ("320x480", ((40, 60), (20, 30), (10, 15)))],
)
def test_anchors_equal_the_recording(
    functions: dict[str, Tensor], key: str, sizes: tuple[tuple[int, int], ...]
) -> None:
    boxes, valid = anchors(sizes, torch.float32, CPU)
    bits = np.unpackbits(functions[f"anchors/{key}/valid"].numpy())[: valid.numel()]
    assert np.array_equal(valid.flatten().numpy(), bits.astype(bool))
    picked = boxes[0, functions[f"anchors/{key}/index"]]
    torch.testing.assert_close(picked, functions[f"anchors/{key}/value"], rtol=0, atol=0)


def test_anchors_of_one_cell() -> None:
    boxes, valid = anchors(((1, 1),), torch.float64, CPU)
    expected = torch.tensor([[[0.5, 0.5, 0.05, 0.05]]], dtype=torch.float64)
    torch.testing.assert_close(boxes.sigmoid(), expected)
    assert valid.all()


@pytest.mark.parametrize("case", ["a", "b"])
def test_denoising_mask_equals_the_recording(functions: dict[str, Tensor], case: str) -> None:
    groups, denoising, queries = functions[f"dn/{case}/meta"].tolist()
    mask = denoising_mask(groups, denoising // groups, queries)
    assert torch.equal(mask, functions[f"dn/{case}/attn_mask"])


def test_denoising_mask_by_hand() -> None:
    """Two groups of one, then one normal query."""
    blocked = denoising_mask(groups=2, group_size=1, num_queries=1)
    assert blocked.tolist() == [[False, True, False], [True, False, False], [True, True, False]]


def test_gate_equals_the_recording(functions: dict[str, Tensor]) -> None:
    gate = Gate(16)
    gate.load_state_dict(state(functions, "gate/state/"))
    out = gate(functions["gate/x1"], functions["gate/x2"])
    torch.testing.assert_close(out, functions["gate/out"], rtol=1e-6, atol=1e-6)


def test_quality_equals_the_recording(functions: dict[str, Tensor]) -> None:
    estimator = QualityEstimator(DecoderConfig())
    estimator.load_state_dict(state(functions, "lqe/state/"))
    quality = estimator(functions["integral/corners"].unflatten(2, (4, 33)))
    torch.testing.assert_close(functions["lqe/scores"] + quality, functions["lqe/out"], rtol=1e-6, atol=1e-6)
