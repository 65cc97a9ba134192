import math

import pytest
import torch
from torch import Tensor

from edgewise.losses.distillation import decoupled_distillation, divergence, matched_emphasis


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_emphasis_by_hand() -> None:
    assert matched_emphasis(9, 16) == pytest.approx(3 / 7)
    assert matched_emphasis(0, 16) == 0
    assert matched_emphasis(16, 0) == 1


def test_divergence_by_hand() -> None:
    student, teacher = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.75, 0.25]).log()
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert divergence(student, teacher, temperature=1.0).item() == pytest.approx(expected)
    softer = divergence(2 * student, 2 * teacher, temperature=2.0).item()
    assert softer == pytest.approx(4 * expected)


def test_divergence_from_an_equal_teacher_is_exactly_zero(generator: torch.Generator) -> None:
    logits = torch.randn(100, 33, generator=generator, requires_grad=True)
    loss = divergence(logits, logits.detach())
    assert (loss == 0).all()
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_divergence_teaches_only_the_student(generator: torch.Generator) -> None:
    student, teacher = normal(3, 5, generator=generator), normal(3, 5, generator=generator)
    assert torch.autograd.gradcheck(lambda x: divergence(x, teacher), student.requires_grad_())
    assert not divergence(student.detach(), teacher.requires_grad_()).requires_grad


def test_blends_two_means(generator: torch.Generator) -> None:
    students, teacher = normal(2, 1, 3, 4, 5, generator=generator), normal(1, 3, 4, 5, generator=generator)
    quality = torch.rand(2, 1, 3, generator=generator, dtype=torch.float64)
    matched = torch.tensor([[True, False, False]])
    loss = decoupled_distillation(students, teacher, quality, matched, 0.3, 1, 2, temperature=2.0)
    for layer in range(2):
        weighted = quality[layer, 0, :, None] * divergence(students[layer, 0], teacher[0], 2.0)  # [Q, 4]
        expected = 0.3 * weighted[:1].mean() + 0.7 * weighted[1:].mean()
        torch.testing.assert_close(loss[layer], expected)


@pytest.mark.parametrize("matched", [True, False])
def test_a_mean_over_none_is_zero(matched: bool, generator: torch.Generator) -> None:
    students, teacher = normal(1, 2, 3, 4, 5, generator=generator), normal(2, 3, 4, 5, generator=generator)
    quality, mask = torch.ones(1, 2, 3, dtype=torch.float64), torch.full((2, 3), matched)
    counts = (6, 0) if matched else (0, 6)
    loss = decoupled_distillation(students, teacher, quality, mask, 0.25, *counts)
    expected = (0.25 if matched else 0.75) * divergence(students[0], teacher).mean()
    torch.testing.assert_close(loss[0], expected)


def test_gradient(generator: torch.Generator) -> None:
    students, teacher = normal(2, 1, 3, 4, 5, generator=generator), normal(1, 3, 4, 5, generator=generator)
    quality = torch.rand(2, 1, 3, generator=generator, dtype=torch.float64)
    matched = torch.tensor([[True, False, False]])
    assert torch.autograd.gradcheck(
        lambda x: decoupled_distillation(x, teacher, quality, matched, 0.3, 1, 2), students.requires_grad_()
    )
