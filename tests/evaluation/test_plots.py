import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.evaluation.coco import Metrics, coco_metrics
from edgewise.evaluation.plots import NAMED, f1_threshold_plot, precision_recall_plot
from tests.evaluation.cases import random_case


def metrics_of(num_classes: int) -> Metrics:
    box = [10.0, 10.0, 20.0, 20.0]
    return coco_metrics(
        {
            "images": [{"id": 0}, {"id": 1}],
            "annotations": [
                {"image_id": image, "category_id": label, "bbox": box}
                for image in range(2)
                for label in range(num_classes)
            ],
            "categories": [{"id": label, "name": f"class {label}"} for label in range(num_classes)],
        },
        [
            {"image_id": 0, "category_id": label, "bbox": box, "score": (label + 1) / (num_classes + 1)}
            for label in range(num_classes)
        ],
    )


@pytest.mark.parametrize("plot", [precision_recall_plot, f1_threshold_plot])
@pytest.mark.parametrize(
    "metrics",
    [
        metrics_of(3),
        metrics_of(NAMED + 1),
        coco_metrics(*random_case(1)),
        coco_metrics({"images": [], "annotations": [], "categories": []}, []),
    ],
    ids=["few", "many", "random", "none"],
)
def test_draws_a_picture(plot: Callable[[Metrics, Path], None], metrics: Metrics, tmp_path: Path) -> None:
    plot(metrics, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.size == (960, 600)
        assert np.asarray(picture.convert("L")).std() > 5


def test_leaves_pyplot_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    f1_threshold_plot(metrics_of(2), tmp_path / "plot.svg")
    assert "matplotlib.pyplot" not in sys.modules
    text = (tmp_path / "plot.svg").read_text()
    assert text.startswith("<?xml")
