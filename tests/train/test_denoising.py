from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from edgewise.boxes import cxcywh_to_xyxy
from edgewise.config import DenoisingConfig
from edgewise.structures import DenoisingQueries, Targets
from edgewise.train.denoising import Noise, denoising_matches, make_denoising, noised_queries, streams
from tests.losses.random import CLASSES, random_targets


def made(targets: Targets, generator: Generator, **settings: float) -> DenoisingQueries:
    """All images draw from one stream."""
    generators = [generator] * len(targets.counts)
    queries = make_denoising(targets, CLASSES, DenoisingConfig.model_validate(settings), generators)
    assert queries is not None
    return queries


@pytest.mark.parametrize("case", ["a", "b"])
def test_equals_the_recorded_queries(shared: Path, case: str) -> None:
    with np.load(shared / "golden/ops/functions.npz") as arrays:
        count = len(arrays[f"dn/{case}/counts"])
        given = [
            [torch.from_numpy(arrays[f"dn/{case}/{part}.{i}{name}"]) for i in range(count)]
            for part, name in (("target", ".labels"), ("target", ".boxes"), ("positive", ""))
        ]
        labels, references, meta = (
            torch.from_numpy(arrays[f"dn/{case}/{key}"]) for key in ("labels", "bbox_unact", "meta")
        )
        config = DenoisingConfig(queries=int(arrays[f"dn/{case}/num_denoising"]))
    targets, groups = Targets.of(given[0], given[1]), int(meta[0])
    noise = Noise.drawn(tuple(labels.shape), 5, Generator().manual_seed(0))  # one stream for the batch
    queries = noised_queries(targets, 5, config, groups, max(targets.counts), noise)
    own = make_denoising(targets, 5, config, streams(0, 0, range(count)))
    assert own is not None
    assert (own.groups, own.labels.shape[1]) == (meta[0], meta[1])
    assert (queries.groups, queries.labels.shape[1]) == (meta[0], meta[1])
    assert torch.equal(queries.labels, labels)
    torch.testing.assert_close(queries.references, references)
    matches = denoising_matches(targets, queries)
    for image, positive in enumerate(given[2]):
        assert matches.query[matches.image == image].tolist() == positive.tolist()


@pytest.mark.parametrize("counts", [(12, 1, 0), (100, 3), (150, 0), (1,)])
def test_layout(counts: tuple[int, ...], generator: Generator) -> None:
    targets = random_targets(*counts, generator=generator, dtype=torch.float32)
    queries = made(targets, generator, label_noise=0, box_noise=0)
    most = max(counts)
    assert queries.groups == max(1, 100 // most)
    assert queries.group_size == 2 * most
    labels = queries.labels.view(len(counts), -1, most)  # group and half in one
    boxes = queries.references.sigmoid().view(len(counts), -1, most, 4)
    for image, (begin, count) in enumerate(zip(targets.offsets, counts, strict=True)):
        part = slice(begin, begin + count)
        assert (labels[image, :, :count] == targets.labels[part]).all()
        assert (labels[image, :, count:] == CLASSES).all()
        torch.testing.assert_close(
            boxes[image, :, :count], targets.boxes[part].expand(len(labels[0]), -1, -1)
        )


def test_positives_stay_near_and_negatives_leave(generator: Generator) -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.1, 0.2]]).repeat(20, 1)  # far from the border: nothing is clipped
    queries = made(Targets(torch.zeros(20, dtype=torch.int64), boxes, (20,)), generator)
    corners = cxcywh_to_xyxy(queries.references.sigmoid()).view(5, 2, 20, 4)
    half = torch.tensor([0.05, 0.1, 0.05, 0.1])
    steps = (corners - cxcywh_to_xyxy(boxes)) / half
    assert steps[:, 0].abs().max() < 1
    assert -1 < steps[:, 0].min() < -0.8
    assert 0.8 < steps[:, 0].max() < 1
    # Negatives move by one to two half sides; edges that cross swap their places.
    left, right = corners[:, 1, :, 0], corners[:, 1, :, 2]
    assert ((left - 0.45).abs() / 0.05 > 0.999).logical_or((left - 0.55).abs() / 0.05 > 0.999).all()
    assert (left <= right).all()


def test_box_noise_scales_the_steps(generator: Generator) -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.1, 0.2]]).repeat(20, 1)
    queries = made(Targets(torch.zeros(20, dtype=torch.int64), boxes, (20,)), generator, box_noise=0.1)
    steps = (cxcywh_to_xyxy(queries.references.sigmoid()) - cxcywh_to_xyxy(boxes)[0]).view(5, 2, 20, 4)
    half = torch.tensor([0.05, 0.1, 0.05, 0.1])
    assert 0.08 < (steps[:, 0] / half).abs().max() < 0.1
    assert (steps[:, 1] / half).abs().min() > 0.1 - 1e-5


def test_half_of_the_label_noise_redraws_labels_and_never_padding(generator: Generator) -> None:
    targets = Targets.of(
        [torch.zeros(50, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)],
        [torch.full((50, 4), 0.5), torch.full((1, 4), 0.5)],
    )
    config = DenoisingConfig(queries=5000)
    queries = make_denoising(targets, 1000, config, [generator] * 2)
    assert queries is not None
    real = queries.labels[0]
    assert 0.24 < (real != 0).double().mean() < 0.26
    assert real.max() < 1000
    slots = queries.labels[1].view(-1, 50)
    assert (slots[:, 1:] == 1000).all()


def test_the_same_seed_gives_the_same_queries(generator: Generator) -> None:
    targets = random_targets(3, 1, generator=generator)
    first, second = (made(targets, Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.references, second.references)
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.references, made(targets, Generator().manual_seed(6)).references)


def test_boxes_at_the_border_stay_inside_the_image(generator: Generator) -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 1.0, 1.0], [0.95, 0.05, 0.1, 0.1]])
    queries = made(Targets(torch.zeros(3, dtype=torch.int64), boxes, (3,)), generator)
    assert queries.references.isfinite().all()
    corners = cxcywh_to_xyxy(queries.references.sigmoid())
    assert corners.min() > -1e-4
    assert corners.max() < 1 + 1e-4


def test_none_without_queries(generator: Generator) -> None:
    targets = random_targets(3, 1, generator=generator)
    assert make_denoising(targets, CLASSES, DenoisingConfig(queries=0), [generator] * 2) is None


def test_a_step_without_boxes_has_one_group_of_padding(generator: Generator) -> None:
    targets = random_targets(0, 0, generator=generator)
    queries = made(targets, generator)
    assert (queries.groups, queries.group_size) == (1, 2)
    assert queries.labels.tolist() == [[CLASSES, CLASSES]] * 2
    assert queries.references.isfinite().all()
    assert len(denoising_matches(targets, queries)) == 0


def test_a_part_of_a_step_has_its_part_of_the_queries(generator: Generator) -> None:
    """So a process makes what the whole batch has for its images, whatever the others hold."""
    labels, boxes = zip(*((one.labels, one.boxes) for one in parts(generator)), strict=True)
    config = DenoisingConfig(queries=12)

    def queries(begin: int, end: int, most: int | None) -> DenoisingQueries:
        given = Targets.of(labels[begin:end], boxes[begin:end])
        made = make_denoising(given, CLASSES, config, streams(0, 5, range(begin, end)), most)
        assert made is not None
        return made

    whole = queries(0, 4, None)
    assert (whole.groups, whole.group_size) == (4, 6)
    for begin, end in ((0, 1), (1, 3), (3, 4)):
        part = queries(begin, end, 3)
        assert (part.groups, part.group_size) == (4, 6)
        assert torch.equal(part.labels, whole.labels[begin:end])
        assert torch.equal(part.references, whole.references[begin:end])


def parts(generator: Generator) -> list[Targets]:
    return [random_targets(n, generator=generator, dtype=torch.float32) for n in (0, 3, 1, 2)]


def test_streams_depend_on_seed_step_and_image_alone() -> None:
    def draw(seed: int, step: int, image: int) -> list[float]:
        (generator,) = streams(seed, step, range(image, image + 1))
        return torch.rand(3, generator=generator).tolist()

    assert draw(0, 7, 1) == draw(0, 7, 1)
    assert torch.rand(3, generator=streams(0, 7, range(3))[1]).tolist() == draw(0, 7, 1)
    assert len({tuple(draw(*key)) for key in ((0, 7, 1), (0, 8, 1), (7, 0, 1), (0, 7, 2))}) == 4


def test_positives_are_matched_with_their_boxes(generator: Generator) -> None:
    targets = random_targets(2, 0, 3, generator=generator)
    queries = DenoisingQueries(torch.zeros(3, 12, dtype=torch.int64), torch.zeros(3, 12, 4), 2, 6)
    matches = denoising_matches(targets, queries)
    assert matches.image.tolist() == [0, 0, 2, 2, 2] * 2
    assert matches.query.tolist() == [0, 1, 0, 1, 2, 6, 7, 6, 7, 8]
    assert matches.target.tolist() == [0, 1, 0, 1, 2] * 2
    assert matches.row.tolist() == [0, 1, 2, 3, 4] * 2
