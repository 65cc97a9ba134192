from pathlib import Path

import pytest

from edgewise.data.open import written_splits
from tests.cli.conftest import Edgewise
from tests.data.folders import boxes, fill


@pytest.fixture
def data(tmp_path: Path) -> Path:
    text = "path,x1,y1,x2,y2,label\na.png,4,3,8,9,dog\n"
    return fill(tmp_path / "data", {"train.csv": text, "a.png": ""})


def test_convert(edgewise: Edgewise, data: Path, tmp_path: Path) -> None:
    code, text = edgewise("convert", data, "--to", "yolo", "--out", tmp_path / "out")
    assert code == 0
    assert text.endswith(f"{tmp_path}/out has {data} as yolo: train")
    assert boxes(written_splits(tmp_path / "out")["train"]) == {"a.png": [("dog", (4, 3, 8, 9))]}
    code, text = edgewise("convert", data, "--to", "coco", "--out", tmp_path / "out")
    assert (code, "error:" in text, "out: is not empty; name a new folder" in text) == (1, True, True)


def test_what_training_would_hold_out_is_not_written(edgewise: Edgewise, tmp_path: Path) -> None:
    rows = "".join(f"{i}.png,4,3,8,9,dog\n" for i in range(8))
    files = {"train.csv": f"path,x1,y1,x2,y2,label\n{rows}", **{f"{i}.png": "" for i in range(8)}}
    data = fill(tmp_path / "data", files)
    code, text = edgewise("convert", data, "--to", "coco", "--out", tmp_path / "out")
    assert code == 0
    assert text.endswith(f"{tmp_path}/out has {data} as coco: train")
    assert not (tmp_path / "out/val").exists()


def test_an_extra_that_is_missing(
    edgewise: Edgewise, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "hotcoco", None)
    fill(data, {"labelTxt/P1.txt": "1 1 2 1 2 2 1 2 ship 0\n", "images/P1.png": ""})
    code, text = edgewise("convert", data, "--to", "yolo", "--out", tmp_path / "out")
    assert code == 1
    assert "hotcoco is not installed; this needs the extra: pip install 'edgewise[train]'" in text
