"""An evaluation as files: numbers, curves and the worst images."""

import json
from pathlib import Path

from edgewise.evaluation.gallery import worst_gallery
from edgewise.evaluation.plots import f1_threshold_plot, precision_recall_plot
from edgewise.evaluation.run import AnnotatedImages, Evaluation


def write_evaluation(dataset: AnnotatedImages, found: Evaluation, folder: str | Path) -> None:
    """Writes metrics.json, precision_recall.png, f1.png and worst.jpg into `folder`."""
    folder, metrics = Path(folder), found.metrics
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics.to_dict(), indent=2) + "\n", encoding="utf-8")
    precision_recall_plot(metrics, folder / "precision_recall.png")
    f1_threshold_plot(metrics, folder / "f1.png")
    threshold = metrics.best_threshold if metrics.best_f1 > 0 else 0.5
    worst_gallery(dataset, found.detections, folder / "worst.jpg", threshold=threshold)
