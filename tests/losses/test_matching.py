import itertools
import math
from dataclasses import replace

import pytest
import torch

from edgewise.config import MatchingConfig
from edgewise.losses import match
from edgewise.losses.matching import focal_cost, matching_cost
from edgewise.structures import InitialOutput
from tests.losses.random import LAYERS, QUERIES, image, random_boxes, random_output, random_targets


def test_focal_cost_by_hand() -> None:
    # p = 0.8: 0.25 · 0.2² · -log 0.8 - 0.75 · 0.8² · -log 0.2
    p = 0.8
    expected = 0.25 * 0.2**2 * -math.log(p) - 0.75 * p**2 * -math.log(0.2)
    cost = focal_cost(torch.tensor([math.log(p / (1 - p))], dtype=torch.float64))
    assert cost.item() == pytest.approx(expected, abs=1e-7)


def test_cost_by_hand() -> None:
    boxes = torch.tensor([[[[0.3, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]]]])
    target = torch.tensor([[0.4, 0.5, 0.2, 0.2]])
    # Both overlap the target by half: IoU 1/3, hull 0.06, union 0.06, so GIoU 1/3; L1 0.1.
    cost = matching_cost(torch.zeros(1, 1, 2), boxes, target, MatchingConfig())
    score = focal_cost(torch.zeros(1)).item()
    expected = 2 * score + 5 * 0.1 - 2 / 3
    torch.testing.assert_close(cost, torch.full((1, 1, 2), expected))


@pytest.mark.parametrize(
    ("name", "weight"),
    [("class_cost", 3.0), ("l1_cost", 7.0), ("giou_cost", 4.0), ("alpha", 0.5), ("gamma", 1)],
)
def test_every_setting_counts(name: str, weight: float, generator: torch.Generator) -> None:
    boxes, target = random_boxes(1, 2, 3, generator=generator), random_boxes(2, generator=generator)
    logits = torch.randn(1, 2, 3, generator=generator, dtype=torch.float64)
    config = MatchingConfig()
    plain = matching_cost(logits, boxes, target, config)
    assert not torch.allclose(matching_cost(logits, boxes, target, config.updated({name: weight})), plain)


def test_cost_is_one_where_neither_box_has_an_area() -> None:
    flat, box = [0.5, 0.5, 0.0, 0.2], [0.5, 0.5, 0.1, 0.2]
    boxes = torch.tensor([[[flat, box]] * 2])
    cost = matching_cost(torch.zeros(1, 2, 2), boxes, torch.tensor([flat, box]), MatchingConfig())[0]
    assert (cost == 1).tolist() == [[True, False], [False, False]]
    assert cost.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_output_whose_cost_is_not_finite_is_named_and_still_matched(
    value: float, generator: torch.Generator
) -> None:
    output, targets = random_output(2, generator), random_targets(2, 3, generator=generator)
    assert match(output, targets, MatchingConfig()).undefined == ()
    output.layers[1].boxes.data[0, 0] = value
    output.encoder.logits.data[1, 0] = math.nan
    matching = match(output, targets, MatchingConfig())
    assert matching.undefined == ("1", "encoder")
    assert all(len(one) == 5 for one in matching.outputs)


def test_a_finite_box_whose_cost_overflows_is_named(generator: torch.Generator) -> None:
    output, targets = random_output(1, generator), random_targets(1, generator=generator)
    output.initial.boxes.data[0, 0] = 1e200  # its area is infinite
    assert match(output, targets, MatchingConfig()).undefined == ("initial",)


def test_is_the_cheapest_of_all(generator: torch.Generator) -> None:
    output, targets = random_output(2, generator, queries=4), random_targets(2, 3, generator=generator)
    config, matching = MatchingConfig(), match(output, targets, MatchingConfig())
    every = (*output.layers, output.initial, output.encoder)
    assert len(matching.outputs) == len(every) == LAYERS + 2
    for one, found in zip(every, matching.outputs, strict=True):
        assert one.logits is not None
        for index, (begin, count) in enumerate(zip(targets.offsets, targets.counts, strict=True)):
            part = slice(begin, begin + count)
            logits = one.logits[index][:, targets.labels[part]].T[None]
            boxes = one.boxes[index].expand(1, count, -1, -1)
            cost = matching_cost(logits, boxes, targets.boxes[part], config)[0]
            cheapest = min(
                sum(cost[target, query].item() for target, query in enumerate(queries))
                for queries in itertools.permutations(range(4), count)
            )
            mine = found.image == index
            paid = cost[found.target[mine], found.query[mine]].sum().item()
            assert paid == pytest.approx(cheapest)
            assert found.row[mine].tolist() == (begin + found.target[mine]).tolist()


def test_an_image_is_matched_as_if_it_were_alone(generator: torch.Generator) -> None:
    output, targets = random_output(3, generator), random_targets(3, 0, 2, generator=generator)
    together = match(output, targets, MatchingConfig())
    for index in range(3):
        alone = match(*image(output, targets, index), MatchingConfig())
        for a, b in zip((*together.outputs, together.union), (*alone.outputs, alone.union), strict=True):
            mine = a.image == index
            assert a.query[mine].tolist() == b.query.tolist()
            assert a.target[mine].tolist() == b.target.tolist()


def test_each_query_gets_a_target_if_there_are_more_boxes(generator: torch.Generator) -> None:
    output, targets = random_output(1, generator), random_targets(QUERIES + 5, generator=generator)
    for found in match(output, targets, MatchingConfig()).outputs:
        assert found.query.tolist() == list(range(QUERIES))
        assert len(set(found.target.tolist())) == QUERIES


def test_no_targets_match_nothing(generator: torch.Generator) -> None:
    matching = match(random_output(2, generator), random_targets(0, 0, generator=generator), MatchingConfig())
    assert [len(one) for one in (*matching.outputs, matching.union)] == [0] * (LAYERS + 3)


def test_outputs_of_the_inference_form_are_refused(generator: torch.Generator) -> None:
    output = random_output(1, generator)
    bare = replace(output, initial=InitialOutput(None, output.initial.boxes))
    with pytest.raises(ValueError, match=r"no initial logits.*call model\.train\(\) first"):
        match(bare, random_targets(1, generator=generator), MatchingConfig())
