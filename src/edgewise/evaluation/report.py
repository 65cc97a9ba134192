"""An evaluation as files: numbers, curves, and the images worth looking at."""

import csv
import json
from math import isnan
from pathlib import Path

from edgewise.evaluation.coco import CLASS_COLUMNS, Metrics
from edgewise.evaluation.confusion import confusion, confusion_plot, write_confusion
from edgewise.evaluation.errors import image_errors
from edgewise.evaluation.gallery import worst_gallery
from edgewise.evaluation.plots import f1_threshold_plot, precision_recall_plot
from edgewise.evaluation.run import AnnotatedImages, Evaluation

PICTURES = {
    "precision_recall.png": "Precision and recall of each class at IoU 0.5",
    "f1_threshold.png": "F1 of each class over the score threshold",
    "confusion.png": "What the boxes of each class were found as",
    "worst_images.png": "The images with the most errors",
}
"""File → what it shows."""


def write_evaluation(dataset: AnnotatedImages, evaluation: Evaluation, folder: str | Path) -> None:
    """Writes metrics.json, classes.csv, confusion.csv and the pictures of `PICTURES`.

    The folder is made if need be, older files of these names are replaced. Confusion and worst images are
    those at the score threshold with the best mean F1, at 0.5 where there is none.
    """
    folder, metrics = Path(folder), evaluation.metrics
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(metrics.to_dict(), indent=2, ensure_ascii=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    write_classes(metrics, folder / "classes.csv")
    precision_recall_plot(metrics, folder / "precision_recall.png")
    f1_threshold_plot(metrics, folder / "f1_threshold.png")
    threshold = 0.5 if isnan(metrics.best_threshold) else metrics.best_threshold
    errors = image_errors(dataset, evaluation.detections, threshold)
    matrix = confusion(errors, dataset.class_names, threshold)
    write_confusion(matrix, folder / "confusion.csv")
    confusion_plot(matrix, folder / "confusion.png")
    worst_gallery(dataset, errors, folder / "worst_images.png", threshold)


def write_classes(metrics: Metrics, path: str | Path) -> None:
    """Writes `per_class` of `Metrics.to_dict` as CSV, a row a class; empty where undefined."""
    rows = [{"class": name, **numbers} for name, numbers in metrics.to_dict()["per_class"].items()]
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["class", *CLASS_COLUMNS])
        writer.writeheader()
        writer.writerows(rows)
