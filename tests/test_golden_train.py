"""A whole training step, model and losses, against the recorded one in float64."""

import json
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
from edgewise.presets import preset
from edgewise.structures import DenoisingQueries, Matches, ModelOutput, Targets
from edgewise.train.denoising import denoising_matches
from tests.losses.golden import recorded_matches, recorded_name


def recorded_model(recipe: ModuleType, size: str) -> DFine:
    model = DFine(preset(size, 80))
    state = model.state_dict()
    for key, value in state.items():
        filled = recipe.fill(key, value.shape)
        if filled is not None:
            state[key] = torch.from_numpy(filled)
    model.load_state_dict(state)
    return model.double().train()


def recorded_targets(recipe: ModuleType, name: str, counts: list[int]) -> Targets:
    images = recipe.targets(name, counts, 80)
    return Targets.of(
        [torch.from_numpy(one["labels"]) for one in images],
        [torch.from_numpy(one["boxes"]).double() for one in images],
    )


def float32_anchors(
    sizes: tuple[tuple[int, int], ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    levels = []
    for level, (height, width) in enumerate(sizes):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centre = (torch.stack([x, y], -1) + 0.5) / torch.tensor([width, height])
        levels.append(torch.cat([centre, torch.ones_like(centre) * 0.05 * 2.0**level], -1).flatten(0, 1))
    boxes = torch.cat(levels)[None]
    valid = ((boxes > 0.01) & (boxes < 0.99)).all(-1, keepdim=True)
    return torch.log(boxes / (1 - boxes)).masked_fill(~valid, torch.inf).to(dtype), valid


def float32_position_code(
    size: tuple[int, int], dim: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    frequency = 1 / 10000 ** (torch.arange(dim // 4) / (dim // 4))
    places = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")  # y, x
    angles = [place.flatten()[:, None] * frequency for place in places]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)[None].to(dtype)


@pytest.fixture
def recorded_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors and position codes rounded as in the recording, where they were float32 in every step.

    Ours are float64 in a step in float64. Without this, gradients differ by up to 6e-5 of their norm.
    """
    monkeypatch.setattr("edgewise.model.decoder.anchors", float32_anchors)
    monkeypatch.setattr("edgewise.model.encoder.position_code", float32_position_code)


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


@pytest.mark.usefixtures("recorded_constants")
@pytest.mark.parametrize(
    "size", ["n", pytest.param("l", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_step_equals_the_recorded_one(shared: Path, recipe: ModuleType, size: str) -> None:
    record: dict[str, Any] = json.loads((shared / f"golden/{size}/train.json").read_text())
    expected = record["float64"]
    with np.load(shared / f"golden/{size}/train.npz") as arrays:
        labels, references = (torch.from_numpy(arrays[f"dn.{name}"]) for name in ("labels", "bbox_unact"))
        index = arrays["f64.enc_topk_index"]
        starts = {key[9:]: arrays[key] for key in arrays if key.startswith("f64.grad/")}
    groups, count = record["dn_meta"]["dn_num_group"], record["dn_meta"]["dn_num_split"][0]
    denoising = DenoisingQueries(labels.long(), references.double(), groups, count // groups)

    model = recorded_model(recipe, size)
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
    # In n, batch norms make the gradients of the layers' scales before them nearly zero, sums of large
    # numbers that cancel; where they are zero, they are noise.
    total = float(np.linalg.norm(list(expected["grad_norms"].values())))
    for key, norm in expected["grad_norms"].items():
        ours = gradients[key].norm().item()
        assert ours == pytest.approx(norm, rel=1e-6, abs=1e-8 * total), key
        assert ours == pytest.approx(norm, rel=2e-5, abs=1e-12 * total), key
    for key, start in starts.items():
        entries = gradients[key].flatten()[:64].numpy()
        atol = 1e-6 * float(gradients[key].abs().max()) + 1e-12 * total
        np.testing.assert_allclose(entries, start, rtol=0, atol=atol, err_msg=key)


def test_step_without_boxes_equals_the_recorded_one(shared: Path, recipe: ModuleType) -> None:
    record: dict[str, Any] = json.loads((shared / "golden/n/train.json").read_text())
    expected = record["no_boxes"]
    model = recorded_model(recipe, "n")
    targets = recorded_targets(recipe, record["targets"], [0, 0, 0])
    output, _, losses = step(model, recipe.images(record["input"], 3), targets, None)
    for name, loss in losses.items():
        recorded = expected["losses"][recorded_name(name, len(output.layers))]
        assert loss.item() == pytest.approx(recorded, rel=1e-3), name
    norms = [p.grad.norm().item() for p in model.parameters() if p.grad is not None]
    assert np.linalg.norm(norms) == pytest.approx(expected["grad_total_norm"], rel=1e-3)
    assert {key for key, p in model.named_parameters() if p.grad is None} == set(expected["grad_none"])
