"""The same hundred photographs in eight formats: read alike, and there and back."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgewise.data.convert import convert
from edgewise.data.open import open_splits, read_splits, written_splits
from edgewise.data.records import RawSplit
from tests.data.folders import Boxes, boxes

FORMATS = {
    "coco_format_v1": "COCO",
    "coco_format_v2": "COCO",
    "pascalvoc_format": "Pascal VOC",
    "imagenet_format": "Pascal VOC",
    "yolo_format": "YOLO",
    "openimages_format": "OpenImages",
    "labelme_format": "LabelMe",
    "cvat_format": "CVAT",
}


@pytest.fixture(scope="module")
def root(shared: Path) -> Path:
    return shared / "data/multiformat/database/gts"


@pytest.fixture(scope="module")
def truth(root: Path) -> Boxes:
    return boxes(*written_splits(root / "coco_format_v2").values())


def assert_alike(splits: Mapping[str, RawSplit], truth: Boxes, pixels: float) -> None:
    found = boxes(*splits.values())
    assert set(found) == set(truth)
    for name, expected in truth.items():
        assert [label for label, _ in found[name]] == [label for label, _ in expected]
        np.testing.assert_allclose(
            np.array(sorted(corners for _, corners in found[name])),
            np.array(sorted(corners for _, corners in expected)),
            atol=pixels,
        )


@pytest.mark.parametrize("folder", FORMATS)
def test_read_alike(folder: str, root: Path, truth: Boxes) -> None:
    splits = read_splits(root / folder)
    assert {split.format for split in splits.values()} == {FORMATS[folder]}
    assert {name: len(split.images) for name, split in splits.items()} == {"train": 85, "val": 15}
    assert_alike(splits, truth, 1)
    for split in open_splits(root / folder).values():  # nothing in it is an error
        assert len(split.class_names) == 20


def test_the_same_images_are_held_out_whatever_the_format(root: Path) -> None:
    held = {frozenset(one.path.name for one in read_splits(root / name)["val"].images) for name in FORMATS}
    assert len(held) == 1


@pytest.mark.parametrize("to", ["coco", "yolo", "voc"])
@pytest.mark.parametrize("folder", FORMATS)
def test_there_and_back(folder: str, to: str, root: Path, truth: Boxes, tmp_path: Path) -> None:
    convert(root / folder, to, tmp_path / "there", link=True)
    assert_alike(written_splits(tmp_path / "there"), truth, 1)
    convert(tmp_path / "there", "coco", tmp_path / "back", link=True)
    back = written_splits(tmp_path / "back")
    assert_alike(back, truth, 1)
    assert list(back["train"].categories.values()) == list(
        written_splits(root / folder)["train"].categories.values()
    )
