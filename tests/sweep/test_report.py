"""Table, JSON, sentence and picture of a sweep."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text
from PIL import Image

from edgewise.sweep import report
from edgewise.sweep.points import EAGER, Way
from tests.sweep.conftest import point, swept


def test_a_table_and_what_it_says() -> None:
    fast = point(20.0, 0.596, 100, Way("openvino", "bf16"))
    found = swept(point(50.0, 0.6), fast, point(60.0, 0.5, 200), point(None, 0.4, 50), notes=("no luck",))
    lines = str(found).splitlines()
    assert lines[2:5] == [
        "| **1** | **a.safetensors** | **640x640** | **3** | **100** | **openvino bf16** | **0.596** | "
        "**0.40** | **20.0 (18.0 to 22.0)** | **20.0 (18.0 to 22.0)** |",
        "| 2 | a.safetensors | 640x640 | 3 | 300 | torch fp32 | 0.600 | 0.00 | 50.0 (45.0 to 55.0) "
        "| 50.0 (45.0 to 55.0) |",
        "|  | a.safetensors | 640x640 | 3 | 200 | torch fp32 | 0.500 | 10.00 | 60.0 (54.0 to 66.0) "
        "| 60.0 (54.0 to 66.0) |",
    ]
    assert found.verdict.splitlines() == [
        "fastest within 0.5 points of the best: a.safetensors 640x640, 3 layers, 100 queries, openvino bf16",
        "AP 0.596 in 20.0 ms; the best, a.safetensors 640x640, 3 layers, 300 queries, torch fp32, has 0.600 "
        "in 50.0 ms",
        'Detector.from_pretrained("a.safetensors").at(layers=3, queries=100).optimize("cpu", '
        'engine="openvino", precision="bf16", size=(640, 640))',
    ]
    assert lines[-3:] == [
        "- no luck",
        "- 1 more cuts were evaluated but not timed: sweep.json has their AP",
        "- images: 4 of 9, drawn from seed 0",
    ]


def test_the_best_may_be_the_one() -> None:
    found = swept(point(50.0, 0.6, way=EAGER), point(20.0, 0.5))
    assert "AP 0.600 in 50.0 ms: it is the best itself" in found.verdict
    assert ".at(layers=3, queries=300).predict(images, size=(640, 640))" in found.verdict


def test_stopped_before_anything_was_timed(tmp_path: Path) -> None:
    found = swept(point(None, 0.4), point(None, 0.6), stopped=True)
    found.write(tmp_path / "out")
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"sweep.json", "sweep.md"}
    text = (tmp_path / "out/sweep.md").read_text()
    assert text.index("0.600 | – | – | –") < text.index("0.400 | – | – | –")
    assert "nothing recommended: no point has both AP and a time" in text
    assert "- stopped before the end" in text


def test_json_tells_where_the_front_is(tmp_path: Path) -> None:
    found = swept(point(50.0, 0.6), point(60.0, 0.5), point(20.0, 0.598, 100), point(None, 0.3, 50))
    found.write(tmp_path)
    values = json.loads((tmp_path / "sweep.json").read_text())
    assert (values["front"], values["recommended"], values["stopped"]) == ([2, 0], 2, False)
    assert values["points"][2] == {
        "checkpoint": "a.safetensors",
        "size": [640, 640],
        "layers": 3,
        "queries": 100,
        "engine": "torch",
        "precision": "fp32",
        "ap": 0.598,
        "engine_ms": {"median": 20.0, "low": 18.0, "high": 22.0},
        "whole_ms": {"median": 20.0, "low": 18.0, "high": 22.0},
    }
    assert values["points"][3]["whole_ms"] is None
    with Image.open(tmp_path / "sweep.png") as picture:
        assert picture.width > 1000


@pytest.mark.parametrize("count", [1, 12, 60])
def test_labels_do_not_overlap(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Axes] = []
    place = report._place_labels

    def placed(axes: Any, *rest: Any) -> None:
        place(axes, *rest)
        drawn.append(axes)

    monkeypatch.setattr(report, "_place_labels", placed)
    rng = np.random.default_rng(count)
    ways = [EAGER, Way("torch", "bf16"), Way("openvino", "bf16")]
    points = [
        point(10 + 3 * i + rng.uniform(), 0.4 + 0.02 * i**0.5 * rng.uniform(0.9, 1), i, ways[i % 3])
        for i in range(count)
    ]
    found = swept(*points)
    found.plot(tmp_path / "sweep.png")
    (axes,) = drawn
    notes = [one for one in axes.texts if isinstance(one, Annotation)]
    assert any(one.get_text().startswith("fastest within 0.5 of the best\n") for one in notes)
    boxes = [Text.get_window_extent(one) for one in notes]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    frame = axes.get_window_extent()
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in boxes)
