import json
from pathlib import Path

import pytest
import yaml

from edgewise.data.convert import WRITERS, convert
from edgewise.data.open import open_dataset, written_splits
from tests.data.folders import boxes, fill

TITLES = "path,x1,y1,x2,y2,label,split\n"
ROWS = (
    "a/1.png,4,3,8.123456,9,dog,train\nb/1.png,1,2,3,4,cat,train\nc/1.png,1,2,3,4,cat,val\nc/2.png,,,,,,val\n"
)
FOUND = [[("dog", (4, 3, 8.1235, 9))], [("cat", (1, 2, 3, 4))], [("cat", (1, 2, 3, 4))], []]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pictures = dict.fromkeys(("a/1.png", "b/1.png", "c/1.png", "c/2.png"), "")
    return fill(tmp_path / "data", {"boxes.csv": TITLES + ROWS, **pictures})


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("link", [False, True])
def test_nothing_is_lost_though_images_share_a_name(data: Path, to: str, link: bool, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*.*")}
    out = tmp_path / "out"
    assert convert(data, to, out, link=link) == ()
    splits = written_splits(out)
    assert [list(one.categories.values()) for one in splits.values()] == [["cat", "dog"]] * 2
    assert [one for split in splits.values() for one in boxes(split).values()] == FOUND
    assert all(
        one.declared and one.path.is_symlink() == link for split in splits.values() for one in split.images
    )
    assert len(open_dataset(out, "train")) == 2
    assert {path: path.read_bytes() for path in data.rglob("*.*")} == before


def test_numbers_areas_and_crowds_stay_in_coco_only(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 70, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 5, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 70, "category_id": 5, "bbox": [1, 2, 3, 4], "area": 7.5, "iscrowd": 0},
            {"id": 2, "image_id": 70, "category_id": 5, "bbox": [1, 2, 9, 9], "area": 80, "iscrowd": 1},
        ],
    }
    data = fill(tmp_path / "data", {"train.json": json.dumps(content), "a.png": ""})
    convert(data, "coco", tmp_path / "coco")
    assert json.loads((tmp_path / "coco/train/_annotations.coco.json").read_text()) == content
    assert convert(data, "yolo", tmp_path / "yolo") == ("crowds: 1 (left out: yolo has none)",)
    assert len(written_splits(tmp_path / "yolo")["train"].table) == 1


def test_what_others_will_read(data: Path, tmp_path: Path) -> None:
    convert(data, "yolo", tmp_path / "yolo")
    assert yaml.safe_load((tmp_path / "yolo/data.yaml").read_text()) == {
        "train": "images/train", "val": "images/val", "names": {0: "cat", 1: "dog"}
    }  # fmt: skip
    assert (tmp_path / "yolo/labels/train/1_2.txt").read_text() == "0 0.05 0.1 0.05 0.06666666667\n"
    assert (tmp_path / "yolo/labels/val/2.txt").read_text() == ""
    convert(data, "voc", tmp_path / "voc")
    assert (tmp_path / "voc/ImageSets/Main/val.txt").read_text() == "1_3\n2\n"
    assert "<xmax>8.123456</xmax>" in (tmp_path / "voc/Annotations/1.xml").read_text()


def test_what_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown format cocoo; did you mean coco\?"):
        convert(data, "cocoo", tmp_path / "out")
    with pytest.raises(
        ValueError, match=r"data/out: lies within .*data, which is not written to; name a folder"
    ):
        convert(data, "coco", data / "out")
    with pytest.raises(ValueError, match="data: is not empty; name a new folder"):
        convert(data, "coco", data)
    (data / "boxes.csv").write_text(TITLES + "a/1.png,4,3,nan,9,dog,train\n")
    with pytest.raises(ValueError, match=r"boxes\.csv:2: box .* expected finite numbers"):
        convert(data, "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_dota_through_hotcoco(tmp_path: Path) -> None:
    pytest.importorskip("hotcoco")
    turned = "imagesource:x\ngsd:0.1\n10 10 30 10 30 20 10 20 plane 0\n"
    for split in ("train", "val"):
        fill(tmp_path / "dota" / split, {"labelTxt/P1.txt": turned, "images/P1.png": ""})
    convert(tmp_path / "dota", "coco", tmp_path / "out")
    splits = written_splits(tmp_path / "out")
    assert [boxes(one) for one in splits.values()] == [{"P1.png": [("plane", (10, 10, 30, 20))]}] * 2


def test_createml_through_supervision(tmp_path: Path) -> None:
    pytest.importorskip("supervision")
    box = {"label": "dog", "coordinates": {"x": 20, "y": 15, "width": 10, "height": 12}}
    content = json.dumps([{"image": "a.png", "annotations": [box]}])
    fill(tmp_path / "data", {"valid/_annotations.createml.json": content, "valid/a.png": ""})
    convert(tmp_path / "data", "yolo", tmp_path / "out")
    assert boxes(written_splits(tmp_path / "out")["val"]) == {"a.png": [("dog", (15, 9, 25, 21))]}
