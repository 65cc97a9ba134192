from pathlib import Path

import numpy as np
import pytest

from edgewise.data.open import open_dataset
from edgewise.data.scenes import SceneDataset, write_coco
from edgewise.evaluation.run import AnnotatedImages
from edgewise.uses.joined import Joined, open_joined


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes")
    write_coco(path, [SceneDataset(3, 0, "train"), SceneDataset(2, 0, "test")])
    return path


def test_every_image_once_in_a_row(folder: Path) -> None:
    parts = [open_dataset(folder, "train"), open_dataset(folder, "test")]
    whole = Joined(parts)
    assert isinstance(whole, AnnotatedImages)
    assert len(whole) == sum(map(len, parts))
    assert whole.image_ids == tuple(range(1, len(whole) + 1))
    samples = [whole[index] for index in range(len(whole))]
    assert [one.image_id for one in samples] == list(whole.image_ids)
    expected = [part[index] for part in parts for index in range(len(part))]
    for one, other, row in zip(samples, expected, whole.annotations["images"], strict=True):
        assert one.path == other.path == row["file_name"]
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
    boxes = whole.annotations["annotations"]
    assert [one["id"] for one in boxes] == list(range(1, len(boxes) + 1))
    for image_id, one in zip(whole.image_ids, samples, strict=True):
        assert sum(box["image_id"] == image_id for box in boxes) == len(one.labels)


def test_all_opens_every_split(folder: Path) -> None:
    whole = open_joined(folder, "all")
    assert len(whole) == 5
    assert len(open_joined(folder, "test")) == 2
