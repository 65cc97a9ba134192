"""OpenImages and plain CSV."""

from pathlib import Path

import pytest

from edgewise.data.open import available_splits, open_dataset, read_splits
from tests.data.folders import boxes, fill, kinds

TITLES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
FOUND = {"a.png": [("dog", (4, 3, 8, 9))]}


# ── OpenImages ─────────────────────────────────────────────────────────────────────────────────────


def test_openimages(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            "train-annotations-bbox.csv": f'{TITLES}a,x,/m/1,1,"0,1","0,2","0,1","0,3",0,0,0\n',
            "validation-annotations-bbox.csv": f"{TITLES}b,x,/m/2,1,.1,.2,.1,.3,0,0,1\n",
            "class-descriptions-boxable.csv": "/m/1,dog\n/m/2,cat\n",
            "train/a.png": "",
            "validation/b.png": "",
        },
    )
    splits = read_splits(tmp_path)
    assert boxes(splits["train"]) == FOUND
    assert splits["train"].categories == splits["val"].categories == {1: "cat", 2: "dog"}
    assert splits["val"].images[0].crowd.tolist() == [True]
    assert splits["val"].images[0].where(0) == "validation-annotations-bbox.csv:2"
    assert all(split.notes == () for split in splits.values())  # it is not plain CSV besides


def test_openimages_numbers_that_are_none(tmp_path: Path) -> None:
    fill(
        tmp_path, {"boxes.csv": f"{TITLES}a,x,dog,1,one,2,3,4,0,0,0\na,x,dog,1,0,1,0,1,0,0,0\n", "a.png": ""}
    )
    split = read_splits(tmp_path)["train"]
    assert kinds(split) == [("entry-malformed", "boxes.csv:2")]
    assert "XMin 'one', YMin '3'" in split.problems[0].message
    assert len(split.table) == 1


# ── plain CSV ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "path,x1,y1,x2,y2,label\na.png,4,3,8,9,dog\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,30,dog,4,3,8,9\n",
        "image_path;x_min;y_min;x_max;y_max;class_name\n./a.png;4,0;3,0;8,0;9,0;dog\n",
        "a.png,4,3,8,9,dog\n",
        'Image,"X1","Y1","X2","Y2","Category"\nimages/a.png,4,3,8,9,"dog"\n',
        "path,x1,y1,x2,y2,label\na.png,.1,.1,.2,.3,dog\n",
        "path,x1,y1,x2,y2,label\na.png,,,,,\na.png,4,3,8,9,dog\n",
        "path,x,y,w,h,label\na.png,4,3,4,6,dog\n",
        "filename,bbox_x,bbox_y,bbox_width,bbox_height,width,height,name\na.png,.1,.1,.1,.2,40,30,dog\n",
        "image,left,top,width,height,class,split\na.png,,,,,,train\na.png,4,3,4,6,dog,train\n",
    ],
)
def test_usual_titles(tmp_path: Path, text: str) -> None:
    fill(tmp_path, {"boxes.csv": text, "images/a.png": "", "more/notes.csv": "a,b\n1,2\n"})
    for data in (tmp_path, tmp_path / "boxes.csv"):
        (split,) = read_splits(data).values()
        assert boxes(split) == FOUND
        assert not split.problems


def test_a_file_a_split_or_a_column_of_splits(tmp_path: Path) -> None:
    titles = "path,x1,y1,x2,y2,label"
    one = fill(
        tmp_path / "one",
        {f"{split}.csv": f"{titles}\n{split}.png,1,2,3,4,{split}\n" for split in ("train", "val")},
    )
    text = f"{titles},split\ntrain.png,1,2,3,4,train,train\nval.png,1,2,3,4,val,valid\n"
    two = fill(tmp_path / "two", {"all.csv": text})
    for data in (one, two):
        fill(data, {"images/train.png": "", "images/val.png": ""})
        assert list(available_splits(data)) == ["train", "val"]
        assert open_dataset(data, "val").class_names == ("train", "val")
        assert [one.name for one in open_dataset(data, "val").paths] == ["val.png"]


def test_lines_that_are_wrong(tmp_path: Path) -> None:
    text = "path,x1,y1,x2,y2,label\na.png,1,2,3,4,\na.png,1,2,x,4,dog\na.png,1,2\na.png,1,2,3,4,dog\n"
    fill(tmp_path, {"boxes.csv": text, "a.png": ""})
    split = read_splits(tmp_path)["train"]
    assert kinds(split) == [("entry-malformed", f"boxes.csv:{line}") for line in (2, 3, 4)]
    assert "a box without a class name" in split.problems[0].message
    assert "its box is '1', '2', 'x', '4'; expected numbers" in split.problems[1].message


def test_x_and_y_beside_a_width_are_a_corner_and_that_is_said(tmp_path: Path) -> None:
    fill(tmp_path, {"boxes.csv": "path,x,y,w,h,label\na.png,4,3,-4,6,dog\n", "a.png": ""})
    split = read_splits(tmp_path)["train"]
    assert split.notes[0] == "boxes are read as left, top, width and height"
    assert split.images[0].boxes_xyxy.tolist() == [[4, 3, 0, 9]]  # negative, as it is written


def test_files_that_say_no_split(tmp_path: Path) -> None:
    text = "path,x1,y1,x2,y2,label\na.png,1,2,3,4,dog\n"
    fill(tmp_path, {"one.csv": text, "two.csv": text, "a.png": ""})
    with pytest.raises(
        ValueError, match=r"one\.csv, .*two\.csv: nothing says which split they are; call them tra"
    ):
        read_splits(tmp_path)
