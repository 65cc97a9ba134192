"""The whole criterion against the recorded one, and what must hold for any batch."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from edgewise.config import LossConfig, MatchingConfig
from edgewise.distributions import bin_values
from edgewise.losses import Normalizers, detection_losses, match
from edgewise.structures import DenoisingQueries, LayerOutput, Matches, ModelOutput, Targets
from edgewise.train.denoising import denoising_matches
from tests.losses.golden import load_case, recorded_matches, recorded_name
from tests.losses.random import (
    BINS,
    LAYERS,
    QUERIES,
    image,
    leaves,
    mapped,
    random_decoder_output,
    random_output,
    random_targets,
)

CASES = ("plain", "dn", "dn_scale8", "empty", "crowd", "degenerate")
NAMES = {
    *(
        f"{loss}/{output}"
        for loss in ("vfl", "l1", "giou")
        for output in ("initial", "encoder", "dn/initial")
    ),
    *(f"{loss}/{i}" for loss in ("vfl", "l1", "giou", "fgl") for i in range(LAYERS)),
    *(f"{loss}/dn/{i}" for loss in ("vfl", "l1", "giou", "fgl", "ddf") for i in range(LAYERS)),
    *(f"ddf/{i}" for i in range(LAYERS - 1)),
}


def losses_of(
    output: ModelOutput,
    targets: Targets,
    positives: Matches | None = None,
    config: LossConfig | None = None,
    normalizers: Normalizers | None = None,
) -> dict[str, Tensor]:
    config = config or LossConfig()
    matching, values = match(output, targets, config.matching), bin_values(BINS, dtype=torch.float64)
    return detection_losses(output, targets, matching, values, config, positives, normalizers)


def random_step(*counts: int, generator: Generator) -> tuple[ModelOutput, Targets, Matches]:
    """Output, targets and positives with two denoising groups."""
    targets, most = random_targets(*counts, generator=generator), max(counts)
    size = (len(counts), 4 * most)
    queries = DenoisingQueries(
        torch.zeros(size, dtype=torch.int64), torch.zeros(*size, 4), groups=2, group_size=2 * most
    )
    denoising = random_decoder_output(*size, generator)
    output = replace(random_output(len(counts), generator), denoising=denoising)
    return output, targets, denoising_matches(targets, queries)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], msg=name)


def pairs(matches: Matches) -> list[tuple[int, int, int]]:
    return list(zip(matches.image.tolist(), matches.query.tolist(), matches.target.tolist(), strict=True))


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


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
    # Two boxes without area have no IoU in the recording: it shows 0 for losses that are not a number.
    undefined = {"vfl/1", "giou/1", "fgl/1"} if name == "degenerate" else set()
    defined = {key: value for key, value in losses.items() if key not in undefined}
    leaves = [case.inputs[key] for key in case.gradients]
    gradients = torch.autograd.grad(total(defined), leaves, retain_graph=True)

    assert len(losses) == 28
    for key, value in defined.items():
        expected = case.losses.get(recorded_name(key, 2), 0.0)
        assert value.item() == pytest.approx(expected, rel=2e-6, abs=1e-7), key
    for (key, expected), found in zip(case.gradients.items(), gradients, strict=True):
        known = np.isfinite(expected)
        np.testing.assert_allclose(found.numpy()[known], expected[known], rtol=2e-5, atol=1e-7, err_msg=key)
    assert all(found.isfinite().all() for found in torch.autograd.grad(total(losses), leaves))
    assert total(losses).isfinite()


@pytest.mark.parametrize("counts", [(3, 2), (1, 0), (QUERIES + 2, 1)], ids=["some", "one", "many"])
def test_names_are_those_of_the_docstring(counts: tuple[int, int], generator: Generator) -> None:
    output, targets, positives = random_step(*counts, generator=generator)
    losses = losses_of(output, targets, positives)
    assert losses.keys() == NAMES
    assert len(NAMES) == 10 * LAYERS + 8
    assert all(loss.isfinite() and loss.shape == () for loss in losses.values())
    assert {name for name, loss in losses.items() if name.startswith("ddf") and loss == 0} == {
        f"ddf/dn/{LAYERS - 1}"  # the teacher itself
    }


def test_without_boxes_every_term_is_there_and_in_the_graph(generator: Generator) -> None:
    output, targets = random_output(2, generator), random_targets(0, 0, generator=generator)
    losses = losses_of(output, targets)
    assert losses.keys() == NAMES
    for name, loss in losses.items():
        assert loss.requires_grad
        assert (loss > 0) == (name.startswith(("vfl", "ddf")) and "dn" not in name), name
    total(losses).backward()
    for leaf in leaves(output):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_gradients_reach_what_they_should(generator: Generator) -> None:
    output, targets, positives = random_step(2, 1, generator=generator)
    losses = losses_of(output, targets, positives)
    last = output.layers[-1]
    inputs = [last.logits, last.boxes, last.edge_logits, output.layers[0].edge_logits, output.initial.boxes]

    def reached(prefix: str) -> list[bool]:
        chosen = {name: loss for name, loss in losses.items() if name.startswith(prefix) and "dn" not in name}
        grads = torch.autograd.grad(total(chosen), inputs, retain_graph=True, allow_unused=True)
        return [grad is not None and bool(grad.any()) for grad in grads]

    assert reached("vfl") == [True, False, False, False, False]
    assert reached("l1") == reached("giou") == [False, True, False, False, True]
    assert reached("fgl") == [False, False, True, True, False]
    assert reached("ddf") == [False, False, False, True, False]  # the teacher and the weights learn nothing


def test_the_other_classification_loss_changes_no_other_term(generator: Generator) -> None:
    output, targets, positives = random_step(3, 2, generator=generator)
    plain = losses_of(output, targets, positives)
    chosen = losses_of(output, targets, positives, LossConfig(classification="mal"))
    again = losses_of(output, targets, positives, LossConfig(classification="mal", mal_gamma=1.0))
    assert plain.keys() == chosen.keys()
    for name in plain:
        alike = plain[name] == chosen[name], chosen[name] == again[name]
        assert alike == ((False, False) if name.startswith("vfl") else (True, True)), name


def test_order_of_queries_does_not_matter(generator: Generator) -> None:
    output, targets, positives = random_step(3, 2, generator=generator)
    order = torch.randperm(QUERIES, generator=generator)
    normal = mapped(replace(output, denoising=None), lambda x: x[:, order])
    shuffled = replace(normal, denoising=output.denoising)
    same(losses_of(shuffled, targets, positives), losses_of(output, targets, positives))


def test_order_of_images_does_not_matter(generator: Generator) -> None:
    output, targets = random_output(2, generator), random_targets(3, 2, generator=generator)
    swapped = Targets(targets.labels.roll(2), targets.boxes.roll(2, 0), (2, 3))
    same(losses_of(mapped(output, lambda x: x.flip(0)), swapped), losses_of(output, targets))


def test_losses_of_parts_add_up_to_that_of_the_whole(generator: Generator) -> None:
    """So processes or passes that share the counts of a step add up to one pass over all of its images."""
    output, targets, positives = random_step(3, 0, 2, generator=generator)
    together = losses_of(output, targets, positives)
    parts = [part(output, targets, positives, i) for i in range(3)]
    counts = [Normalizers.of(*one[:2], match(*one[:2], MatchingConfig()), one[2]) for one in parts]
    assert sum(counts[1:], counts[0]) == Normalizers.of(
        output, targets, match(output, targets, MatchingConfig()), positives
    )
    assert counts[0].noised_pairs == 2 * counts[0].boxes == 6
    alone = [losses_of(*one, normalizers=sum(counts[1:], counts[0])) for one in parts]
    for name, loss in together.items():
        torch.testing.assert_close(loss, torch.stack([one[name] for one in alone]).sum(), msg=name)


def part(
    output: ModelOutput, targets: Targets, positives: Matches, index: int
) -> tuple[ModelOutput, Targets, Matches]:
    """One image of a step as a step of its own."""
    alone, own = image(output, targets, index)
    mine = positives.image == index
    query, target = positives.query[mine], positives.target[mine]
    return alone, own, Matches(torch.zeros_like(query), query, target, target)


def test_normalizers_divide_all_but_the_two_means(generator: Generator) -> None:
    output, targets, positives = random_step(3, 2, generator=generator)
    own = Normalizers.of(output, targets, match(output, targets, MatchingConfig()), positives)
    losses = losses_of(output, targets, positives)
    same(losses, losses_of(output, targets, positives, normalizers=own))
    for name, loss in losses_of(output, targets, positives, normalizers=own + own).items():
        torch.testing.assert_close(loss, 0.5 * losses[name], msg=name)


def test_two_boxes_in_one_place_are_finite_and_both_matched(generator: Generator) -> None:
    output, one = random_output(1, generator), random_targets(1, generator=generator)
    twice = Targets(one.labels.repeat(2), one.boxes.repeat(2, 1), (2,))
    for found in match(output, twice, MatchingConfig()).outputs:
        assert sorted(found.target.tolist()) == [0, 1]
        assert len(set(found.query.tolist())) == 2
    assert total(losses_of(output, twice)).isfinite()


def test_a_perfect_output_costs_nothing_but_its_scores(generator: Generator) -> None:
    """Every query lies on its target with its own distribution's best guess; only uncertainty is left."""
    output, targets = random_output(1, generator), random_targets(QUERIES, generator=generator)
    sure = torch.zeros(1, QUERIES, 4, BINS + 1, dtype=torch.float64)
    sure[..., BINS // 2] = 50.0  # W(N/2) = 0: stay where the initial box is
    logits = torch.full((1, QUERIES, 4), -50.0, dtype=torch.float64)
    logits[0, torch.arange(QUERIES), targets.labels] = 50.0
    boxes = targets.boxes[None]
    layers = tuple(LayerOutput(logits, boxes, sure) for _ in range(LAYERS))
    perfect = ModelOutput(
        layers,
        replace(output.initial, logits=logits, boxes=boxes),
        replace(output.encoder, logits=logits, boxes=boxes),
    )
    assert total(losses_of(perfect, targets)).item() == pytest.approx(0, abs=1e-9)


def test_half_precision_and_autocast_are_computed_in_float32(generator: Generator) -> None:
    output, targets = (
        random_output(2, generator, dtype=torch.float32),
        random_targets(3, 2, generator=generator),
    )
    half = mapped(output, lambda x: x.bfloat16() if x.is_floating_point() else x)
    wide = mapped(half, lambda x: x.float() if x.is_floating_point() else x)
    expected = losses_of(wide, targets)
    assert {loss.dtype for loss in expected.values()} == {torch.float32}
    same(losses_of(half, targets), expected)
    with torch.autocast("cpu", torch.bfloat16):
        same(losses_of(wide, targets), expected)


@pytest.mark.parametrize("loss", ["vfl", "l1", "giou", "fgl", "ddf"])
def test_weights_scale_their_loss(loss: str, generator: Generator) -> None:
    output, targets, positives = random_step(2, 1, generator=generator)
    config = LossConfig()
    plain = losses_of(output, targets, positives)
    doubled = config.updated({loss: 2 * getattr(config, loss)})
    for name, value in losses_of(output, targets, positives, doubled).items():
        torch.testing.assert_close(value, plain[name] * (2 if name.startswith(loss) else 1), msg=name)


@pytest.mark.parametrize(
    ("setting", "value", "loss"), [("alpha", 0.5, "vfl"), ("gamma", 1.5, "vfl"), ("temperature", 2.0, "ddf")]
)
def test_every_other_setting_counts(setting: str, value: float, loss: str, generator: Generator) -> None:
    output, targets, positives = random_step(2, 1, generator=generator)
    plain = losses_of(output, targets, positives)
    changed = losses_of(output, targets, positives, LossConfig().updated({setting: value}))
    for name, term in changed.items():
        zero = name == f"ddf/dn/{LAYERS - 1}"
        assert torch.allclose(term, plain[name]) == (not name.startswith(loss) or zero), name


def test_denoising_outputs_need_their_positives(generator: Generator) -> None:
    output, targets, positives = random_step(1, generator=generator)
    with pytest.raises(ValueError, match="has denoising queries but positives are missing"):
        losses_of(output, targets)
    with pytest.raises(ValueError, match="has no denoising queries but positives are given"):
        losses_of(replace(output, denoising=None), targets, positives)


def test_an_output_that_is_not_finite_gives_losses_that_are_not(generator: Generator) -> None:
    """The matching of broken outputs must not fail first, with a message about costs."""
    output, targets = random_output(1, generator), random_targets(2, generator=generator)
    with torch.no_grad():
        output.layers[1].logits[:] = math.nan
    assert losses_of(output, targets)["vfl/1"].isnan()
