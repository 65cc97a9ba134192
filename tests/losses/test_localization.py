import math
from pathlib import Path

import numpy as np
import pytest
import torch

from edgewise.distributions import bin_values
from edgewise.losses.localization import EdgeGoals, edge_goals, fine_grained_localization, giou, l1


def test_box_losses_by_hand() -> None:
    boxes = torch.tensor([[0.3, 0.5, 0.2, 0.2]])
    target = torch.tensor([[0.4, 0.5, 0.2, 0.4]])
    # Overlap 0.1 x 0.2 of union 0.04 + 0.08 - 0.02 = 0.1 in a hull of 0.3 x 0.4.
    torch.testing.assert_close(l1(boxes, target), torch.tensor([0.3]))
    torch.testing.assert_close(giou(boxes, target), torch.tensor([1 - (0.2 - 0.02 / 0.12)]))
    torch.testing.assert_close(giou(target, target), torch.zeros(1))


def test_losses_of_boxes_without_area_are_finite() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.0, 0.2], [0.5, 0.5, 0.0, 0.0]], requires_grad=True)
    giou(boxes, boxes.detach()).sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


def test_goals_by_hand() -> None:
    values = bin_values(4, dtype=torch.float64)  # -1, -1/2, 0, 1/2, 1
    initial = torch.tensor([[0.5, 0.5, 0.2, 0.4]], dtype=torch.float64)
    # The target's left edge is 0.05 = 1/4 width further out, its top 1/10 height further in; its right is
    # 2 widths out, beyond the last bin, and its bottom stays.
    x1, y1, x2, y2 = 0.35, 0.34, 1.0, 0.7
    target = torch.tensor([[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]], dtype=torch.float64)
    goals = edge_goals(initial, target, values)
    assert goals.left[0, :3].tolist() == [2, 1, 3]
    torch.testing.assert_close(goals.share[0, :3], torch.tensor([0.5, 0.8, 1.0], dtype=torch.float64))
    reached = torch.lerp(values[goals.left], values[goals.left + 1], goals.share)
    assert reached[0].tolist() == pytest.approx([0.25, -0.1, 1.0, 0.0])


@pytest.mark.parametrize("scale", [4, 8])
def test_goals_equal_the_recorded_ones(shared: Path, scale: int) -> None:
    with np.load(shared / "golden/ops/functions.npz") as arrays:
        initial, corners = (torch.from_numpy(arrays[f"bbox2distance/{key}"]) for key in ("ref", "box_xyxy"))
        target, right, left = (
            torch.from_numpy(arrays[f"bbox2distance/{scale}/{key}"]) for key in ("target", "right", "left")
        )
    boxes = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
    goals = edge_goals(initial, boxes, bin_values(32, c=1 / scale))
    place = goals.left + goals.share  # the same offset may be (n, 1) or (n + 1, 0) by rounding
    torch.testing.assert_close(place, (target.long() + right).view(-1, 4), rtol=0, atol=1e-4)
    torch.testing.assert_close(left, 1 - right)


def test_fine_grained_localization_by_hand() -> None:
    # Uniform over 5 bins: cross-entropy log 5 on each of four edges, whatever the goals.
    goals = EdgeGoals(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0.1, 0.5, 0.9, 1.0]]))
    loss = fine_grained_localization(torch.zeros(1, 4, 5), goals, torch.tensor([0.5]))
    assert loss.item() == pytest.approx(0.5 * 4 * math.log(5))

    # Probabilities 1/2 and 1/4 at the two bins of each edge, the second with share 1/4.
    probs = torch.tensor([0.125, 0.5, 0.25, 0.0625, 0.0625]).expand(1, 4, 5)
    goals = EdgeGoals(torch.ones(1, 4, dtype=torch.int64), torch.full((1, 4), 0.25))
    loss = fine_grained_localization(probs.log(), goals, torch.ones(1))
    assert loss.item() == pytest.approx(4 * (0.75 * math.log(2) + 0.25 * math.log(4)))


def test_fine_grained_localization_is_least_at_the_goal() -> None:
    goals = EdgeGoals(torch.ones(1, 4, dtype=torch.int64), torch.full((1, 4), 0.25))
    best = torch.tensor([1e-9, 0.75, 0.25, 1e-9, 1e-9], dtype=torch.float64).log().expand(1, 4, 5)
    logits = best.clone().requires_grad_()
    share = EdgeGoals(goals.left, goals.share.double())
    fine_grained_localization(logits, share, torch.ones(1, dtype=torch.float64)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-8


def test_fine_grained_localization_of_all_layers_at_once(generator: torch.Generator) -> None:
    logits = torch.randn(3, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    left = torch.randint(4, (2, 4), generator=generator)
    goals = EdgeGoals(left, torch.rand(2, 4, generator=generator, dtype=torch.float64))
    iou = torch.rand(3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = fine_grained_localization(logits, goals, iou)
    for i in range(3):
        torch.testing.assert_close(loss[i], fine_grained_localization(logits[i], goals, iou[i]))
    assert torch.autograd.gradcheck(lambda x: fine_grained_localization(x, goals, iou.detach()), logits)
    loss.sum().backward()
    assert iou.grad is None
