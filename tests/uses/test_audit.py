from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from edgewise.detections import Detections
from edgewise.uses.audit import Audit, audit
from tests.evaluation.fakes import FakeDataset
from tests.uses.cases import Row, detections

DOG = (10.0, 10.0, 30.0, 30.0)  # as annotated, (0, 10, 10, 20, 20) in x, y, width, height
CAT = (50.0, 10.0, 70.0, 30.0)
DATA = FakeDataset([[(0, 10, 10, 20, 20), (1, 50, 10, 20, 20)]])


@dataclass
class Shows:
    """A predictor with its answers by image, in order."""

    answers: list[Detections]

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self.answers[int(image[0, 0, 0]) - 10] for image in images]


def audited(*rows: Row, data: FakeDataset = DATA, calibrated: bool = False) -> Audit:
    return audit(data, Shows([detections(*rows, calibrated=calibrated)] * len(data)), 0.5)


def kinds(found: Audit) -> list[str]:
    return [one.kind for one in found.odd]


def test_the_improbable_box_comes_first_and_says_why() -> None:
    found = audited((0, 0.9, DOG), (1, 0.8, (50, 10, 62, 30)))
    first, second = found.suspects
    assert (first.image, first.box, first.label) == (0, 1, 1)
    assert first.annotated == CAT
    assert first.predicted == (50, 10, 62, 30)
    assert (first.cause, first.worst, first.marked) == ("right edge", 2, (False, False, True, False))
    assert str(first) == "right edge: drawn 8.0 px right of where it is seen (±1.0 px)"
    assert second.probability == 1
    assert found.improbable == 1
    assert found.by_chance(first.probability) == pytest.approx(2 * first.probability)
    assert str(found) == "2 of 2 boxes compared, 1 improbable; 0 class, 0 unannotated, 0 unseen, 0 double"


def test_a_move_names_its_worst_edge() -> None:
    found = audited((0, 0.9, (10, 5, 30, 24)), (1, 0.8, CAT))
    text = "moved up or down, most the bottom edge: drawn 6.0 px below where it is seen (±1.0 px)"
    assert str(found.suspects[0]) == text


def test_the_greatest_overlap_is_the_match_and_serves_once() -> None:
    near, nearer = (12.0, 10.0, 32.0, 30.0), (11.0, 10.0, 31.0, 30.0)
    found = audited((0, 0.9, near), (0, 0.3, nearer), (1, 0.8, CAT))
    dog = next(one for one in found.suspects if one.label == 0)
    assert dog.predicted == nearer
    twice = FakeDataset([[(0, 10, 10, 20, 20), (0, 11, 11, 20, 20)]])
    found = audited((0, 0.9, DOG), data=twice)
    assert [one.box for one in found.suspects] == [0]
    assert kinds(found) == ["double"]
    assert found.odd[0].box == 1


def test_a_box_moved_by_half_still_has_its_detection() -> None:
    found = audited((0, 0.9, (20, 10, 40, 30)), (1, 0.8, CAT))
    assert len(found.suspects) == 2
    assert found.suspects[0].cause == "moved sideways"
    assert audited((0, 0.9, (22, 10, 42, 30)), (1, 0.8, CAT)).odd[0].kind == "unannotated"  # too far


def test_whole_boxes_in_doubt() -> None:
    found = audited((1, 0.9, DOG), (0, 0.7, (10, 35, 30, 55)), (0, 0.4, (40, 35, 50, 55)))
    assert kinds(found) == ["class", "unannotated", "unseen"]
    wrong, extra, unseen = found.odd
    assert (wrong.box, wrong.label, wrong.other, wrong.score) == (0, 0, 1, pytest.approx(0.9))
    assert (extra.box, extra.label, extra.where) == (None, 0, (10, 35, 30, 55))
    assert (unseen.box, unseen.label, unseen.score) == (1, 1, None)


def test_a_sure_detection_of_its_class_clears_a_box() -> None:
    assert kinds(audited((0, 0.9, DOG), (1, 0.95, DOG), (1, 0.8, CAT))) == []
    doubtful = audited((1, 0.95, DOG), (1, 0.8, CAT), (0, 0.2, DOG))
    assert kinds(doubtful) == ["class"]
    assert len(doubtful.suspects) == 2  # its edges are compared all the same


def test_a_neighbours_detection_is_not_held_against_a_box() -> None:
    """A cat right beside a dog that is unsure: the sure cat is the other box's."""
    data = FakeDataset([[(0, 10, 10, 20, 20), (1, 14, 10, 20, 20)]])
    found = audited((1, 0.9, (14, 10, 34, 30)), (0, 0.2, DOG), data=data)
    assert kinds(found) == []


def test_the_kinds_are_in_order_and_the_surest_first() -> None:
    data = FakeDataset([[(0, 10, 10, 20, 20)], []])
    found = audited((0, 0.6, (40, 35, 60, 55)), (1, 0.9, DOG), data=data)
    assert [(one.kind, one.image) for one in found.odd] == [
        ("class", 0),
        ("unannotated", 1),
        ("unannotated", 0),
        ("unannotated", 1),
    ]
    assert [one.score for one in found.odd] == pytest.approx([0.9, 0.9, 0.6, 0.6])
    assert (found.boxes, found.images) == (1, 2)


def test_in_a_crowd_nothing_is_unannotated() -> None:
    annotations = DATA.annotations
    annotations["annotations"][1]["iscrowd"] = 1

    class Crowded(FakeDataset):
        annotations = property(lambda self: annotations)  # type: ignore[assignment]

        def __getitem__(self, index: int) -> "object":  # type: ignore[override]
            sample = super().__getitem__(index)
            return replace(sample, boxes_xyxy=sample.boxes_xyxy[:1], labels=sample.labels[:1])

    found = audited((0, 0.9, DOG), (1, 0.8, (52, 12, 60, 20)), data=Crowded(DATA.boxes))
    assert kinds(found) == []
    assert kinds(audited((0, 0.9, DOG), (1, 0.8, (40, 40, 60, 50)), data=Crowded(DATA.boxes))) == [
        "unannotated"
    ]


def test_weak_detections_and_empty_images() -> None:
    assert kinds(audited((0, 0.04, DOG))) == ["unseen", "unseen"]
    assert kinds(audited()) == ["unseen", "unseen"]
    nothing = audited(data=FakeDataset([[]]))
    assert nothing.suspects == nothing.odd == ()
    assert str(nothing).startswith("0 of 0 boxes compared, 0 improbable")


def test_thresholds_by_class_and_other_orders_of_class_names() -> None:
    answers = detections((1, 0.9, DOG), (0, 0.6, (40, 35, 60, 55)), class_names=("cat", "dog"))
    found = audit(DATA, Shows([answers]), np.array([0.7, 0.5]))  # cat, dog
    assert [one.box for one in found.suspects] == [0]
    assert kinds(found) == ["unseen"]
    found = audit(DATA, Shows([answers]), np.array([0.5, 0.5]))
    assert kinds(found) == ["unannotated", "unseen"]
    assert found.odd[0].label == 1  # the data set's


def test_calibration_is_used_and_said() -> None:
    raw = audited((0, 0.9, (10, 10, 31, 30)), (1, 0.8, CAT))
    fitted = audited((0, 0.9, (10, 10, 31, 30)), (1, 0.8, CAT), calibrated=True)
    assert (raw.calibrated, fitted.calibrated) == (False, True)
    assert fitted.suspects[0].tails[2] == pytest.approx(0.5)  # margins are twice the level
    assert raw.suspects[0].tails[2] != fitted.suspects[0].tails[2]


def test_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same names"):
        audit(DATA, Shows([detections(class_names=("dog", "cow"))]))
