"""The values that flow: checked when made, moved whole."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from edgewise.sample import Sample
from edgewise.structures import (
    Batch,
    DecoderOutput,
    DenoisingQueries,
    InitialOutput,
    LayerOutput,
    Matches,
    Targets,
)

IMAGE = np.zeros((40, 60, 3), np.uint8)


def sample(*boxes: tuple[float, float, float, float], labels: int | None = None) -> Sample:
    count = len(boxes) if labels is None else labels
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(IMAGE, rows, np.zeros(count, np.int64), image_id=7, path="train/000042.jpg")


def test_a_sample_knows_its_size() -> None:
    assert sample((0, 0, 5, 5), (3, 4, 3, 4)).size == (40, 60)
    assert len(sample().boxes_xyxy) == 0


@pytest.mark.parametrize(
    ("box", "shown"),
    [
        ((5, 0, 3, 2), "[5.0, 0.0, 3.0, 2.0]"),
        ((0, 5, 3, 2), "[0.0, 5.0, 3.0, 2.0]"),
        ((0, 0, np.nan, 2), "[0.0, 0.0, nan, 2.0]"),
        ((0, 0, np.inf, 2), "[0.0, 0.0, inf, 2.0]"),
    ],
)
def test_a_bad_box_is_named_with_its_file(box: tuple[float, float, float, float], shown: str) -> None:
    with pytest.raises(ValueError) as caught:
        sample((0, 0, 1, 1), box)
    assert str(caught.value) == (f"train/000042.jpg: box 1 is {shown}; expected finite x1 <= x2 and y1 <= y2")


def test_as_many_labels_as_boxes(unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"^train/000042.jpg: 1 boxes but 2 labels$"):
        sample((0, 0, 1, 1), labels=2)
    with pytest.raises(ValueError, match=r"^sample: 0 boxes but 1 labels$"):
        Sample(IMAGE, np.zeros((0, 4), np.float32), np.zeros(1, np.int64))


def targets() -> Targets:
    """Two boxes, none, one."""
    return Targets(torch.tensor([4, 5, 6]), torch.rand(3, 4), (2, 0, 1))


def test_targets_know_where_each_image_begins() -> None:
    one = targets()
    assert one.image.tolist() == [0, 0, 2]
    assert one.offsets == (0, 2, 2)


def test_targets_of_single_images() -> None:
    labels = [torch.tensor([4, 5]), torch.zeros(0, dtype=torch.int64), torch.tensor([6])]
    boxes = [torch.rand(len(one), 4) for one in labels]
    one = Targets.of(labels, boxes)
    assert one.counts == (2, 0, 1)
    assert one.labels.tolist() == [4, 5, 6]
    assert torch.equal(one.boxes, torch.cat(boxes))


def test_targets_without_any_box() -> None:
    one = Targets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), (0, 0))
    assert one.image.tolist() == []
    assert one.offsets == (0, 0)


def test_targets_whose_counts_do_not_add_up() -> None:
    with pytest.raises(ValueError, match=r"^counts \(2,\) are not of 3 labels and 3 boxes$"):
        Targets(torch.tensor([4, 5, 6]), torch.rand(3, 4), (2,))


def test_a_batch_moves_as_a_whole() -> None:
    moved = Batch(torch.rand(3, 3, 4, 4), targets(), (1, 2, 3)).to("meta")
    assert {one.device.type for one in (moved.images, moved.targets.labels, moved.targets.boxes)} == {"meta"}
    assert moved.targets.counts == (2, 0, 1)
    assert moved.image_ids == (1, 2, 3)


def test_denoising_queries_are_whole_groups() -> None:
    labels, references = torch.zeros(2, 12, dtype=torch.int64), torch.zeros(2, 12, 4)
    queries = DenoisingQueries(labels, references, groups=3, group_size=4)
    moved = queries.to("meta")
    assert {moved.labels.device.type, moved.references.device.type} == {"meta"}
    assert (moved.groups, moved.group_size) == (3, 4)
    with pytest.raises(ValueError, match=r"^3 groups of 6 are not 12 queries$"):
        DenoisingQueries(labels, references, groups=3, group_size=6)


def test_matches_move_and_count() -> None:
    matches = Matches(*torch.arange(12).view(4, 3))
    assert len(matches) == 3
    moved = matches.to("meta")
    parts = (moved.image, moved.query, moved.target, moved.row)
    assert {part.device.type for part in parts} == {"meta"}


def test_an_output_is_its_last_layer() -> None:
    def layer(fill: float) -> LayerOutput:
        return LayerOutput(
            torch.full((1, 2, 3), fill), torch.full((1, 2, 4), fill), torch.full((1, 2, 4, 5), fill)
        )

    output = DecoderOutput((layer(1.0), layer(2.0)), InitialOutput(None, torch.zeros(1, 2, 4)))
    assert output.logits is output.layers[1].logits
    assert output.boxes is output.layers[1].boxes


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        sample().path = "other.jpg"  # type: ignore[misc]
