import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.detections import Detections
from edgewise.evaluation.confusion import Confusion, confusion, confusion_plot, write_confusion
from edgewise.evaluation.errors import image_errors
from edgewise.evaluation.run import evaluate
from tests.evaluation.fakes import NAMES, FakeDataset, detections
from tests.evaluation.test_gallery import Crowded

DOG, CAT = (0, 5.0, 5.0, 20.0, 20.0), (1, 40.0, 30.0, 30.0, 20.0)


def counts(dataset: FakeDataset, *found: Detections, threshold: float = 0.5) -> list[list[int]]:
    errors = image_errors(dataset, found, threshold)
    matrix = confusion(errors, dataset.class_names, threshold).counts
    return matrix.tolist()  # type: ignore[no-any-return]


def test_worked_by_hand() -> None:
    dataset = FakeDataset([[DOG, CAT], [DOG], [], [CAT]])
    found = (
        detections((*DOG, 0.9), (1, *DOG[1:], 0.8), (*CAT, 0.4)),  # a second class on the dog; a faint cat
        detections((1, *DOG[1:], 0.9)),  # the dog as a cat
        detections((*CAT, 0.7)),  # a cat where there is none
        detections(),
    )
    #                                 dog cat  –
    assert counts(dataset, *found) == [
        [1, 1, 0],
        [0, 0, 2],
        [0, 2, 0],
    ]
    assert counts(dataset, *found, threshold=0.3) == [[1, 1, 0], [0, 1, 1], [0, 2, 0]]


def test_a_box_of_its_own_class_comes_before_a_better_one_of_another() -> None:
    dataset = FakeDataset([[DOG]])
    assert counts(dataset, detections((1, *DOG[1:], 0.9), (*DOG, 0.6))) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_a_confused_box_is_counted_once() -> None:
    cat = (1, *DOG[1:])
    assert counts(FakeDataset([[DOG]]), detections((*cat, 0.9), (*cat, 0.8))) == [
        [0, 1, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_crowd_regions_are_left_out() -> None:
    dataset = Crowded([[DOG], [DOG]])
    assert counts(dataset, detections(), detections((*DOG, 0.9))) == [[0] * 3] * 3


def test_classes_go_by_name() -> None:
    swapped = detections((1, *DOG[1:], 0.9), class_names=("cat", "dog"))
    assert counts(FakeDataset([[DOG]]), swapped)[0] == [1, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_rows_add_up_to_boxes_and_the_diagonal_is_the_metrics_recall(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def box() -> tuple[int, float, float, float, float]:
        x, y, w, h = rng.integers(2, 20, 4).tolist()
        return int(rng.integers(2)), x, y, w, h

    dataset = FakeDataset([[box() for _ in range(rng.integers(8))] for _ in range(5)])
    found = [
        detections(*sorted(((*box(), float(rng.random())) for _ in range(12)), key=lambda one: -one[5]))
        for _ in range(5)
    ]
    metrics = evaluate(dataset, lambda images: [found[int(one[0, 0, 0]) - 10] for one in images]).metrics
    for label, name in enumerate(NAMES):
        one = metrics.per_class[name]
        threshold = 0.4
        matrix = confusion(image_errors(dataset, found, threshold), NAMES, threshold)
        assert matrix.counts[label].sum() == one.count
        shown = sum(int((each.labels == label)[each.scores >= threshold].sum()) for each in found)
        assert matrix.counts[:, label].sum() == shown
        if one.count:
            assert matrix.counts[label, label] / one.count == pytest.approx(one.curves.recall[400])


def test_shares() -> None:
    shares = Confusion(
        ("dog", "cat", "owl"), np.array([[6, 2, 0, 2], [0, 5, 0, 5], [0] * 4, [2, 1, 0, 0]]), 0.5
    ).shares
    np.testing.assert_allclose(shares[0], [0.6, 0.2, 0, 0.2])
    assert np.isnan(shares[2]).all()  # no owls
    np.testing.assert_allclose(shares[3, :2], [2 / 8, 1 / 8])  # of 8 detected dogs and 8 detected cats
    assert np.isnan(shares[3, 2:]).all()


def test_numbers_as_csv(tmp_path: Path) -> None:
    write_confusion(Confusion(('"a", b', "cat"), np.arange(9).reshape(3, 3), 0.5), tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["annotated \\ detected", '"a", b', "cat", "background"],
            ['"a", b', "0", "1", "2"],
            ["cat", "3", "4", "5"],
            ["background", "6", "7", "8"],
        ]


@pytest.mark.parametrize("classes", [0, 1, 3, 13, 80])
def test_draws_a_picture(classes: int, tmp_path: Path) -> None:
    matrix = Confusion(
        tuple(f"a class of number {i}" for i in range(classes)), np.eye(classes + 1, dtype=np.int64) * 7, 0.5
    )
    confusion_plot(matrix, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert min(picture.size) > 400
        assert max(picture.size) < 2700
        assert np.asarray(picture.convert("L")).std() > 5
