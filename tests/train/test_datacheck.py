"""Data checks: what a right data set is told, and the words for each that is wrong."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch

from edgewise.data.scenes import SceneDataset
from edgewise.sample import Sample
from edgewise.structures import Targets
from edgewise.train.datacheck import (
    boxes_by_class,
    check_annotated_boxes,
    check_classes,
    check_ground_truth,
    check_targets,
)
from tests.train.tiny import Patches, tiny_config

DECODER = tiny_config().decoder.updated({"num_queries": 50})


@pytest.fixture(scope="module")
def scenes() -> SceneDataset:
    return SceneDataset(6, size=(96, 96))


@dataclass(frozen=True)
class Given:
    """A data set of these samples; `categories` are their labels' numbers in `annotations`."""

    samples: tuple[Sample, ...]
    annotated: tuple[dict[str, Any], ...]
    class_names: tuple[str, ...] = ("cat", "dog")
    category_ids: tuple[int, ...] = (3, 7)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    @property
    def image_ids(self) -> tuple[int, ...]:
        return tuple(one.image_id for one in self.samples)

    @cached_property
    def annotations(self) -> dict[str, Any]:
        return {
            "images": [
                {"id": one.image_id, "height": one.size[0], "width": one.size[1]} for one in self.samples
            ],
            "annotations": [{"id": i, "iscrowd": 0, **one} for i, one in enumerate(self.annotated, 1)],
            "categories": [
                {"id": number, "name": name}
                for number, name in zip(self.category_ids, self.class_names, strict=True)
            ],
        }


def one_image(
    boxes: list[list[float]], labels: list[int], given: list[dict[str, Any]] | None = None
) -> Given:
    """A data set of one picture of 64x64; its annotations are its boxes, unless `given`."""
    sample = Sample(
        np.zeros((64, 64, 3), np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        image_id=1,
        path="a.png",
    )
    if given is None:
        given = [
            box(x1, y1, x2 - x1, y2 - y1, (3, 7)[label])
            for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True)
        ]
    return Given((sample,), tuple(given))


def box(x: float, y: float, w: float, h: float, category: int = 3) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category, "bbox": [x, y, w, h]}


# ── classes ────────────────────────────────────────────────────────────────────────────────────────


def test_the_class_map_is_shown_with_the_boxes_of_both_splits() -> None:
    train, val = Patches(6), Patches(3)
    found = check_classes(train, val)
    counts, others = boxes_by_class(train), boxes_by_class(val)
    for label, (name, number) in enumerate(zip(train.class_names, train.category_ids, strict=True)):
        assert f"{label} {name} (id {number}): {counts[name]} + {others[name]}" in found.text
    assert sum(counts.values()) == sum(len(train[i].labels) for i in range(6))


def test_a_class_without_training_boxes_is_named() -> None:
    found = check_classes(one_image([[1, 1, 9, 9]], [1]), None)
    assert found.verdict == "warning"
    assert found.text.endswith("no training box, so never found: cat")


def test_classes_that_the_splits_number_differently_are_named() -> None:
    train = one_image([[1, 1, 9, 9], [1, 1, 9, 9]], [0, 1])
    renumbered = tuple({**one, "category_id": one["category_id"] - 3} for one in train.annotated)
    val = replace(train, category_ids=(0, 4), annotated=renumbered)
    found = check_classes(train, val)
    assert found.text.endswith("ids differ between the splits, names count: cat is 3 and 0, dog is 7 and 4")


def test_many_classes_are_shortened() -> None:
    names = tuple(f"c{i}" for i in range(20))
    many = Given((), tuple(box(0, 0, 9, 9, i) for i in range(20)), names, tuple(range(20)))
    found = check_classes(replace(many, samples=one_image([], []).samples), None)
    assert found.text.endswith("5 c5 (id 5): 1, … 14 more")


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        pytest.param(SceneDataset(0), None, "the training split has no images; expected at least one"),
        pytest.param(one_image([], []), None, "none of the 1 images of the training split has a box"),
        pytest.param(
            Patches(4),
            Patches(4, background=1),
            "none of the 4 images of the validation split has a box: AP is undefined",
        ),
    ],
)
def test_a_split_of_nothing_stops(train: Any, val: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_classes(train, val)


# ── units ──────────────────────────────────────────────────────────────────────────────────────────


def test_boxes_are_measured_at_the_training_size() -> None:
    found = check_annotated_boxes(one_image([[0, 0, 16, 32], [0, 0, 16, 32]], [0, 1]), (128, 64))
    assert found.verdict == "ok"
    assert found.text == (
        "2 in 1 image; the median is 25.0% x 50.0% of its image, a side of 32 px at 128x64 (height x width)"
    )


def test_fractions_where_pixels_are_expected_stop() -> None:
    fractions = [box(0.1, 0.2, 0.5, 0.6), box(0.4, 0.4, 0.2, 0.6)]
    with pytest.raises(
        ValueError,
        match=r"all 2 boxes end within 1 of the corner of images of 64x64 \(height x width\): fractions",
    ):
        check_annotated_boxes(one_image([], [], fractions), (64, 64))


def test_small_lost_and_whole_boxes_are_told() -> None:
    small = check_annotated_boxes(
        one_image([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 9, 0.5]], [0, 0, 0]), (64, 64)
    )
    assert small.verdict == "warning"
    assert "1 below a pixel there are not trained; that is small" in small.text
    whole = check_annotated_boxes(one_image([[0, 0, 64, 64]], [0]), (64, 64))
    assert whole.text.endswith("most boxes are the whole image")


def targets(boxes: list[list[float]]) -> Targets:
    return Targets(
        torch.zeros(len(boxes), dtype=torch.int64), torch.tensor(boxes).view(-1, 4), (0, len(boxes))
    )


def test_targets_are_fractions() -> None:
    assert check_targets(targets([[0.5, 0.5, 1, 1], [0.2, 0.2, 0.1, 0.1]])).verdict == "ok"
    assert check_targets(targets([])).text == "no box in a batch of 2 images"


@pytest.mark.parametrize(
    "wrong", [[32.0, 32.0, 10.0, 10.0], [0.1, 0.5, 0.4, 0.2], [float("nan"), 0.5, 0.1, 0.1]]
)
def test_targets_in_other_units_stop(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="1 of 2 boxes of the first batch leave their image") as error:
        check_targets(targets([[0.5, 0.5, 0.1, 0.1], wrong]))
    assert f"of image number 1, is {wrong}" in str(error.value).replace("0.1000", "0.1")


# ── ground truth ───────────────────────────────────────────────────────────────────────────────────


def test_ground_truth_as_predictions_is_perfect(scenes: SceneDataset) -> None:
    found = check_ground_truth(scenes, "validation", scenes.class_names, DECODER, (64, 64))
    boxes = len(scenes.annotations["annotations"])
    assert found.verdict == "ok"
    assert found.text == f"{boxes} boxes of 6 validation images scored as predictions: AP 1.000"


def test_classes_go_by_name(scenes: SceneDataset) -> None:
    """A model whose classes stand in another order scores the same."""
    order = scenes.class_names[::-1]
    assert check_ground_truth(scenes, "validation", order, DECODER, (64, 64)).verdict == "ok"


def test_too_few_queries_lower_the_ceiling() -> None:
    """Two of four boxes of one class are within reach: 51 of 101 recalls; the other class is whole."""
    four = [[x, 0.0, x + 9, 9.0] for x in (0.0, 10.0, 20.0, 30.0)]
    data = one_image([[40.0, 40.0, 60.0, 60.0], *four], [1, 0, 0, 0, 0])
    found = check_ground_truth(
        data, "training", ("cat", "dog"), DECODER.updated({"num_queries": 3}), (64, 64)
    )
    assert found.verdict == "warning"
    assert f"AP {(51 / 101 + 1) / 2:.3f}" in found.text
    assert "5 boxes in an image, but the model has 3 queries" in found.text
    assert "the ceiling: 2 boxes are out of reach" in found.text


def test_more_of_a_class_than_the_metric_reads_lower_the_ceiling() -> None:
    data = one_image(
        [[i % 11 * 5, i // 11 * 5, i % 11 * 5 + 4, i // 11 * 5 + 4] for i in range(110)], [0] * 110
    )
    found = check_ground_truth(
        data, "training", ("cat", "dog"), DECODER.updated({"num_queries": 300}), (64, 64)
    )
    assert f"AP {91 / 101:.3f}" in found.text  # 100 of 110: recalls up to 0.90


def test_boxes_below_a_pixel_lower_the_ceiling() -> None:
    data = one_image([[0, 0, 9, 9], [20, 20, 21, 21]], [0, 0])
    found = check_ground_truth(data, "training", ("cat", "dog"), DECODER, (32, 32))
    assert f"AP {51 / 101:.3f}" in found.text


def test_labels_off_by_one_stop(scenes: SceneDataset) -> None:
    class Shifted(SceneDataset):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            return replace(sample, labels=(sample.labels + 1) % len(self.class_names))

    shifted = Shifted(6, size=(96, 96))
    with pytest.raises(ValueError, match="scored as predictions, give AP 0") as error:
        check_ground_truth(shifted, "validation", scenes.class_names, DECODER, (64, 64))
    assert "boxes in samples and in annotations differ" in str(error.value)


def test_labels_without_a_class_stop() -> None:
    data = one_image([[0, 0, 9, 9]], [2], [box(0, 0, 9, 9)])
    with pytest.raises(
        ValueError, match=r"a\.png: labels from 2 to 2 in the training split; expected 0 to 1"
    ):
        check_ground_truth(data, "training", ("cat", "dog"), DECODER, (64, 64))


def test_boxes_in_another_place_stop() -> None:
    data = one_image([[0, 0, 9, 9]], [0], [box(0, 0, 18, 18)])
    with pytest.raises(ValueError, match=r"give AP 0\.0000 where 1\.0000 is possible: as many boxes of each"):
        check_ground_truth(data, "training", ("cat", "dog"), DECODER, (64, 64))
