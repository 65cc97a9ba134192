from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgewise.detections import Detections
from edgewise.evaluation.errors import ImageErrors, image_errors
from edgewise.evaluation.gallery import worst_gallery, worst_images
from tests.evaluation.fakes import FakeDataset, detections

DOG, CAT = (0, 5.0, 5.0, 20.0, 20.0), (1, 40.0, 30.0, 30.0, 20.0)
DATASET = FakeDataset([[DOG, CAT], [DOG], [], [DOG, CAT]])
FOUND = [
    detections((*DOG, 0.9), (*CAT, 0.8)),  # all right
    detections((1, *DOG[1:], 0.9), (*CAT, 0.3)),  # the dog as a cat; the false cat is below the threshold
    detections((*CAT, 0.7)),  # a cat where there is none
    detections(class_names=("cat", "dog")),  # nothing found
]


def worst(
    dataset: FakeDataset, found: list[Detections], k: int = 12, threshold: float = 0.5
) -> list[ImageErrors]:
    return worst_images(image_errors(dataset, found, threshold), k)


def gallery(dataset: FakeDataset, found: list[Detections], path: Path) -> None:
    worst_gallery(dataset, image_errors(dataset, found, 0.5), path, 0.5)


def test_ranked_by_the_number_of_errors() -> None:
    ranked = worst(DATASET, FOUND)
    assert [one.index for one in ranked] == [1, 3, 2]
    assert [one.count for one in ranked] == [2, 2, 1]
    wrong_class = ranked[0]
    assert wrong_class.missed.tolist() == [True]
    assert wrong_class.false.tolist() == [True]
    assert ranked[2].found.tolist() == []
    assert [one.index for one in worst(DATASET, FOUND, k=1)] == [1]


def test_the_threshold_decides_what_counts() -> None:
    counts = {one.index: one.count for one in worst(DATASET, FOUND, threshold=0.85)}
    assert counts == {0: 1, 1: 2, 3: 2}
    counts = {one.index: one.count for one in worst(DATASET, FOUND, threshold=0.0)}
    assert counts == {1: 3, 3: 2, 2: 1}


def test_classes_go_by_name() -> None:
    swapped = detections((1, *DOG[1:], 0.9), (0, *CAT[1:], 0.8), class_names=("cat", "dog"))
    assert worst(FakeDataset([[DOG, CAT]]), [swapped]) == []


@dataclass(frozen=True)
class Crowded(FakeDataset):
    """Every box is a crowd region."""

    @property
    def annotations(self) -> dict[str, Any]:
        whole = super().annotations
        return {**whole, "annotations": [{**one, "iscrowd": 1} for one in whole["annotations"]]}


def test_crowd_regions_are_no_errors() -> None:
    dataset = Crowded([[DOG], [DOG]])
    assert worst(dataset, [detections(), detections((*DOG, 0.9), (*DOG, 0.8))]) == []


def test_one_entry_an_image_is_expected() -> None:
    with pytest.raises(ValueError, match=r"3 detections for 4 images; expected one entry an image"):
        image_errors(DATASET, FOUND[:3])


def test_gallery_shows_both_kinds_of_boxes(tmp_path: Path) -> None:
    gallery(DATASET, FOUND, tmp_path / "worst.png")
    with Image.open(tmp_path / "worst.png") as sheet:
        assert sheet.width > 3 * 480
        colours = {colour for _, colour in sheet.getcolors(1 << 20)}
    assert {(11, 11, 11), (12, 12, 12), (13, 13, 13)} <= colours  # the three images with errors
    assert (10, 10, 10) not in colours
    assert (230, 159, 0) in colours  # the false cats


def test_gallery_marks_what_was_missed(tmp_path: Path) -> None:
    paths = tmp_path / "missed.png", tmp_path / "found.png"
    for path, found in zip(
        paths, (detections((*CAT, 0.9)), detections((*CAT, 0.9), (*DOG, 0.8))), strict=True
    ):
        gallery(FakeDataset([[DOG, CAT, (0, 60, 2, 10, 10)]]), [found], path)
    missed, found = (np.asarray(Image.open(path)).astype(int) for path in paths)
    assert np.abs(missed - found).sum() > 0


def test_gallery_without_errors_says_so(tmp_path: Path) -> None:
    gallery(FakeDataset([[DOG]]), [detections((*DOG, 0.9))], tmp_path / "none.png")
    with Image.open(tmp_path / "none.png") as sheet:
        assert sheet.height < 100
        assert len(sheet.getcolors(1 << 20)) > 1  # some text
