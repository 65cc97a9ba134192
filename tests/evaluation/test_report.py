import csv
import json
from pathlib import Path

import pytest

from edgewise.evaluation.report import PICTURES, write_evaluation
from edgewise.evaluation.run import evaluate
from tests.evaluation.fakes import FakeDataset, Oracle, detections

DATASET = FakeDataset([[(0, 5, 5, 20, 20), (1, 40, 30, 30, 20)], []])


def test_writes_numbers_and_pictures(tmp_path: Path) -> None:
    evaluation = evaluate(DATASET, Oracle(DATASET))
    for _ in range(2):  # a second time replaces the first
        write_evaluation(DATASET, evaluation, tmp_path / "a/b")
    assert {path.name for path in (tmp_path / "a/b").iterdir()} == {
        "metrics.json",
        "classes.csv",
        "confusion.csv",
        *PICTURES,
    }
    values = json.loads((tmp_path / "a/b/metrics.json").read_text(encoding="utf-8"))
    assert values == evaluation.metrics.to_dict()
    assert values["ap"] == pytest.approx(1)
    with (tmp_path / "a/b/classes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["cat", "dog"]
    for row in rows:
        expected = values["per_class"][row.pop("class")]
        assert {key: float(value) for key, value in row.items()} == pytest.approx(expected)


def test_nothing_found_is_written_too(tmp_path: Path) -> None:
    evaluation = evaluate(DATASET, lambda images: [detections()] * len(images))
    write_evaluation(DATASET, evaluation, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["best_threshold"] is None
    dog = (tmp_path / "classes.csv").read_text(encoding="utf-8").splitlines()[2]
    assert dog == "dog,0.0,0.0,0.0,0.0,1,0.0,,,"
    assert (tmp_path / "worst_images.png").is_file()
