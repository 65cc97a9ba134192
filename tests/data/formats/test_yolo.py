from pathlib import Path

import pytest

from edgewise.data.formats import yolo
from edgewise.data.open import available_splits, open_dataset, read_splits
from tests.data.folders import boxes, fill, kinds

HALF = "1 0.5 0.5 0.5 0.5\n"  # of 40x30: 10, 7.5, 30, 22.5
NAMES = "names: [cat, dog]\n"
FOUND = {"a.png": [("dog", (10, 7.5, 30, 22.5))]}


@pytest.mark.parametrize(
    ("yaml", "images", "labels"),
    [
        ("train: train/images", "train/images", "train/labels"),
        ("train: ../train/images", "train/images", "train/labels"),  # as Roboflow writes it
        ("train: images/train", "images/train", "labels/train"),
        ("path: .\ntrain: images/train", "images/train", "labels/train"),
        ("path: /somewhere/else/set\ntrain: images/train", "images/train", "labels/train"),
        ("path: ../set\ntrain: images", "images", "labels"),
        ("train: /content/set/train/images", "train/images", "train/labels"),
        ("train: C:\\set\\train\\images", "train/images", "train/labels"),
        ("train: [images/one, images/two]", "images/two", "labels/two"),
        ("train: images", "images/deep/er", "labels/deep/er"),
        ("train: pictures", "pictures", "pictures"),  # labels beside the images
        ("train: lists/train.txt", "images", "labels"),
    ],
)
def test_paths_as_exporters_write_them(tmp_path: Path, yaml: str, images: str, labels: str) -> None:
    data = fill(
        tmp_path / "set",
        {
            "data.yaml": f"{yaml}\n{NAMES}",
            f"{images}/a.png": "",
            f"{labels}/a.txt": HALF,
            "images/one/b.jpg": "",
            "lists/train.txt": f"./{images}/a.png\n\n",
        },
    )
    for given in (data, data / "data.yaml"):
        split = yolo.read(given, {"train"})["train"]
        assert boxes(split).items() >= FOUND.items()
        (one,) = (image for image in split.images if image.path.name == "a.png")
        assert one.where(0) == f"{labels}/a.txt:1"
        assert not split.problems


@pytest.mark.parametrize(
    "names", ["names: [cat, dog]", "names: {0: cat, 1: dog}", "names:\n  '1': dog\n  '0': cat"]
)
def test_names_as_a_list_or_by_number(tmp_path: Path, names: str) -> None:
    fill(tmp_path, {"data.yaml": f"train: images\n{names}", "images/a.png": "", "labels/a.txt": HALF})
    assert boxes(yolo.read(tmp_path, {"train"})["train"]) == FOUND


@pytest.mark.parametrize(
    "listed", ["data/obj_train_data/a.png", "obj_train_data/a.png", "/home/me/data/obj_train_data/a.png"]
)
@pytest.mark.parametrize("images", ["obj_train_data", "../../images"])
def test_darknet(tmp_path: Path, listed: str, images: str) -> None:
    """Lists keep the paths of the machine they were made on; images may lie elsewhere than labels."""
    data = fill(
        tmp_path / "gts/yolo",
        {
            "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
            "obj.names": "cat\ndog\n",
            "train.txt": f"{listed}\n",
            "obj_train_data/a.txt": HALF,
            f"{images}/a.png": "",
        },
    )
    assert available_splits(data) == {"train": data / "train.txt"}
    split = yolo.read(data, {"train"})["train"]
    assert boxes(split) == FOUND
    assert split.images[0].where(0) == "obj_train_data/a.txt:1"


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images/train", "labels/train"), ("train/images", "train/labels"), ("images", "labels")],
)
def test_folders_without_a_file_that_describes_them(tmp_path: Path, images: str, labels: str) -> None:
    data = fill(tmp_path, {f"{images}/a.png": "", f"{labels}/a.txt": HALF})
    split = yolo.read(data, {"train"})["train"]
    assert split.categories == {1: "1"}
    assert "names the classes: they are numbers" in split.notes[0]
    fill(tmp_path, {"classes.txt": "cat\ndog\n"})
    assert boxes(yolo.read(data, {"train"})["train"]) == FOUND


def test_negatives_missing_labels_and_labels_without_images(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "data.yaml": f"train: images\n{NAMES}",
            "images/a.png": "",
            "images/b.png": "",
            "images/c.png": "",
            "labels/a.txt": HALF,
            "labels/b.txt": "",
            "labels/d.txt": HALF,
            "labels/classes.txt": "cat\ndog",
        },
    )
    split = yolo.read(tmp_path, {"train"})["train"]
    assert [one.declared for one in split.images] == [True, True, False]
    assert kinds(split) == [("label-without-image", "labels/d.txt")]
    dataset = open_dataset(tmp_path, "train")
    assert set(dataset.notes[1:]) == {
        "label files without an image: 1 (left out)",
        "images that nothing is said about: 1 (taken as negatives)",
        "2 of 3 images have no boxes: negatives",
    }


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("1 0.5 0.5", "entry-malformed", "3 numbers; expected 5, class cx cy w h, or a polygon's"),
        ("1 .5 .5 .5 .5 .9", "entry-malformed", "6 numbers; expected 5"),
        ("dog .5 .5 .5 .5", "entry-malformed", "'dog .5 .5 .5 .5'; expected numbers: class cx cy w h"),
        ("1.5 .5 .5 .5 .5", "entry-malformed", "class 1.5; expected a whole number"),
        ("nan .5 .5 .5 .5", "entry-malformed", "class nan; expected a whole number"),
        ("1 20 15 10 10", "entry-malformed", "is in pixels; expected fractions of the image"),
        ("1 0 0 .5 0 .5 .5 0 .5", "polygon-line", "a polygon; expected class cx cy w h"),
    ],
)
def test_lines_that_are_no_boxes(tmp_path: Path, line: str, kind: str, message: str) -> None:
    fill(
        tmp_path,
        {"data.yaml": f"train: images\n{NAMES}", "images/a.png": "", "labels/a.txt": f"{HALF}\n{line}\n"},
    )
    split = yolo.read(tmp_path, {"train"})["train"]
    assert kinds(split) == [(kind, "labels/a.txt:3")]
    assert message in split.problems[0].message
    assert split.images[0].boxes_xyxy.tolist()[1:] == ([[0, 0, 20, 15]] if kind == "polygon-line" else [])


def test_keypoints_after_a_box_are_passed_over(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "data.yaml": f"train: images\nkpt_shape: [2, 2]\n{NAMES}",
            "images/a.png": "",
            "labels/a.txt": "1 .5 .5 .5 .5 .1 .1 .9 .9",
        },
    )
    split = yolo.read(tmp_path, {"train"})["train"]
    assert boxes(split) == FOUND
    assert not split.problems


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Of train it is an error; Roboflow always names a test split, there or not."""
    fill(
        tmp_path,
        {
            "data.yaml": f"train: train/images\nval: ../valid/images\ntest: ../test/images\n{NAMES}",
            "valid/images/a.png": "",
            "valid/labels/a.txt": HALF,
        },
    )
    with pytest.raises(
        FileNotFoundError, match=r"data\.yaml: train: train/images was not found from .*correct"
    ):
        read_splits(tmp_path)
    fill(tmp_path, {"train/images/a.png": "", "train/labels/a.txt": HALF})
    splits = read_splits(tmp_path)
    assert list(splits) == ["train", "val"]
    assert splits["train"].notes[0].endswith("data.yaml: test: ../test/images is not there: left out")


def test_yaml_that_cannot_be_used(tmp_path: Path) -> None:
    fill(tmp_path, {"data.yaml": "train: [", "images/a.png": ""})
    with pytest.raises(ValueError, match=r"data\.yaml: not YAML: "):
        read_splits(tmp_path)
    fill(tmp_path, {"data.yaml": "train: images\nnames: cat"})
    with pytest.raises(ValueError, match=r"data\.yaml: names is 'cat'; expected a list of class names"):
        read_splits(tmp_path)


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}"])
def test_another_number_of_classes_than_names(names: str, tmp_path: Path) -> None:
    yaml = f"train: images\nnc: 5\nnames: {names}\n"
    fill(tmp_path, {"data.yaml": yaml, "images/a.png": "", "labels/a.txt": HALF})
    train = read_splits(tmp_path)["train"]
    assert kinds(train) == [("category-count", "data.yaml")]
    assert train.problems[0].message == "nc is 5, but names has 2; correct the one that is wrong"
    assert "numbers of classes that are not those of the names: 1 (the names count)" in (
        open_dataset(tmp_path, "train").notes
    )
    (tmp_path / "data.yaml").write_text(yaml.replace("5", "2"))
    assert kinds(read_splits(tmp_path)["train"]) == []


def test_a_broken_image_has_no_size(tmp_path: Path) -> None:
    fill(tmp_path, {"data.yaml": f"train: images\n{NAMES}", "images/a.png": "", "labels/a.txt": HALF})
    (tmp_path / "images/a.png").write_bytes(b"no")
    split = yolo.read(tmp_path, {"train"})["train"]
    assert kinds(split) == [("image-unreadable", "images/a.png")]
    assert split.images[0].size is None
    with pytest.raises(ValueError, match=r"images/a\.png: not an image; expected one of .*edgewise doctor"):
        open_dataset(tmp_path, "train")


def test_real_yaml_with_its_wrong_paths(shared: Path) -> None:
    dataset = open_dataset(shared / "data/aquarium", "train")
    assert len(dataset) == 448
    assert dataset.class_names == ("fish", "jellyfish", "penguin", "puffin", "shark", "starfish", "stingray")
    assert len(open_dataset(shared / "data/aquarium", "valid")) == 127
    sample = dataset[0]
    assert sample.size == (1024, 768)
    assert len(sample.labels) > 0
