"""Are error bars honest on images they were not fitted to, and narrower than naive ones?

    python benchmarks/calibration.py bccd ../shared/data/bccd runs/bccd-0/best.safetensors runs/bccd-1/…
    python benchmarks/calibration.py aquarium ../shared/data/aquarium --halve val runs/aquarium-0/…

One checkpoint a seed of training. Fitted on the images of `--fit` and reported on those of `--report`, or on
one half of `--halve` and reported on the other (drawn by seed 0). Writes results/calibration/NAME beside this
file: README.md (means over the checkpoints), result.json, and for each checkpoint honesty.json, honesty.md
and diagrams. Coverage has its 95 % interval by bootstrap over the reporting images, the same draws for all
checkpoints.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from datetime import date
from functools import partial
from math import erf, sqrt
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from edgewise.api import Detector
from edgewise.calibration import Source
from edgewise.data.dataset import Dataset
from edgewise.data.open import open_dataset
from edgewise.evaluation.calibration import metrics as m
from edgewise.evaluation.calibration.baselines import CURVE, NAIVE
from edgewise.evaluation.calibration.crossfit import OURS
from edgewise.evaluation.calibration.fit import check_enough
from edgewise.evaluation.calibration.honesty import EDGES, joint_rows, width_at
from edgewise.evaluation.calibration.pairs import Outcome, collect
from edgewise.evaluation.calibration.plots import DIAGRAMS
from edgewise.evaluation.calibration.report import Honesty
from edgewise.evaluation.calibration.run import compared
from edgewise.sample import Sample

RESULTS = Path(__file__).parent / "results/calibration"
LEVEL = 0.9  # of the joint intervals
COLUMNS = {
    "edge_coverage": "edges held, %",
    "edge_width": "width, px",
    "joint_coverage": "boxes held, %",
    "joint_width": "joint width, px",
    "equal_coverage_width": "where 90 % are held, px",
}


class Part:
    """Some images of a data set."""

    def __init__(self, whole: Dataset, indices: np.ndarray) -> None:
        self._whole, self._indices = whole, indices.tolist()
        self.class_names, self.category_ids = whole.class_names, whole.category_ids
        self.annotations = whole.annotations
        self.image_ids = tuple(whole.image_ids[i] for i in self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._whole[self._indices[index]]


def measure(
    name: str,
    data: Path,
    *checkpoints: Path,
    fit: str = "val",
    report: str = "test",
    halve: str | None = None,
    out: Path | None = None,
) -> None:
    """Fits and reports for each checkpoint, and writes the means over them."""
    if not checkpoints:
        raise SystemExit("name at least one checkpoint")
    folder = out or RESULTS / name
    fitting: Dataset | Part
    reporting: Dataset | Part
    if halve:
        whole = open_dataset(data, halve)
        order = np.random.default_rng(0).permutation(len(whole))
        fitting, reporting = (Part(whole, np.sort(part)) for part in np.array_split(order, 2))
        parts = (f"half of {halve}", f"the other half of {halve}")
    else:
        fitting, reporting = (open_dataset(data, split) for split in (fit, report))
        parts = (fit, report)

    found, fitted = [], []
    for number, path in enumerate(checkpoints):
        detector = Detector.from_pretrained(path)
        first, second = (outcome(detector, part) for part in (fitting, reporting))
        check_enough(first.pairs, parts[0])
        images, pairs = first.pairs.num_images, len(first.pairs)
        today = date.today().isoformat()
        source = Source(data="", split=parts[0], date=today, images=images, pairs=pairs, threshold=0.0)
        fitted.append(pairs)
        found.append(compared(first, second, source, reporting.class_names))
        found[-1].write(folder / f"seed_{number}")
        print(found[-1])
    numbers = summary(found) | {"fitting_pairs": fitted}
    (folder / "result.json").write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n")
    text = "\n".join(page(name, numbers, parts, len(found))) + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


def outcome(detector: Detector, dataset: Dataset | Part) -> Outcome:
    """What the detector does without calibration; pairs from its own thresholds on, or from 0.5."""
    bare = detector.uncalibrated()
    predict = partial(bare.predictor().predict_arrays, edges=True)
    return collect(dataset, predict, bare.enough(dataset), progress=True)


def summary(found: list[Honesty]) -> dict[str, Any]:
    """Means over the checkpoints, with the bootstrap interval of the mean."""
    coverage = {}
    for name in (*EDGES, "joint"):
        for level in m.LEVELS:
            rows = [held(one, name)[CURVE.index(level)] for one in found]
            coverage[f"{name} {level:.0%}"] = bounded(
                np.mean([row.mean() for row in rows]),
                np.mean([draws_of(one, row[:, None])[:, 0] for one, row in zip(found, rows, strict=True)], 0),
                level,
            )
    methods = {
        name: {
            key: float(np.mean([value(one.numbers["methods"][name][key]) for one in found]))
            for key in (
                "edge_coverage",
                "edge_width",
                "joint_coverage",
                "joint_width",
                "equal_coverage_width",
            )
        }
        for name in found[0].said.claims
    }
    drawn = {name: np.mean([widths(one, name) for one in found], 0) for name in (OURS, *NAIVE)}
    best = min(NAIVE, key=lambda name: methods[name]["equal_coverage_width"])
    ours = methods[OURS]["equal_coverage_width"]
    return {
        "coverage": coverage,
        "methods": methods,
        "narrower": bounded(
            1 - ours / methods[best]["equal_coverage_width"], 1 - drawn[OURS] / drawn[best], None
        )
        | {"than": best},
        "pairs": [len(one.outcome.pairs) for one in found],
        "images": found[0].outcome.pairs.num_images,
        "unmatched_detections": [one.outcome.pairs.unmatched for one in found],
        "missed_boxes": [one.outcome.pairs.missed for one in found],
        "scores": {
            key: float(np.mean([one.numbers["scores"][key] for one in found]))
            for key in found[0].numbers["scores"]
        },
    }


def held(one: Honesty, name: str) -> np.ndarray:
    """[L, M]: whether an edge, or all four, lie in their intervals."""
    pairs, claims = one.outcome.pairs, one.said.claims[OURS]
    if name == "joint":
        return joint_rows(pairs, claims)[0]
    return m.inside(pairs.true_xyxy, claims.low, claims.high)[..., EDGES.index(name)].astype(np.float64)


def draws_of(one: Honesty, columns: np.ndarray) -> np.ndarray:
    """Means of the columns [M, k] over the bootstrap: the same images for all checkpoints."""
    pairs = one.outcome.pairs
    return m.bootstrap_means(columns, pairs.image, pairs.num_images)


def widths(one: Honesty, name: str) -> np.ndarray:
    """Of each draw, the mean joint width at which LEVEL of the boxes are held."""
    inside, width = joint_rows(one.outcome.pairs, one.said.claims[name])
    draws = draws_of(one, np.concatenate([inside, width]).T)
    return np.array([width_at(LEVEL, row[: len(CURVE)], row[len(CURVE) :]) for row in draws])


def bounded(mean: float, draws: np.ndarray, level: float | None) -> dict[str, Any]:
    low, high = (float(end) for end in m.interval95(draws))
    within = {} if level is None else {"level": level, "within": bool(low <= level <= high)}
    return {"value": float(mean), "low": low, "high": high, **within}


def value(number: Any) -> float:
    return float(number["value"] if isinstance(number, dict) else number)


def page(name: str, numbers: dict[str, Any], parts: tuple[str, str], seeds: int) -> Iterator[str]:
    """README.md of the results, line by line."""
    counts = {
        key: ", ".join(map(str, numbers[key])) for key in ("pairs", "unmatched_detections", "missed_boxes")
    }
    command = shlex.join(["python", "benchmarks/calibration.py", *sys.argv[1:]])
    yield from (f"# Error bars on {name}", "", "```bash", command, "```", "")
    yield (
        f"Fitted on {parts[0]}, reported on {parts[1]}: {numbers['images']} images, {counts['pairs']} "
        "matched detections (same class, IoU at least 0.5, score above the stored threshold); beside them "
        f"{counts['unmatched_detections']} detections that found nothing and {counts['missed_boxes']} boxes "
        f"that were not found. Means over {seeds} checkpoint{'s'[: seeds > 1]}; in brackets 95 % of the "
        "bootstrap over images."
    )
    yield from coverage_lines(numbers)
    yield from width_lines(numbers)
    scores = numbers["scores"]
    yield (
        f"Scores: D-ECE {scores['d_ece_raw']:.3f} raw, {scores['d_ece']:.3f} calibrated; LaECE₀ "
        f"{scores['la_ece_raw']:.3f} and {scores['la_ece']:.3f}; oLRP {scores['olrp']:.3f}."
    )
    each = ", ".join(f"[seed_{i}](seed_{i}/honesty.md)" for i in range(seeds))
    yield from ("", f"Tables and diagrams of each checkpoint: {each}.", "")
    yield from (f"![{shown}](seed_0/{picture})" for picture, shown in DIAGRAMS.items())


def coverage_lines(numbers: dict[str, Any]) -> Iterator[str]:
    """The table, how many levels lie in their intervals, and how many would if all were in order.

    The interval knows of the reporting images alone, while the margins are a draw of the fitting images:
    their difference has the variance of both.
    """
    coverage, ratio = numbers["coverage"], np.mean(numbers["pairs"]) / np.mean(numbers["fitting_pairs"])
    chance = erf(1.96 / sqrt(1 + ratio) / sqrt(2))
    yield from ("", "## Coverage", "", "| claimed | " + " | ".join((*EDGES, "all four")) + " |")
    yield "| --- |" + " ---: |" * 5
    for level in m.LEVELS:
        cells = [coverage[f"{edge} {level:.0%}"] for edge in (*EDGES, "joint")]
        yield f"| {level:.0%} | " + " | ".join(map(covered, cells)) + " |"
    counted = {key: one for key, one in coverage.items() if "joint" not in key or "90" in key}
    beside = [key for key, one in counted.items() if not one["within"]]
    count, within = len(counted), len(counted) - len(beside)
    yield from (
        "",
        f"The claimed level lies in the interval for {within} of {count} (each edge at four levels, all four "
        f"edges at 90 %){'; not for ' if beside else ''}{', '.join(beside)}. The interval knows of the "
        f"reporting images alone; as the fitting images are a draw too, {chance * count:.1f} would be "
        "expected of a calibration without fault.",
    )


def width_lines(numbers: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Width", "", "| at 90 % | " + " | ".join(COLUMNS.values()) + " |")
    yield "| --- |" + " ---: |" * 5
    for method, one in numbers["methods"].items():
        cells = (100 * one[key] if key[-8:] == "coverage" else one[key] for key in COLUMNS)
        yield f"| {method} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |"
    narrower = numbers["narrower"]
    value, low, high = (100 * narrower[key] for key in ("value", "low", "high"))
    yield from (
        "",
        f"Where both hold 90 % of the boxes, calibrated joint intervals are {value:.1f} % narrower "
        f"({low:.1f} to {high:.1f}) than the best naive ones: {narrower['than']}.",
        "",
    )


def covered(one: dict[str, Any]) -> str:
    mark = "" if one["within"] else " !"
    return f"{100 * one['value']:.1f} ({100 * one['low']:.1f}–{100 * one['high']:.1f}){mark}"


if __name__ == "__main__":
    cyclopts.run(measure)
