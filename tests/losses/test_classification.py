import math

import pytest
import torch

from edgewise.losses.classification import matchability_aware, varifocal


def test_by_hand() -> None:
    logits = torch.zeros(2, dtype=torch.float64)  # p = 0.5, and log 2 is the cross-entropy of any target
    loss = varifocal(logits, torch.tensor([0.8, 0.0]).double(), torch.tensor([True, False]))
    assert loss.tolist() == pytest.approx([0.8 * math.log(2), 0.75 * 0.25 * math.log(2)])


def test_a_positive_without_overlap_has_no_weight() -> None:
    loss = varifocal(torch.tensor([3.0, 3.0]), torch.zeros(2), torch.tensor([True, False]))
    assert loss[0] == 0
    assert loss[1] > 0


def test_settings_weight_the_negatives() -> None:
    logits, zero, no = torch.zeros(1), torch.zeros(1), torch.tensor([False])
    plain = varifocal(logits, zero, no).item()
    assert varifocal(logits, zero, no, alpha=0.25).item() == pytest.approx(plain / 3)
    assert varifocal(logits, zero, no, gamma=1.0).item() == pytest.approx(plain * 2)


def test_gradient(generator: torch.Generator) -> None:
    logits = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    positive = torch.arange(6) % 2 == 0
    quality = torch.rand(6, generator=generator, dtype=torch.float64) * positive

    # With γ = 0 the weights are constant, so finite differences apply.
    assert torch.autograd.gradcheck(lambda x: varifocal(x, quality, positive, gamma=0.0), logits)

    varifocal(logits, quality, positive).sum().backward()
    score = logits.detach().sigmoid()
    weight = torch.where(positive, quality, 0.75 * score**2)
    torch.testing.assert_close(logits.grad, weight * (score - quality))


def test_matchability_by_hand() -> None:
    """-q^γ log p - (1 - q^γ) log(1 - p) of a match, -p^γ log(1 - p) of all else."""
    p, q = 0.8, 0.25  # q^1.5 = 1/8
    logits = torch.full((2,), math.log(p / (1 - p)), dtype=torch.float64)
    loss = matchability_aware(logits, torch.tensor([q, 0.0]).double(), torch.tensor([True, False]))
    match = -math.log(p) / 8 - 7 / 8 * math.log(1 - p)
    assert loss.tolist() == pytest.approx([match, -(p**1.5) * math.log(1 - p)])


def test_a_poor_match_is_unlearned_where_varifocal_ignores_it() -> None:
    logits, poor, yes = torch.tensor([3.0]), torch.tensor([0.01]), torch.tensor([True])
    assert matchability_aware(logits, poor, yes) > 50 * varifocal(logits, poor, yes)


def test_matchability_of_a_perfect_match_is_a_plain_cross_entropy() -> None:
    logits = torch.tensor([0.0, 2.0])
    loss = matchability_aware(logits, torch.ones(2), torch.tensor([True, True]))
    torch.testing.assert_close(loss, -logits.sigmoid().log())


def test_matchability_gradient(generator: torch.Generator) -> None:
    logits = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    positive = torch.arange(6) % 2 == 0
    quality = torch.rand(6, generator=generator, dtype=torch.float64) * positive

    # Of positives the weight is constant for any γ, and with γ = 0 everywhere.
    assert torch.autograd.gradcheck(lambda x: matchability_aware(x, quality, positive)[positive], logits)
    assert torch.autograd.gradcheck(lambda x: matchability_aware(x, quality, positive, 0.0), logits)

    matchability_aware(logits, quality, positive).sum().backward()
    score = logits.detach().sigmoid()
    torch.testing.assert_close(logits.grad, torch.where(positive, score - quality**1.5, score**2.5))
