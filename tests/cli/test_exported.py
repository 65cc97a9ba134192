"""Commands that take exported files."""

import json
from pathlib import Path

from PIL import Image

from tests.cli.conftest import Edgewise
from tests.runtime import toy


def test_predict_takes_an_exported_file(edgewise: Edgewise, tmp_path: Path) -> None:
    model = toy.write(tmp_path / "toy.onnx", toy.RAW)
    Image.fromarray(toy.picture(0)).save(tmp_path / "photo.png")
    words = ("predict", model, tmp_path / "photo.png", "--threshold", "auto", "--out", tmp_path / "out")
    assert edgewise(*words)[0] == 0
    found = json.loads((tmp_path / "out/photo.json").read_text())
    assert (found["width"], found["height"]) == (60, 40)
    assert {one["name"] for one in found["detections"]} <= {*toy.NAMES}
    assert (tmp_path / "out/photo.jpg").is_file()


def test_bench_shows_one_table_and_writes_it(edgewise: Edgewise, tmp_path: Path) -> None:
    model = toy.write(tmp_path / "toy.onnx", toy.RAW)
    code, text = edgewise("bench", model, "--repeats", "1", "--threads", "1", "--out", tmp_path / "out")
    assert code == 0
    assert " ".join((tmp_path / "out/bench.md").read_text().split()) in text
    values = json.loads((tmp_path / "out/bench.json").read_text())
    assert values["protocol"]["threads"] == 1
    assert [row["name"] for row in values["rows"]] == ["toy.onnx"]


def test_bench_of_what_is_no_detector(edgewise: Edgewise, tmp_path: Path) -> None:
    code, text = edgewise("bench", tmp_path / "none.onnx")
    assert code == 1
    assert "none.onnx: no such file; expected one that `edgewise export` wrote" in text
