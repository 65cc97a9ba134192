from pathlib import Path

import pytest

from edgewise.data.dataset import Dataset
from edgewise.data.formats import imagenet, voc
from edgewise.data.open import open_dataset, read_splits
from tests.data.folders import boxes, fill, kinds


def xml(name: str = "a.png", box: str = "<xmin>1</xmin><ymin>2</ymin><xmax>3,5</xmax><ymax>4</ymax>") -> str:
    return (
        f"<annotation>\n<filename>{name}</filename>\n<size><width>40</width><height>30</height></size>\n"
        f"<object><name>dog</name>\n<bndbox>{box}</bndbox></object>\n</annotation>\n"
    )


FOUND = [("dog", (1, 2, 3.5, 4))]


@pytest.mark.parametrize(
    "files",
    [
        {"Annotations/a.xml": xml(), "JPEGImages/a.png": "", "ImageSets/Main/train.txt": "a -1\n"},
        {
            "VOC2007/Annotations/a.xml": xml(),
            "VOC2007/JPEGImages/a.png": "",
            "VOC2007/ImageSets/Main/trainval.txt": "a",
        },
        {"Annotations/a.xml": xml(), "images/a.png": "", "ImageSets/Main/default.txt": "a"},
        {"Annotations/a.xml": xml("wrong.jpg"), "JPEGImages/a.png": ""},
        {"a.xml": xml("a.jpg").replace("<annotation>", '<annotation verified="yes">'), "a.png": ""},
        {"train/a.xml": xml(), "train/a.png": ""},
        {"Annotations/train/a.xml": xml(), "images/train/a.png": ""},
        {"Annotations/b.xml": xml("a.png"), "JPEGImages/a.png": ""},
    ],
)
def test_layouts(tmp_path: Path, files: dict[str, str]) -> None:
    fill(tmp_path, files)
    (split,) = read_splits(tmp_path).values()
    assert (split.name, split.format) == ("train", "Pascal VOC")
    assert boxes(split) == {"a.png": FOUND}
    assert split.images[0].size == (30, 40)
    assert not split.problems
    assert len(open_dataset(tmp_path, "train")) == 1


def test_splits_share_their_classes_and_may_have_names_with_spaces(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "Annotations/a b.xml": xml(),
            "Annotations/c.xml": xml().replace("dog", "cat"),
            "JPEGImages/a b.png": "",
            "JPEGImages/c.png": "",
            "ImageSets/Main/train.txt": "a b\n",
            "ImageSets/Main/val.txt": "c\n",
            "ImageSets/Main/trainval.txt": "a b\nc\n",
            "ImageSets/Main/dog_train.txt": "a b 1\n",
        },
    )
    splits = read_splits(tmp_path)
    assert {name: list(boxes(split)) for name, split in splits.items()} == {
        "train": ["a b.png"],
        "val": ["c.png"],
    }
    assert [split.categories for split in splits.values()] == [{1: "cat", 2: "dog"}] * 2


def test_images_without_annotation(tmp_path: Path) -> None:
    fill(tmp_path, {"Annotations/a.xml": xml(), "JPEGImages/a.png": "", "JPEGImages/b.png": ""})
    assert [one.declared for one in read_splits(tmp_path)["train"].images] == [True, False]
    fill(tmp_path, {"ImageSets/Main/train.txt": "a\nb\n"})
    assert [one.declared for one in read_splits(tmp_path)["train"].images] == [True, False]


@pytest.mark.parametrize(
    ("text", "kind", "place", "message"),
    [
        ("<annotation><object>", "file-unreadable", "", "not XML: "),
        ("<annotation><object/></annotation>", "entry-malformed", ":1", "an object without a name"),
        (
            xml(box="").replace("<bndbox></bndbox>", ""),
            "entry-malformed",
            ":4",
            "dog without <bndbox>; expected xmin",
        ),
        (
            xml(box="<xmin>one</xmin>"),
            "entry-malformed",
            ":4",
            "bndbox is xmin 'one'; expected numbers: xmin",
        ),
        ('<!DOCTYPE a [<!ENTITY x "y">]>' + xml(), "file-unreadable", "", "it declares a document type"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, text: str, kind: str, place: str, message: str) -> None:
    fill(
        tmp_path,
        {
            "Annotations/a.xml": xml(),
            "JPEGImages/a.png": "",
            "Annotations/b.xml": text,
            "JPEGImages/b.png": "",
        },
    )
    split = voc.read(tmp_path, {"train"})["train"]
    assert kinds(split) == [(kind, f"Annotations/b.xml{place}")]
    assert message in split.problems[0].message


def test_real_lists_are_read_where_nothing_else_is(shared: Path, tmp_path: Path) -> None:
    for name in ("Annotations", "JPEGImages", "ImageSets"):
        (tmp_path / name).symlink_to(shared / "data/bccd" / name)
    splits = read_splits(tmp_path)
    assert [len(split.images) for split in splits.values()] == [205, 87, 72]
    notes = [note for split in splits.values() for note in Dataset(split).notes]
    assert sum("boxes without area: 1 (left out)" in note for note in notes) == 2


# ── ImageNet ───────────────────────────────────────────────────────────────────────────────────────


def test_imagenet(tmp_path: Path) -> None:
    root = "ILSVRC/Annotations/CLS-LOC"
    fill(
        tmp_path,
        {
            f"{root}/train/n01/n01_1.xml": xml("n01_1").replace("dog", "n01"),
            f"{root}/val/V1.xml": xml("V1").replace("dog", "n02"),
            "ILSVRC/Data/CLS-LOC/train/n01/n01_1.jpg": "",
            "ILSVRC/Data/CLS-LOC/train/n01/n01_2.jpg": "",
            "ILSVRC/Data/CLS-LOC/val/V1.jpg": "",
            "LOC_synset_mapping.txt": "n01 tench, Tinca tinca\nn02 crane\nn03 crane\n",
        },
    )
    splits = read_splits(tmp_path)
    assert splits["train"].format == imagenet.NAME
    assert boxes(splits["train"]) == {"n01_1.jpg": [("tench", (1, 2, 3.5, 4))]}  # the other is not annotated
    assert boxes(splits["val"]) == {"V1.jpg": [("n02", (1, 2, 3.5, 4))]}  # two classes are called crane
    assert splits["train"].categories == splits["val"].categories
