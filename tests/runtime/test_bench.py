"""Detectors side by side. How long anything takes is not asked here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewise.api import Detector
from edgewise.evaluation.run import AnnotatedImages
from edgewise.runtime.bench import Bench, Row, Time, bench, names_of
from edgewise.runtime.detector import ExportedDetector
from edgewise.sample import Sample
from tests.runtime import toy
from tests.runtime.test_detector import Recorded
from tests.test_calibration import calibration
from tests.train.tiny import NAMES, tiny_config


class Found:
    """Three pictures whose annotations are what a detector finds in them, moved right by some pixels."""

    def __init__(self, detector: ExportedDetector, moved: float) -> None:
        self.class_names, self.category_ids = toy.NAMES, (7, 3)
        self.image_ids = (0, 1, 2)
        self.images = [toy.picture(i, 100, 200) for i in self.image_ids]
        boxes = []
        for i, image in enumerate(self.images):
            for box, label in zip(*_best(detector, image), strict=True):
                x1, y1, x2, y2 = (box + np.array([moved, 0, moved, 0])).tolist()
                boxes.append(
                    {
                        "id": len(boxes) + 1,
                        "image_id": i,
                        "category_id": self.category_ids[label],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": 0,
                    }
                )
        self.annotations = {
            "images": [{"id": i, "width": 200, "height": 100} for i in self.image_ids],
            "annotations": boxes,
            "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        }

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        boxes = np.zeros((0, 4), np.float32)
        return Sample(self.images[index], boxes, np.zeros(0, np.int64), index)


def _best(detector: ExportedDetector, image: np.ndarray) -> tuple[np.ndarray, list[int]]:
    found = detector.predict(image, 0.0)
    return found.boxes_xyxy, found.labels.tolist()


def test_a_row_for_each_in_their_order(artifacts: Path) -> None:
    detectors = [Detector.from_pretrained(artifacts / name) for name in ("raw.onnx", "raw.xml")]
    detectors.append(Detector(tiny_config(), NAMES, device="cpu"))
    found = bench(detectors, repeats=2)
    assert [row.name for row in found.rows] == ["raw.onnx", "raw.xml", "Detector('tiny', 3 classes, 64x64)"]
    assert [row.backend.split()[0] for row in found.rows] == ["onnxruntime", "openvino", "torch"]
    assert {row.precision for row in found.rows} == {"fp32"}
    assert [row.size for row in found.rows] == [(64, 96), (64, 96), (64, 64)]
    for row in found.rows:
        assert 0 < row.engine.low <= row.engine.median <= row.engine.high
        assert {*row.per_second} == {1, 8}
        assert row.per_second[1] == pytest.approx(1000 / row.whole.median)
        assert (row.ap, row.coverage) == (None, None)
    small, _, none = found.rows
    assert small.file_mb == (artifacts / "raw.onnx").stat().st_size / 1e6
    assert small.memory_mb is not None
    assert 30 < small.memory_mb < 2000
    assert (none.file_mb, none.memory_mb) == (None, None)


def test_what_it_is_worth_is_measured_on_data() -> None:
    """Boxes exactly where the truth is; then three pixels beside it, where intervals reach 2.7 spreads."""
    detector = ExportedDetector(Recorded(replace(toy.FINISHED, calibration=calibration(None))))
    detector.ref = detector.thresholds = None
    for moved, coverage in ((0.0, 1.0), (5.3, 1.0), (5.5, 0.5)):  # a spread is 2 pixels across, so 5.4
        data = Found(detector, moved)
        assert isinstance(data, AnnotatedImages)
        (row,) = bench([detector], data, repeats=1).rows
        if not moved:
            assert row.ap == pytest.approx(1)
        assert row.coverage == coverage


def test_it_is_written_and_says_how_it_was_measured(artifacts: Path, tmp_path: Path) -> None:
    found = Detector.from_pretrained(artifacts / "finished.onnx").bench(repeats=1, out=tmp_path / "out")
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"bench.json", "bench.md", "bench.png"}
    values = json.loads((tmp_path / "out/bench.json").read_text())
    assert values["rows"][0]["name"] == "finished.onnx"
    assert {"threads", "warm-up", "repeats", "turns", "load", "machine"} <= {*values["protocol"]}
    text = (tmp_path / "out/bench.md").read_text()
    assert text == f"{found}\n"
    assert "- repeats: 1\n" in text


def test_a_table() -> None:
    time = Time.of([0.001, 0.002, 0.003, 0.004, 0.1])
    assert str(time) == "3.0 (2.0 to 4.0)"
    row = Row(
        "a.onnx", "onnxruntime 1 cpu", "int8", (64, 96), time, time, {1: 333.3, 8: 500}, 0.5, None, 99.6, 1.25
    )
    assert str(Bench((row,), {"repeats": 5})).splitlines()[2:] == [
        "| a.onnx 64x96 | onnxruntime 1 cpu | int8 | 0.500 | – | 3.0 (2.0 to 4.0) | 3.0 (2.0 to 4.0) "
        "| 333.3 by 1, 500.0 by 8 | 100 | 1.2 |",
        "",
        "- repeats: 5",
    ]


def test_two_files_of_one_name_are_told_apart(artifacts: Path) -> None:
    one, other = (Detector.from_pretrained(artifacts / f"raw{suffix}") for suffix in (".onnx", ".xml"))
    assert names_of([one, other]) == ["raw.onnx", "raw.xml"]
    assert names_of([one, other, one]) == [str(one.ref), "raw.xml", str(one.ref)]


def test_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="0 detectors, repeats 20: expected at least one of each"):
        bench([])
    with pytest.raises(ValueError, match="1 detectors, repeats 0: expected at least one of each"):
        bench([ExportedDetector(Recorded(toy.RAW))], repeats=0)
