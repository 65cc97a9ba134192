from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.data.dataset import Dataset
from edgewise.data.open import written_splits
from edgewise.data.records import RawSplit
from tests.data.folders import fill

TEXT = (
    "path,x1,y1,x2,y2,label\na.png,1,2,3,4,dog\na.png,1,2,3,4,dog\na.png,5,6,8,9,cat\nb/c.png,-3,0,9,9,dog\n"
)


@pytest.fixture
def split(tmp_path: Path) -> RawSplit:
    fill(tmp_path, {"train.csv": TEXT, "a.png": "", "b/c.png": ""})
    return written_splits(tmp_path)["train"]


def test_an_image_not_read_yet_is_the_sample(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fill(tmp_path, {"train.csv": "path,x1,y1,x2,y2,label\na.jpg,1,2,30,40,dog\n"})
    Image.fromarray(rng.integers(0, 256, (51, 61, 3), np.uint8)).save(tmp_path / "a.jpg")
    dataset = Dataset(written_splits(tmp_path)["train"])
    unread, sample = dataset.unread(0), dataset[0]
    assert (unread.size, unread.image_id, unread.path) == (sample.size, sample.image_id, sample.path)
    assert unread.boxes_xyxy.tolist() == sample.boxes_xyxy.tolist()
    assert unread.labels.tolist() == sample.labels.tolist()
    np.testing.assert_array_equal(unread.read()[0], sample.image)
    image, by = unread.read(2.5)
    assert (image.shape, by) == ((26, 31, 3), 2)


def test_an_image_of_another_size_is_told_apart_when_read_smaller(tmp_path: Path) -> None:
    """61 and 62 pixels are both 31 at half the size."""
    fill(tmp_path, {"train.csv": "path,x1,y1,x2,y2,label\na.jpg,1,2,30,40,dog\n"})
    Image.new("RGB", (61, 51)).save(tmp_path / "a.jpg")
    unread = Dataset(written_splits(tmp_path)["train"]).unread(0)
    Image.new("RGB", (62, 51)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg: the image is 51x62 .* says 51x61; annotate"):
        unread.read(2.0)


def test_a_duplicate_is_scored_but_not_trained_on(split: RawSplit) -> None:
    dataset = Dataset(split)
    assert dataset[0].boxes_xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 8, 9]]
    assert dataset[0].labels.tolist() == [1, 0]
    assert len(dataset.annotations["annotations"]) == 4
    assert "boxes that are there again: 1 (left out of training, kept for evaluation)" in dataset.notes


def test_annotations(split: RawSplit) -> None:
    """File names from the deepest common folder; boxes clipped; areas those of the boxes."""
    annotations = Dataset(split).annotations
    assert annotations["images"] == [
        {"id": 1, "file_name": "a.png", "width": 40, "height": 30},
        {"id": 2, "file_name": "b/c.png", "width": 40, "height": 30},
    ]
    assert annotations["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert annotations["annotations"][-1] == {
        "id": 4, "image_id": 2, "category_id": 2, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0
    }  # fmt: skip


def test_fingerprint(split: RawSplit) -> None:
    """The same wherever the data set lies; another when a box, a class or a file name is."""
    same = Dataset(split).fingerprint
    assert len(same) == 12
    assert Dataset(split).fingerprint == same
    first, *rest = split.images
    moved = replace(first, boxes_xyxy=first.boxes_xyxy + [[0, 0, 0, 1]] * 3)
    other = replace(first, category_ids=np.array([2, 1, 1]))
    assert Dataset(replace(split, images=(moved, *rest))).fingerprint != same
    assert Dataset(replace(split, images=(other, *rest))).fingerprint != same
    assert Dataset(replace(split, images=split.images[::-1])).fingerprint != same
    assert Dataset(replace(split, categories={1: "cow", 2: "dog"})).fingerprint != same


def test_labels_follow_the_order_of_the_categories(split: RawSplit) -> None:
    dataset = Dataset(replace(split, categories={2: "dog", 9: "cow", 1: "cat"}))
    assert dataset.class_names == ("dog", "cow", "cat")
    assert dataset.category_ids == (2, 9, 1)
    assert dataset[0].labels.tolist() == [0, 2]


def test_image_ids_that_floats_cannot_tell_apart_are_numbered_anew(split: RawSplit) -> None:
    images = tuple(replace(one, image_id=2**53 + i) for i, one in enumerate(split.images))
    dataset = Dataset(replace(split, images=images))
    assert dataset.image_ids == (1, 2)
    assert [one["id"] for one in dataset.annotations["images"]] == [1, 2]
    assert {one["image_id"] for one in dataset.annotations["annotations"]} == {1, 2}
    assert dataset[1].image_id == 2
    assert "image ids up to 9007199254740993: images are numbered anew, floats could not tell" in str(
        dataset.notes
    )
