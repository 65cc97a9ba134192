"""The page of a run, made from its files."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgewise.config import TrainConfig, write_settings
from edgewise.evaluation.report import PICTURES, write_evaluation
from edgewise.evaluation.run import evaluate
from edgewise.run_page import write_run_page
from tests.evaluation.fakes import FakeDataset, Oracle
from tests.test_report import Page

RESULT: dict[str, Any] = {
    "ap": 1.0, "ap50": 1.0, "split": "test", "minutes": 12.3, "epochs": 5, "size": [320, 416],
    "command": "edgewise train 'my data'",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dataset = FakeDataset([[(0, 5, 5, 20, 20)], []])
    write_evaluation(dataset, evaluate(dataset, Oracle(dataset)), tmp_path / "test")
    write_settings(TrainConfig(), tmp_path / "settings.yaml")
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    return tmp_path


def test_a_page_shows_what_is_there(folder: Path) -> None:
    Image.new("RGB", (40, 10)).save(folder / "results.png")
    page = Page(write_run_page(folder).read_text(encoding="utf-8"))
    assert [one["src"] for one in page.of("img")] == ["results.png", *(f"test/{name}" for name in PICTURES)]
    for text in (
        f"Run {folder.name}",
        "Scored on the test split: 1 boxes in 2 images. Made by: edgewise train 'my data'",
        "1.000",
        "0.0%",
        "12.3",
        "5, 320x416",
        "dog",
        "schedule.epochs",
        "72",
    ):
        assert text in page.texts
    Image.new("RGB", (10, 10)).save(folder / "first_batch.png")
    assert "first_batch.png" in write_run_page(folder).read_text(encoding="utf-8")


def test_a_folder_without_a_result_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no result.json, so no finished run of `edgewise train`"):
        write_run_page(tmp_path)
