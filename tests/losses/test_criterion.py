"""The whole criterion against the recorded one, and what must hold for any batch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgewise.config import LossConfig, MatchingConfig
from edgewise.distributions import bin_values
from edgewise.losses import detection_losses, match
from edgewise.structures import Matches
from edgewise.train.denoising import denoising_matches
from tests.losses.golden import load_case, recorded_matches, recorded_name

CASES = ("plain", "dn", "dn_scale8", "empty", "crowd", "degenerate")


def pairs(matches: Matches) -> list[tuple[int, int, int]]:
    return list(zip(matches.image.tolist(), matches.query.tolist(), matches.target.tolist(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_recorded_criterion(shared: Path, name: str, dtype: torch.dtype) -> None:
    case = load_case(shared / "golden", name, dtype)
    matching = match(case.output(), case.targets, MatchingConfig())
    assert [pairs(one) for one in (*matching.outputs, matching.union)] == recorded_matches(case.record)

    queries = case.denoising
    positives = None if queries is None else denoising_matches(case.targets, queries)
    given = case.targets, matching, bin_values(32, c=case.scale, dtype=dtype), LossConfig(), positives
    losses = detection_losses(case.output(), *given)
    edge = detection_losses(case.output(references=True), *given)
    losses |= {key: value for key, value in edge.items() if key.startswith("fgl/")}
    sum(losses.values(), torch.zeros(())).backward()

    assert len(losses) == 28
    ours = {recorded_name(key, 2): value.item() for key, value in losses.items()}
    expected = {key: case.losses.get(key, 0.0) for key in ours}
    undefined = {"loss_vfl", "loss_giou", "loss_fgl"} if name == "degenerate" else set()  # recorded as 0
    assert np.isfinite(list(ours.values())).all()
    for key in ours.keys() - undefined:
        assert ours[key] == pytest.approx(expected[key], rel=2e-6, abs=1e-7), key
    for key, gradient in case.gradients.items():
        found = case.inputs[key].grad
        assert found is not None
        assert found.isfinite().all()
        known = np.isfinite(gradient)
        np.testing.assert_allclose(found.numpy()[known], gradient[known], rtol=1e-5, atol=1e-7, err_msg=key)
