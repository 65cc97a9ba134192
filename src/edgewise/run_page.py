"""A training run as a page, made from the files in its folder and from nothing else."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from edgewise.evaluation.report import PICTURES
from edgewise.report import Picture, Table, write_report

HEADINGS = {
    "count": "boxes",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ar100": "AR",
    "best_f1": "best F1",
    "best_threshold": "at score",
    "best_precision": "precision",
    "best_recall": "recall",
}


def write_run_page(folder: str | Path) -> Path:
    """Writes report.html into the folder of a finished run and returns its path.

    It shows what is there of `result.json`, the evaluation of its split, `results.png`, `first_batch.png` and
    `settings.yaml`, and can be made again at any time. FileNotFoundError without a `result.json`.
    """
    folder = Path(folder)
    if not (folder / "result.json").is_file():
        raise FileNotFoundError(f"{folder}: no result.json, so no finished run of `edgewise train`")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    split = result["split"]
    metrics = json.loads((folder / split / "metrics.json").read_text(encoding="utf-8"))
    height, width = result["size"]
    return write_report(
        folder,
        f"Run {folder.resolve().name}",
        f"Scored on the {split} split: {metrics['count']:,} boxes in {metrics['num_images']:,} images. "
        f"Made by: {result['command']}",
        {
            "AP": _show(metrics["ap"]),
            "AP50": _show(metrics["ap50"]),
            "best mean F1": f"{_show(metrics['best_f1'])} at score {_show(metrics['best_threshold'])}",
            "duplicates": _percent(metrics["duplicate_rate"]),
            "minutes": str(result["minutes"]),
            "epochs, height x width": f"{result['epochs']}, {height}x{width}",
        },
        _pictures(folder, split),
        [_classes(metrics), _settings(folder)],
    )


def _pictures(folder: Path, split: str) -> list[Picture]:
    shown = {
        "results.png": "The run: losses, validation of the averaged weights, learning rate, speed",
        **{f"{split}/{name}": f"{caption}, {split} split" for name, caption in PICTURES.items()},
        "first_batch.png": "The first batch as the model saw it, with its boxes",
    }
    return [(folder / name, caption) for name, caption in shown.items() if (folder / name).is_file()]


def _classes(metrics: Mapping[str, Any]) -> Table:
    rows = {**metrics["per_class"], "all": metrics}
    return Table(
        "By class; precision and recall are those at the score of the best F1",
        ("class", *HEADINGS.values()),
        [(name, *(_show(one[key]) for key in HEADINGS)) for name, one in rows.items()],
    )


def _settings(folder: Path) -> Table:
    values = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))
    return Table("Settings", ("setting", "value"), [*_flat(values)], folded=True)


def _flat(values: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{section}{key}.")
        else:
            yield f"{section}{key}", str(value)


def _show(value: float | int | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
