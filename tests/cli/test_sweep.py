"""`edgewise bench --sweep`."""

import json
import sys
from pathlib import Path

import pytest

from edgewise.sweep import run as room
from tests.cli.conftest import Edgewise
from tests.cli.test_anytime import scenes as scenes
from tests.cli.test_anytime import weights as weights


@pytest.fixture(autouse=True)
def torch_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(room, "multiplies_bf16", lambda: False)


def test_table_and_files(weights: Path, scenes: Path, tmp_path: Path, edgewise: Edgewise) -> None:
    words = ("--data", scenes, "--images", 2, "--repeats", 1, "--threads", 1, "--out", tmp_path / "out")
    code, text = edgewise("bench", "--sweep", weights, *words)
    assert code == 0, text
    assert " ".join((tmp_path / "out/sweep.md").read_text().split()) in text
    assert "fastest within 0.5 points of the best: tiny.safetensors" in text
    assert "images: 2 of 3, drawn from seed 0" in text
    values = json.loads((tmp_path / "out/sweep.json").read_text())
    assert {one["layers"] for one in values["points"]} == {1, 2, 3}
    assert (tmp_path / "out/sweep.png").exists()


def test_stopped_it_writes_what_it_has(
    weights: Path, scenes: Path, tmp_path: Path, edgewise: Edgewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "LayerPredictor", stop)
    words = ("--data", scenes, "--repeats", 1, "--threads", 1, "--out", tmp_path / "out")
    code, text = edgewise("bench", "--sweep", weights, *words)
    assert code == 130
    assert text.endswith("stopped: this is what was measured until then")
    values = json.loads((tmp_path / "out/sweep.json").read_text())
    assert {one["engine"] for one in values["points"]} == {"eager", "torch"}
    assert values["stopped"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("WEIGHTS",), "--sweep weighs time against AP; give annotated images: --data FOLDER"),
        (
            ("a.onnx", "--data", "SCENES"),
            "a.onnx: a sweep needs weights; give the checkpoint that it was made from",
        ),
        (("WEIGHTS", "--data", "SCENES", "--device", "cuda"), "--device cuda: a sweep is of the CPU"),
    ],
)
def test_mistakes_have_a_way_out(
    words: tuple[str, ...], expected: str, weights: Path, scenes: Path, edgewise: Edgewise
) -> None:
    places = {"WEIGHTS": weights, "SCENES": scenes}
    code, text = edgewise("bench", "--sweep", *(places.get(word, word) for word in words))
    assert code == 1
    assert expected in text
