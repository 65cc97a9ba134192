import json
from pathlib import Path

import pytest

from edgewise.evaluation.report import write_evaluation
from edgewise.evaluation.run import evaluate
from tests.evaluation.fakes import FakeDataset, Oracle, detections

DATASET = FakeDataset([[(0, 5, 5, 20, 20), (1, 40, 30, 30, 20)], []])


def test_writes_numbers_and_pictures(tmp_path: Path) -> None:
    evaluation = evaluate(DATASET, Oracle(DATASET))
    for _ in range(2):  # a second time replaces the first
        write_evaluation(DATASET, evaluation, tmp_path / "a/b")
    assert {path.name for path in (tmp_path / "a/b").iterdir()} == {
        "metrics.json",
        "precision_recall.png",
        "f1_threshold.png",
        "worst_images.png",
    }
    values = json.loads((tmp_path / "a/b/metrics.json").read_text(encoding="utf-8"))
    assert values == evaluation.metrics.to_dict()
    assert values["ap"] == pytest.approx(1)


def test_nothing_found_is_written_too(tmp_path: Path) -> None:
    evaluation = evaluate(DATASET, lambda images: [detections()] * len(images))
    write_evaluation(DATASET, evaluation, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["best_threshold"] is None
    assert (tmp_path / "worst_images.png").is_file()
