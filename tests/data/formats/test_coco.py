import copy
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgewise.data.dataset import Dataset
from edgewise.data.open import available_splits, open_dataset
from edgewise.data.splits import split_name

NAN = float("nan")


def coco() -> dict[str, Any]:
    """Three images of 40x30 (width x height): two boxes and a crowd, one box, none."""

    def annotation(
        id: int, image_id: int, category_id: int, bbox: list[float], crowd: int = 0
    ) -> dict[str, Any]:
        place = {"id": id, "image_id": image_id, "category_id": category_id}
        return {**place, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": crowd}

    return {
        "images": [
            {"id": 10 + i, "file_name": f"{i}.png", "width": 40, "height": 30, "license": 1} for i in range(3)
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            annotation(0, 10, 7, [1, 2, 3, 4]),
            annotation(5, 10, 3, [0.5, 0.5, 39.5, 29.5]),
            annotation(6, 10, 3, [0, 0, 20, 20], crowd=1),
            annotation(8, 11, 3, [30, 20, 10, 10]),
        ],
    }


def write(folder: Path, content: Any, json_name: str, images: str | None) -> Path:
    """The JSON at `json_name` and its images in `images`, both in `folder`; returns the JSON's path."""
    path = folder / json_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    if images is not None:
        for one in content["images"]:
            target = folder / images / one["file_name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30)).save(target)
    return path


def roboflow(folder: Path, content: dict[str, Any], split: str = "train") -> Dataset:
    write(folder, content, f"{split}/_annotations.coco.json", split)
    return open_dataset(folder, split)


# ── reading ────────────────────────────────────────────────────────────────────────────────────────


def test_samples(tmp_path: Path) -> None:
    dataset = roboflow(tmp_path, coco())
    assert len(dataset) == 3
    assert dataset.class_names == ("dog", "cat")
    assert dataset.category_ids == (3, 7)
    assert dataset.image_ids == (10, 11, 12)
    sample = dataset[0]
    assert sample.image.shape == (30, 40, 3)
    assert sample.boxes_xyxy.tolist() == [[1, 2, 4, 6], [0.5, 0.5, 40, 30]]
    assert sample.labels.tolist() == [1, 0]
    assert sample.image_id == 10
    assert sample.path == str(tmp_path / "train/0.png") == str(dataset.paths[0])
    assert dataset[2].boxes_xyxy.shape == (0, 4)
    assert dataset.notes == (
        "no validation split, and too few images (3) to hold some out for one",
        "1 of 3 images have no boxes: negatives",
    )


def test_annotations_for_evaluation(tmp_path: Path) -> None:
    """The file's category ids, crowds included, numbered from 1: evaluators take id 0 for «no match»."""
    annotations = roboflow(tmp_path, coco()).annotations
    assert [one["id"] for one in annotations["annotations"]] == [1, 2, 3, 4]
    assert [one["category_id"] for one in annotations["annotations"]] == [7, 3, 3, 3]
    assert [one["iscrowd"] for one in annotations["annotations"]] == [0, 0, 1, 0]
    assert annotations["annotations"][1]["bbox"] == [0.5, 0.5, 39.5, 29.5]
    assert annotations["annotations"][1]["area"] == 39.5 * 29.5
    assert [one["id"] for one in annotations["categories"]] == [3, 7]
    assert json.loads(json.dumps(annotations)) == annotations


def test_area_of_a_segmentation_is_kept_and_a_missing_one_is_the_box(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][0]["area"] = 5.5
    del content["annotations"][1]["area"], content["annotations"][1]["iscrowd"]
    kept = roboflow(tmp_path, content).annotations["annotations"]
    assert [one["area"] for one in kept] == [5.5, 39.5 * 29.5, 400, 100]


def test_boxes_over_the_border_are_clipped_and_those_without_area_dropped(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][0]["bbox"] = [-3, -2, 10, 10]
    content["annotations"][1]["bbox"] = [5, 5, 0, 10]
    content["annotations"][3]["bbox"] = [30, 20, 10.004, 10]  # rounding: not worth a note
    dataset = roboflow(tmp_path, content)
    assert dataset[0].boxes_xyxy.tolist() == [[0, 0, 7, 8]]
    assert dataset[1].boxes_xyxy.tolist() == [[30, 20, 40, 30]]
    assert len(dataset.annotations["annotations"]) == 3
    assert set(dataset.notes[1:3]) == {
        "boxes that reach over the border of their image: 1 (clipped)",
        "boxes without area: 1 (left out)",
    }


def test_no_annotation_at_all(tmp_path: Path) -> None:
    content = coco() | {"annotations": []}
    dataset = roboflow(tmp_path, content, "test")
    assert all(len(sample.labels) == 0 for sample in dataset)
    for split, why in (("train", "there is nothing to learn"), ("valid", "AP would be undefined")):
        with pytest.raises(ValueError, match=rf"none of the 3 images of the \w+ split has a box; .*{why}"):
            roboflow(tmp_path, content, split)


def test_goes_to_another_process(tmp_path: Path) -> None:
    dataset = roboflow(tmp_path, coco())
    copied = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copied[0].boxes_xyxy, dataset[0].boxes_xyxy)


def test_an_image_of_another_size(tmp_path: Path) -> None:
    dataset = roboflow(tmp_path, coco())
    Image.new("RGB", (30, 40)).save(dataset.paths[1])
    with pytest.raises(
        ValueError,
        match=r"1\.png: the image is 40x30 \(height x width, upright\) but its annotation \(image id 11\) "
        "says 30x40; annotate the image as it is",
    ):
        dataset[1]


# ── supercategories ────────────────────────────────────────────────────────────────────────────────


def with_group(content: dict[str, Any]) -> dict[str, Any]:
    for one in content["categories"]:
        one["supercategory"] = "pets"
    content["categories"].append({"id": 0, "name": "pets", "supercategory": "none"})
    return content


def test_a_group_without_boxes_is_no_class(tmp_path: Path) -> None:
    dataset = roboflow(tmp_path, with_group(coco()))
    assert dataset.class_names == ("dog", "cat")
    assert [one["id"] for one in dataset.annotations["categories"]] == [3, 7]
    assert dataset.notes[0] == "category 'pets' is left out: it only groups others and has no boxes"


def test_a_group_with_boxes_in_any_split_is_a_class_in_all(tmp_path: Path) -> None:
    train, val = with_group(coco()), with_group(coco())
    train["annotations"][0]["category_id"] = 0
    roboflow(tmp_path, train)
    assert roboflow(tmp_path, val, "valid").class_names == ("pets", "dog", "cat")
    assert open_dataset(tmp_path, "train").class_names == ("pets", "dog", "cat")


def test_a_class_without_boxes_stays_a_class(tmp_path: Path) -> None:
    content = coco()
    content["categories"] += [
        {"id": 9, "name": "fox"},
        {"id": 8, "name": "person", "supercategory": "person"},
    ]
    assert roboflow(tmp_path, content).class_names == ("dog", "cat", "person", "fox")


# ── finding ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("json_name", "images"),
    [
        ("val/_annotations.coco.json", "val"),
        ("valid/_annotations.coco.json", "valid"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("annotations/val.json", "val"),
        ("coco/val.json", "JPEGImages"),
        ("coco/val.json", "coco"),
        ("val.json", "."),
        ("val.json", "images"),
        ("instances_val.json", "val"),
        ("validation/labels.json", "validation/data"),
    ],
)
def test_layouts(tmp_path: Path, json_name: str, images: str) -> None:
    path = write(tmp_path, coco(), json_name, images)
    for data in (tmp_path, str(tmp_path), path):
        dataset = open_dataset(data, "val")
        assert dataset.paths == tuple(tmp_path / images / f"{i}.png" for i in range(3))
    assert available_splits(tmp_path) == available_splits(path) == {"val": path}


def test_file_names_with_folders(tmp_path: Path) -> None:
    content = coco()
    for name, one in zip(("./a/0.png", "b\\1.png", "b/c/2.png"), content["images"], strict=True):
        one["file_name"] = name
    written = copy.deepcopy(content)
    written["images"][1]["file_name"] = "b/1.png"
    write(tmp_path, written, "train.json", "photos")
    write(tmp_path, content, "train.json", None)
    assert open_dataset(tmp_path, "train").paths[1] == tmp_path / "photos/b/1.png"


def test_the_same_names_in_every_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path, coco(), f"annotations/instances_{split}2017.json", f"{split}2017")
    assert open_dataset(tmp_path, "val").paths[0] == tmp_path / "val2017/0.png"
    assert open_dataset(tmp_path, "train").paths[0] == tmp_path / "train2017/0.png"


def test_images_of_another_split_are_not_taken(tmp_path: Path) -> None:
    train = write(tmp_path, coco(), "annotations/instances_train2017.json", None)
    write(tmp_path, coco(), "annotations/instances_val2017.json", "val2017")
    with pytest.raises(FileNotFoundError) as caught:
        open_dataset(tmp_path, "train")
    assert str(caught.value).startswith(
        f"{train}: its images, such as 0.png, are not there; files of these names are in "
        f"{tmp_path / 'val2017'}, but that is the val split's by its name, and this is the train split: put "
        "its own images beside the file or into a folder train. "
    )
    assert open_dataset(tmp_path, "val").paths[0] == tmp_path / "val2017/0.png"
    (tmp_path / "val2017").rename(tmp_path / "photos")  # shared by both
    assert open_dataset(tmp_path, "train").paths == open_dataset(tmp_path, "val").paths


def test_coco_annotations_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, coco(), "annotations/instances_val2017.json", "val2017")
    write(tmp_path, {}, "annotations/captions_val2017.json", None)
    write(tmp_path, {}, "annotations/person_keypoints_val2017.json", None)
    assert available_splits(tmp_path) == {"val": path}


def test_a_file_is_any_split(tmp_path: Path) -> None:
    path = write(tmp_path, coco(), "everything.json", ".")
    assert available_splits(path) == {"train": path}
    assert len(open_dataset(path, "test")) == 3


@pytest.mark.parametrize("json_name", ["annotations.json", "annotations/boxes.json"])
@pytest.mark.parametrize("images", ["test", "images/valid"])
def test_a_file_that_says_no_split_is_of_the_one_its_images_are(
    tmp_path: Path, json_name: str, images: str
) -> None:
    path, name = write(tmp_path, coco(), json_name, images), split_name(images.split("/")[-1])
    for data in (tmp_path, path):
        assert available_splits(data) == {name: path}
        assert open_dataset(data, name).paths[0] == tmp_path / images / "0.png"
    write(tmp_path, coco(), json_name, (Path(images).parent / "train").as_posix())
    assert available_splits(tmp_path) == {"train": path}  # it may be of either


def test_split_names() -> None:
    assert [split_name(name) for name in ("train", "valid", "Validation", "val", "test")] == [
        "train", "val", "val", "val", "test"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="unknown split vall; did you mean val"):
        split_name("vall")


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none: no such data set folder or annotation file"):
        open_dataset(tmp_path / "none", "train")
    message = "no annotations found; expected COCO, YOLO, .* such as train/_annotations.coco.json, data.yaml"
    with pytest.raises(FileNotFoundError, match=message):
        open_dataset(tmp_path, "train")
    path = write(tmp_path, coco(), "val.json", ".")
    with pytest.raises(
        FileNotFoundError, match=re.escape(f"no train split; found val ({path}); name one of these")
    ):
        open_dataset(tmp_path, "train")


def test_two_files_for_a_split(tmp_path: Path) -> None:
    for name in ("train_a.json", "train_b.json"):
        write(tmp_path, coco(), name, ".")
    with pytest.raises(ValueError, match=r"2 files for the train split: .*train_a\.json, .* the path of one"):
        open_dataset(tmp_path, "train")


def test_images_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, coco(), "annotations/train.json", None)
    with pytest.raises(FileNotFoundError) as none:
        open_dataset(tmp_path, "train")
    assert str(none.value) == (
        f"{path}: none of its images, such as 0.png, were found in {path.parent} and {tmp_path} "
        f"and folders near; put them there. To see all: edgewise doctor {tmp_path}"
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.png").touch()
    with pytest.raises(
        FileNotFoundError, match=r"image 11: no image 1\.png in .*images; add it, .* \(2 such\)"
    ):
        open_dataset(tmp_path, "train")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/0.png").touch()
    with pytest.raises(
        FileNotFoundError, match=r"are in .*images and in .*photos; expected one folder: put them"
    ):
        open_dataset(tmp_path, "train")


# ── bad files ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON: Expecting value: line 1 column 1"),
        ('{"images": [', "not JSON: Expecting value: line 1 column 13"),
        ("[]", "no list 'images'; expected a COCO file with images, annotations, categories"),
        ('{"images": [{}]}', "no list 'annotations'; expected"),
        ('{"images": [], "annotations": [], "categories": []}', "no categories; expected at least one"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}',
            "no images in the train split; expected at least one",
        ),
        ('{"images": [3], "annotations": [], "categories": []}', "images[0] is 3; expected an object"),
    ],
)
def test_files_that_are_not_coco(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text, "train.json", None)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        open_dataset(tmp_path, "train")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_bytes(b"\xff\xd8\xff\xe0\x00")
    with pytest.raises(ValueError, match=r"train\.json: not JSON: "):
        open_dataset(tmp_path, "train")


BOX = "annotation 5: box [x1, y1, x2, y2] is"


@pytest.mark.parametrize(
    ("key", "index", "change", "message"),
    [
        ("images", 1, {"id": 10}, "image 10: 1.png is not the first image of this id"),
        ("images", 1, {"id": "11"}, "image number 1: id is '11'; expected an integer >= 0"),
        ("images", 1, {"width": None}, "image 11: 30xNone pixels (height x width); expected integers"),
        ("images", 1, {"height": 0}, "image 11: 0x40 pixels (height x width); expected integers >= 1"),
        ("images", 1, {"file_name": ""}, "image 11: file_name is ''; expected a text"),
        ("images", 1, {"file_name": "/etc/x.png"}, "image 11: file_name '/etc/x.png' leads out of the image"),
        ("images", 1, {"file_name": "a/../../x.png"}, "leads out of the image folder; expected a"),
        ("images", 1, {"file_name": "C:\\x.png"}, "image 11: file_name 'C:\\\\x.png' leads out"),
        ("categories", 1, {"id": 7}, "category 7: 'dog' is not the first of this id"),
        ("categories", 1, {"name": "cat"}, "category name 'cat' is there 2 times"),
        ("categories", 1, {"name": 5}, "category 3: name is 5; expected a text"),
        ("annotations", 1, {"id": True}, "annotation number 1: id is True; expected an integer >= 0"),
        ("annotations", 1, {"image_id": 99}, "annotation 5: image_id 99 is not among the file's images"),
        ("annotations", 1, {"category_id": 1}, "annotation 5: category 1 is not among the categories (3, 7)"),
        ("annotations", 1, {"iscrowd": 2}, "annotation 5: iscrowd is 2; expected 0 or 1"),
        ("annotations", 1, {"bbox": [1, 2, 3]}, "annotation 5: bbox is [1, 2, 3]; expected [x, y, width"),
        ("annotations", 1, {"bbox": ["1", 2, 3, 4]}, "annotation 5: bbox is ['1', 2, 3, 4]; expected"),
        ("annotations", 1, {"bbox": [1, 2, NAN, 4]}, f"{BOX} [1, 2, nan, 6] in an image of 30x40 "
         "(height x width); expected finite numbers. To see all: edgewise doctor "),
        ("annotations", 1, {"bbox": [9, 2, -4, 4]}, f"{BOX} [9, 2, 5, 6] in an image of 30x40 "
         "(height x width); expected x1"),
        ("annotations", 1, {"bbox": [41, 2, 4, 4]}, "expected a box that touches the image. To see"),
        ("annotations", 1, {"bbox": [1, -9, 4, 4]}, "expected a box that touches the image. To see"),
    ],
)  # fmt: skip
def test_one_bad_value(tmp_path: Path, key: str, index: int, change: dict[str, Any], message: str) -> None:
    content = coco()
    write(tmp_path, content, "train.json", ".")
    content[key][index].update(change)
    path = write(tmp_path, content, "train.json", None)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        open_dataset(tmp_path, "train")
    assert str(error.value).startswith(f"{path}: ")


def test_an_annotation_id_twice_is_numbered_anew(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][1]["id"] = 0
    dataset = roboflow(tmp_path, content)
    assert "annotation ids that are there again: 1 (numbered anew)" in dataset.notes
    assert [one["id"] for one in dataset.annotations["annotations"]] == [1, 2, 3, 4]


def test_sizes_that_are_left_out_are_the_images_own(tmp_path: Path) -> None:
    content = coco()
    del content["images"][0]["width"], content["images"][0]["height"]
    content["images"][1] |= {"width": 0, "height": 0}
    content["images"][2] |= {"width": 40.0, "height": 30.0}
    dataset = roboflow(tmp_path, content)
    assert all((one["width"], one["height"]) == (40, 30) for one in dataset.annotations["images"])
    assert dataset[0].labels.tolist() == [1, 0]


def test_a_missing_key_and_several_bad_boxes(tmp_path: Path) -> None:
    content = coco()
    for one in content["annotations"][:2]:
        one["bbox"] = [50, 50, 5, 5]
    write(tmp_path, content, "train.json", ".")
    with pytest.raises(ValueError, match=r"annotation 0: .* touches the image \(2 such\)\. To see"):
        open_dataset(tmp_path, "train")
    del content["annotations"][3]["category_id"]
    write(tmp_path, content, "train.json", ".")
    with pytest.raises(ValueError, match="annotation 8: no category_id; expected an integer >= 0"):
        open_dataset(tmp_path, "train")


# ── real data ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "counts", "boxes", "classes"),
    [
        ("bccd", (205, 87, 72), (2804, 1137, 945), ("Platelets", "RBC", "WBC")),
        ("person121", (85, 24, 12), (100, 31, 16), ("person",)),
        ("deeppcb", (210, 90), (1019, 343), ("copper", "mousebite", "open", "pin-hole", "short", "spur")),
    ],
)
def test_real_sets(
    shared: Path, name: str, counts: tuple[int, ...], boxes: tuple[int, ...], classes: tuple[str, ...]
) -> None:
    splits = list(available_splits(shared / "data" / name))
    assert splits == ["train", "val", "test"][: len(counts)]
    for split, count, total in zip(splits, counts, boxes, strict=True):
        dataset = open_dataset(shared / "data" / name, split)
        assert dataset.class_names == classes
        assert len(dataset) == count
        assert len(dataset.annotations["annotations"]) == total
        assert len(dataset[0].labels) > 0
