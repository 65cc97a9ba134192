"""An evaluation as files: numbers, curves, and the images worth looking at."""

import json
from math import isnan
from pathlib import Path

from edgewise.evaluation.gallery import worst_gallery
from edgewise.evaluation.plots import f1_threshold_plot, precision_recall_plot
from edgewise.evaluation.run import AnnotatedImages, Evaluation


def write_evaluation(dataset: AnnotatedImages, evaluation: Evaluation, folder: str | Path) -> None:
    """Writes metrics.json, precision_recall.png, f1_threshold.png and worst_images.png.

    The folder is made if need be, older files of these names are replaced. The worst images are those at
    the score threshold with the best mean F1, at 0.5 where there is none.
    """
    folder, metrics = Path(folder), evaluation.metrics
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(metrics.to_dict(), indent=2, ensure_ascii=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    precision_recall_plot(metrics, folder / "precision_recall.png")
    f1_threshold_plot(metrics, folder / "f1_threshold.png")
    threshold = 0.5 if isnan(metrics.best_threshold) else metrics.best_threshold
    worst_gallery(dataset, evaluation.detections, folder / "worst_images.png", threshold=threshold)
