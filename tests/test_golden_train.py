"""A whole training step, model and losses, against the recorded one in float64."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgewise.config import LossConfig, MatchingConfig
from edgewise.distributions import bin_values
from edgewise.losses import detection_losses, match
from edgewise.losses.matching import Matching
from edgewise.model import DFine
from edgewise.structures import DenoisingQueries, Matches, ModelOutput, Targets
from edgewise.train.denoising import denoising_matches
from tests.losses.golden import recorded_matches, recorded_name


def recorded_targets(recipe: ModuleType, name: str, counts: list[int]) -> Targets:
    images = recipe.targets(name, counts, 80)
    return Targets.of(
        [torch.from_numpy(one["labels"]) for one in images],
        [torch.from_numpy(one["boxes"]).double() for one in images],
    )


def step(
    model: DFine, images: np.ndarray, targets: Targets, denoising: DenoisingQueries | None
) -> tuple[ModelOutput, Matching, dict[str, Tensor]]:
    output = model(torch.from_numpy(images).double(), denoising)
    matching = match(output, targets, MatchingConfig())
    positives = None if denoising is None else denoising_matches(targets, denoising)
    values = bin_values(32, c=model.config.decoder.c, dtype=torch.float64)
    losses = detection_losses(output, targets, matching, values, LossConfig(), positives)
    torch.stack(list(losses.values())).sum().backward()
    return output, matching, losses


def recorded_order(output: ModelOutput, index: np.ndarray) -> list[dict[int, int]]:
    """Of each image, the place in the recording of each of our queries: those of one cell are the same."""
    ours = output.encoder.index.tolist()
    return [
        {i: golden.tolist().index(cell) for i, cell in enumerate(cells)}
        for cells, golden in zip(ours, index, strict=True)
    ]


def pairs(matches: Matches, order: list[dict[int, int]]) -> list[tuple[int, int, int]]:
    found = zip(matches.image.tolist(), matches.query.tolist(), matches.target.tolist(), strict=True)
    return sorted((image, order[image][query], target) for image, query, target in found)


@pytest.mark.parametrize(
    "size", ["n", pytest.param("l", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_step_equals_the_recorded_one(
    shared: Path, recipe: ModuleType, recorded_model: Callable[[str], DFine], size: str
) -> None:
    record: dict[str, Any] = json.loads((shared / f"golden/{size}/train.json").read_text())
    expected = record["float64"]
    with np.load(shared / f"golden/{size}/train.npz") as arrays:
        labels, references = (torch.from_numpy(arrays[f"dn.{name}"]) for name in ("labels", "bbox_unact"))
        index = arrays["f64.enc_topk_index"]
        starts = {key[9:]: arrays[key] for key in arrays if key.startswith("f64.grad/")}
    groups, count = record["dn_meta"]["dn_num_group"], record["dn_meta"]["dn_num_split"][0]
    denoising = DenoisingQueries(labels.long(), references.double(), groups, count // groups)

    model = recorded_model(size).double().train()
    targets = recorded_targets(recipe, record["targets"], record["counts"])
    images = recipe.images(record["input"], len(record["counts"]))
    output, matching, losses = step(model, images, targets, denoising)

    order = recorded_order(output, index)
    found = [pairs(one, order) for one in (*matching.outputs, matching.union)]
    assert found == recorded_matches(expected)
    layers = len(output.layers)
    assert len(losses) == len(expected["losses"]) == 10 * layers + 8
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected["losses"][recorded_name(name, layers)], rel=1e-6), name

    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected["grad_norms"].keys()
    # Where the true gradient is zero, before a batch norm say, what is recorded is noise.
    total = float(np.linalg.norm(list(expected["grad_norms"].values())))
    for key, norm in expected["grad_norms"].items():
        ours = gradients[key].norm().item()
        assert ours == pytest.approx(norm, rel=1e-6, abs=1e-9 * total), key
    for key, start in starts.items():
        entries = gradients[key].flatten()[:64].numpy()
        atol = 1e-6 * float(gradients[key].abs().max()) + 1e-12 * total
        np.testing.assert_allclose(entries, start, rtol=0, atol=atol, err_msg=key)


def test_step_without_boxes_equals_the_recorded_one(
    shared: Path, recipe: ModuleType, recorded_model: Callable[[str], DFine]
) -> None:
    record: dict[str, Any] = json.loads((shared / "golden/n/train.json").read_text())
    expected = record["no_boxes"]
    model = recorded_model("n").double().train()
    targets = recorded_targets(recipe, record["targets"], [0, 0, 0])
    output, _, losses = step(model, recipe.images(record["input"], 3), targets, None)
    for name, loss in losses.items():
        recorded = expected["losses"][recorded_name(name, len(output.layers))]
        assert loss.item() == pytest.approx(recorded, rel=1e-3), name
    norms = [p.grad.norm().item() for p in model.parameters() if p.grad is not None]
    assert np.linalg.norm(norms) == pytest.approx(expected["grad_total_norm"], rel=1e-3)
    assert {key for key, p in model.named_parameters() if p.grad is None} == set(expected["grad_none"])
