"""Distributions carried from one frame to another, and what a student learns from them."""

from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from edgewise.boxes import cxcywh_to_xyxy
from edgewise.config import DistillConfig, MatchingConfig
from edgewise.distributions import bin_values, expected_offset, refined_boxes
from edgewise.losses import Normalizers, match
from edgewise.losses.teaching import (
    edge_divergence,
    lesson,
    score_divergence,
    teaching_losses,
    transported,
)
from edgewise.structures import DecoderOutput, LayerOutput, ModelOutput, Targets
from tests.losses.random import BINS, LAYERS, leaves, random_boxes, random_output, random_targets

VALUES = bin_values(BINS, dtype=torch.float64)
FINE = bin_values(32, c=0.125, dtype=torch.float64)


def mean_edges(probs: Tensor, initial: Tensor, values: Tensor) -> Tensor:
    """Where the edges are in the image on average: xyxy."""
    return cxcywh_to_xyxy(refined_boxes(initial, (probs * values).sum(-1)))


def peaked(generator: Generator, *shape: int) -> Tensor:
    """Distributions that leave the outer bins alone."""
    logits = torch.randn(*shape, 4, BINS + 1, generator=generator, dtype=torch.float64)
    logits[..., [0, -1]] = -torch.inf
    return logits.softmax(-1)


def test_by_hand() -> None:
    """A box twice as wide: half the offset. Its left edge lies a quarter of its side further out."""
    values = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    old, new = torch.tensor([0.5, 0.5, 0.2, 0.2]), torch.tensor([0.5, 0.5, 0.4, 0.2])
    probs = torch.zeros(4, 5)
    probs[:, 3] = 1  # each edge half a side further out: 0.1
    moved = transported(probs, old, new, values, values)
    # left and right: 0.3 and 0.7 are where the new box's edges are; top and bottom are as they were
    expected = torch.tensor([[0.0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]])
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)
    shifted = transported(probs, old, torch.tensor([0.45, 0.5, 0.4, 0.2]), values, values)
    # The new edges are at 0.25 and 0.65: 0.3 is 0.125 inside, 0.7 is 0.125 outside, a quarter of the way
    left, right = torch.tensor([0, 0.25, 0.75, 0, 0]), torch.tensor([0, 0, 0.75, 0.25, 0])
    torch.testing.assert_close(shifted[[0, 2]], torch.stack([left, right]), atol=1e-6, rtol=0)


def test_the_same_frame_changes_nothing(generator: Generator) -> None:
    initial = random_boxes(5, generator=generator)
    probs = torch.rand(5, 4, BINS + 1, generator=generator, dtype=torch.float64).softmax(-1)
    torch.testing.assert_close(transported(probs, initial, initial, VALUES, VALUES), probs)


@pytest.mark.parametrize("values", [VALUES, FINE], ids=["same bins", "finer bins"])
def test_the_mean_edge_stays_where_it_is(values: Tensor, generator: Generator) -> None:
    initial, probs = random_boxes(6, generator=generator), peaked(generator, 6)
    new = initial * (0.9 + 0.2 * torch.rand(6, 4, generator=generator))
    moved = transported(probs, initial, new, VALUES, values)
    torch.testing.assert_close(moved.sum(-1), torch.ones(6, 4, dtype=torch.float64))
    assert (moved >= 0).all()
    torch.testing.assert_close(mean_edges(moved, new, values), mean_edges(probs, initial, VALUES))


def test_what_lies_beyond_goes_to_the_outer_bins(generator: Generator) -> None:
    old, new = torch.tensor([[0.8, 0.8, 0.1, 0.1]]).double(), torch.tensor([[0.2, 0.2, 0.1, 0.1]]).double()
    moved = transported(peaked(generator, 1), old, new, VALUES, VALUES)
    assert moved[0, :2, 0].tolist() == pytest.approx([1, 1])  # left and top lie far inside the new box
    assert moved[0, 2:, -1].tolist() == pytest.approx([1, 1])


def test_a_box_without_area_has_a_finite_answer() -> None:
    probs, flat = torch.full((1, 4, BINS + 1), 1 / (BINS + 1)), torch.tensor([[0.5, 0.5, 0.0, 0.1]])
    values = VALUES.float()
    for old, new in ((flat, flat + 0.1), (flat + 0.1, flat)):
        assert transported(probs, old, new, values, values).sum(-1).allclose(torch.ones(1, 4))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_edge_divergence_is_least_at_the_goal(temperature: float, generator: Generator) -> None:
    goal = torch.randn(3, 9, generator=generator, dtype=torch.float64).softmax(-1)
    goal[:, 0] = 0
    goal = goal / goal.sum(-1, keepdim=True)
    at_goal = goal.log().clamp(min=-300).requires_grad_()
    loss = edge_divergence(at_goal, goal, temperature)
    torch.testing.assert_close(loss, torch.zeros(3, dtype=torch.float64))
    loss.sum().backward()
    assert at_goal.grad is not None
    assert at_goal.grad.abs().max() < 1e-12
    logits = torch.randn(3, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    assert (edge_divergence(logits, goal, temperature) > 0).all()
    assert torch.autograd.gradcheck(lambda x: edge_divergence(x, goal, temperature), logits)


def test_score_divergence(generator: Generator) -> None:
    logits = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    goal = torch.rand(6, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: score_divergence(x, goal), logits)
    torch.testing.assert_close(score_divergence(goal.logit(), goal), torch.zeros_like(goal))
    assert (score_divergence(logits, goal) > 0).all()
    ends = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(score_divergence(torch.zeros(2), ends), torch.full((2,), 2.0).log())


# ── a whole output ─────────────────────────────────────────────────────────────────────────────────


def teaching(
    student: ModelOutput, teacher: DecoderOutput, targets: Targets, config: DistillConfig | None = None
) -> dict[str, Tensor]:
    matching = match(student, targets, MatchingConfig())
    taught = lesson(teacher, targets, VALUES, MatchingConfig())
    counts = Normalizers.of(student, targets, matching)
    return teaching_losses(student, taught, matching, VALUES, config or DistillConfig(), counts)


def test_a_lesson_is_of_the_query_that_fits(generator: Generator) -> None:
    output, targets = random_output(2, generator), random_targets(2, 1, generator=generator)
    places = torch.tensor([[0, 3], [0, 5], [1, 2]])
    last = output.layers[-1]
    boxes, logits = last.boxes.detach().clone(), last.logits.detach().clone()
    for (image, query), label, goal in zip(places.tolist(), targets.labels, targets.boxes, strict=True):
        boxes[image, query], logits[image, query, label] = goal, 6.0
    better = ModelOutput(
        (*output.layers[:-1], LayerOutput(logits, boxes, last.edge_logits)), output.initial, output.encoder
    )
    taught = lesson(better, targets, VALUES, MatchingConfig())
    torch.testing.assert_close(taught.quality, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(taught.scores, logits[places[:, 0], places[:, 1]].sigmoid())
    torch.testing.assert_close(taught.initial, output.initial.boxes.detach()[places[:, 0], places[:, 1]])
    assert not taught.probs.requires_grad


@pytest.mark.parametrize("counts", [(3, 2), (1, 0), (0, 0)], ids=["some", "one", "none"])
def test_names_are_constant_and_terms_in_the_graph(counts: tuple[int, int], generator: Generator) -> None:
    student, teacher = random_output(2, generator), random_output(2, generator, queries=5)
    losses = teaching(student, teacher, random_targets(*counts, generator=generator))
    assert losses.keys() == {f"{kind}/{i}" for kind in ("kd_edges", "kd_scores") for i in range(LAYERS)}
    assert all(loss.isfinite() and loss.requires_grad for loss in losses.values())
    assert all(loss >= 0 for loss in losses.values())
    assert any(loss > 0 for loss in losses.values()) == (sum(counts) > 0)
    torch.stack(list(losses.values())).sum().backward()
    assert all(leaf.grad is None for leaf in leaves(teacher))
    assert student.layers[0].edge_logits.grad is not None
    assert student.layers[0].boxes.grad is None


def test_who_agrees_learns_nothing(generator: Generator) -> None:
    """With one query each, teacher and student speak of the same."""
    student, targets = random_output(2, generator, queries=1), random_targets(1, 1, generator=generator)
    last = student.layers[-1]
    last.boxes.detach().copy_(targets.boxes[:, None])  # so the teacher's word counts
    agreeing = replace(student, layers=(last,) * LAYERS)
    for name, loss in teaching(agreeing, student, targets).items():
        assert loss.item() == pytest.approx(0, abs=1e-12), name
    for name, loss in teaching(student, student, targets).items():
        assert (loss > 1e-6) == (not name.endswith(str(LAYERS - 1))), name


def test_settings_scale_and_soften(generator: Generator) -> None:
    student, teacher = random_output(2, generator), random_output(2, generator)
    targets = random_targets(3, 2, generator=generator)
    plain = teaching(student, teacher, targets)
    for name, loss in teaching(student, teacher, targets, DistillConfig(weight=0.5)).items():
        torch.testing.assert_close(loss, 0.5 * plain[name])
    for name, loss in teaching(student, teacher, targets, DistillConfig(temperature=1.0)).items():
        assert (loss == plain[name]) == name.startswith("kd_scores")


def test_offsets_and_probabilities_are_of_one_frame(generator: Generator) -> None:
    """`transported` and the model's own way from distributions to boxes agree."""
    initial = random_boxes(2, generator=generator)
    logits = torch.randn(2, 4, BINS + 1, generator=generator, dtype=torch.float64)
    refined = cxcywh_to_xyxy(refined_boxes(initial, expected_offset(logits, VALUES)))
    torch.testing.assert_close(mean_edges(logits.softmax(-1), initial, VALUES), refined)
