"""Are error bars honest on images they were not fitted to, and narrower than naive ones?

    python benchmarks/calibration.py bccd ../shared/data/bccd runs/bccd-0/best.safetensors runs/bccd-1/…
    python benchmarks/calibration.py aquarium ../shared/data/aquarium runs/aquarium-0/… --halve val

One checkpoint a seed of training. Fitted on the images of `--fit` and reported on those of `--report`, or on
one half of `--halve` and reported on the other (drawn by seed 0). Writes results/calibration/NAME beside this
file: README.md and result.json with each checkpoint and the mean over them, and for each checkpoint its
honesty.json, honesty.md and diagrams. Intervals are 95 % of the bootstrap over the reporting images, the same
draws for all checkpoints.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from math import erf, sqrt
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from edgewise.api import Detector
from edgewise.calibration import Source
from edgewise.data.open import open_dataset
from edgewise.edges import EDGES
from edgewise.evaluation.calibration import metrics as m
from edgewise.evaluation.calibration.baselines import CURVE, NAIVE
from edgewise.evaluation.calibration.crossfit import OURS
from edgewise.evaluation.calibration.fit import check_enough
from edgewise.evaluation.calibration.honesty import joint_rows, width_at, with_bounds
from edgewise.evaluation.calibration.pairs import LayerWatch
from edgewise.evaluation.calibration.plots import DIAGRAMS
from edgewise.evaluation.calibration.report import Honesty, number, percent
from edgewise.evaluation.calibration.run import compared
from edgewise.evaluation.run import AnnotatedImages, Part, evaluate

RESULTS = Path(__file__).parent / "results/calibration"
COVERED = (*EDGES, "all four")
WIDTHS = (0.8, 0.9, 0.95)  # held jointly by all methods alike, where widths are compared
COLUMNS = {
    "edge_coverage": "edges held, %",
    "edge_width": "width, px",
    "joint_coverage": "boxes held, %",
    "joint_width": "joint width, px",
    "equal_coverage_width": "where 90 % are held, px",
}


@dataclass(frozen=True)
class Found:
    """Of one checkpoint: its AP on the reporting images, the pairs it was fitted to, and its honesty."""

    ap: float
    fitting_pairs: int
    honesty: Honesty


def measure(
    name: str,
    data: Path,
    *checkpoints: Path,
    fit: str = "val",
    report: str = "test",
    halve: str | None = None,
    out: Path | None = None,
) -> None:
    """Fits and reports for each checkpoint, and writes all of them with their mean."""
    if not checkpoints:
        raise SystemExit("name at least one checkpoint")
    folder = out or RESULTS / name
    fitting: AnnotatedImages
    reporting: AnnotatedImages
    if halve:
        whole = open_dataset(data, halve)
        order = np.random.default_rng(0).permutation(len(whole))
        fitting, reporting = (Part(whole, np.sort(part).tolist()) for part in np.array_split(order, 2))
        parts = (f"half of {halve}", f"the other half of {halve}")
    else:
        fitting, reporting = (open_dataset(data, split) for split in (fit, report))
        parts = (fit, report)
    found = [of_checkpoint(path, fitting, reporting, parts[0]) for path in checkpoints]
    for seed, one in enumerate(found):
        one.honesty.write(folder / f"seed_{seed}")
    numbers = summary(found)
    result = json.dumps(numbers, indent=2, ensure_ascii=False) + "\n"
    (folder / "result.json").write_text(result, encoding="utf-8")
    text = "\n".join(page(name, numbers, parts)) + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


def of_checkpoint(path: Path, fitting: AnnotatedImages, reporting: AnnotatedImages, split: str) -> Found:
    """Without the calibration it may have; pairs from its own thresholds on, or from 0.5."""
    bare = Detector.from_pretrained(path).uncalibrated()

    def seen(dataset: AnnotatedImages) -> tuple[LayerWatch, float]:
        enough = bare.enough(dataset)
        watch = LayerWatch(dataset, bare.predictor().predict_layers, enough, enough)
        return watch, evaluate(dataset, watch.predict, watch=watch.add, progress=True).metrics.ap

    (first, _), (second, ap) = seen(fitting), seen(reporting)
    pairs = first.outcome().pairs
    check_enough(pairs, split)
    source = Source(
        data="",
        split=split,
        date=date.today().isoformat(),
        images=pairs.num_images,
        pairs=len(pairs),
        threshold=0.0,
    )
    honesty = compared(first.outcome(), second.outcome(), second.before(), source, reporting.class_names)
    return Found(ap, len(pairs), honesty)


# ── numbers ────────────────────────────────────────────────────────────────────────────────────────────


def summary(found: list[Found]) -> dict[str, Any]:
    """By checkpoint and their mean: coverage, and how much narrower than naive; means of all else."""
    honesties = [one.honesty for one in found]
    drawn = [coverage(one) for one in honesties]
    names = list(drawn[0])
    coverages = {name: {**each([one[name] for one in drawn]), "level": level_of(name)} for name in names}
    for one in coverages.values():
        joined = one["mean"]
        joined["within"] = bool(joined["low"] <= one["level"] <= joined["high"])
    methods = {
        name: {key: mean([value(one.numbers["methods"][name][key]) for one in honesties]) for key in COLUMNS}
        for name in honesties[0].said.claims
    }
    pairs = [one.outcome.pairs for one in honesties]
    return {
        "ap": [one.ap for one in found],
        "fitting_pairs": [one.fitting_pairs for one in found],
        "pairs": [len(one) for one in pairs],
        "images": pairs[0].num_images,
        "unmatched_detections": [one.unmatched for one in pairs],
        "missed_boxes": [one.missed for one in pairs],
        "coverage": coverages,
        "methods": methods,
        "narrower": {f"{level:.0%}": narrower(honesties, level) for level in WIDTHS},
        "scores": {
            key: mean([one.numbers["scores"][key] for one in honesties])
            for key in honesties[0].numbers["scores"]
        },
    }


Drawn = tuple[float, np.ndarray]  # a number, and the same of each bootstrap draw


def coverage(one: Honesty) -> dict[str, Drawn]:
    """Of «left 50%», … «all four 95%»: the share of edges, or boxes, inside their intervals."""
    pairs, claims = one.outcome.pairs, one.said.claims[OURS]
    edges = m.inside(pairs.true_xyxy, claims.low, claims.high)  # [L, M, 4]
    held = np.concatenate([edges, joint_rows(pairs, claims)[0][..., None]], -1)
    place = [CURVE.index(level) for level in m.REPORTED]
    columns = held[place].transpose(1, 2, 0).reshape(len(pairs), -1)  # [M, edge by level]
    draws = m.bootstrap_means(columns, pairs.image, pairs.num_images)
    names = [f"{edge} {level:.0%}" for edge in COVERED for level in m.REPORTED]
    return dict(zip(names, zip(columns.mean(0).tolist(), draws.T, strict=True), strict=True))


def level_of(name: str) -> float:
    return float(name.split()[-1].rstrip("%")) / 100


def narrower(found: list[Honesty], level: float) -> dict[str, Any]:
    """By what share calibrated joint intervals are, where both hold `level`, than the best naive ones."""
    widths = {name: [width(one, name, level) for one in found] for name in (OURS, *NAIVE)}
    best = min(NAIVE, key=lambda name: np.mean([one for one, _ in widths[name]]))
    shares = [
        (1 - own / other, 1 - own_draws / other_draws)
        for (own, own_draws), (other, other_draws) in zip(widths[OURS], widths[best], strict=True)
    ]
    return {"than": best, **each(shares)}


def width(one: Honesty, name: str, level: float) -> Drawn:
    """The mean joint width at which `level` of the boxes are held."""
    pairs = one.outcome.pairs
    columns = np.concatenate(joint_rows(pairs, one.said.claims[name])).T
    draws = m.bootstrap_means(columns, pairs.image, pairs.num_images)
    count = len(CURVE)

    def at(row: np.ndarray) -> float:
        return width_at(level, row[:count], row[count:])

    return at(columns.mean(0)), np.array([at(row) for row in draws])


def each(found: list[Drawn]) -> dict[str, Any]:
    """Those of the checkpoints, and their mean, with intervals."""
    joined = (float(np.mean([one for one, _ in found])), np.mean([draws for _, draws in found], 0))
    return {"seeds": [with_bounds(*one) for one in found], "mean": with_bounds(*joined)}


def value(number: dict[str, float | None] | float | None) -> float | None:
    return number["value"] if isinstance(number, dict) else number


def mean(numbers: list[float | None]) -> float | None:
    """None where one is not defined: intervals that hold 90 % at none of their levels, say."""
    defined = [one for one in numbers if one is not None]
    return float(np.mean(defined)) if len(defined) == len(numbers) else None


# ── words ──────────────────────────────────────────────────────────────────────────────────────────────


def page(name: str, numbers: dict[str, Any], parts: tuple[str, str]) -> Iterator[str]:
    """README.md of the results, line by line."""
    seeds = len(numbers["ap"])
    counts = {
        key: ", ".join(map(str, numbers[key])) for key in ("pairs", "unmatched_detections", "missed_boxes")
    }
    command = shlex.join(["python", "benchmarks/calibration.py", *sys.argv[1:]])
    yield from (f"# Error bars on {name}", "", "```bash", command, "```", "")
    yield (
        f"Fitted on {parts[0]}, reported on {parts[1]}: {numbers['images']} images, {counts['pairs']} "
        "matched detections (same class, IoU at least 0.5, greedy by score, score above the stored "
        f"threshold); beside them {counts['unmatched_detections']} detections that found nothing and "
        f"{counts['missed_boxes']} boxes that were not found. {seeds} checkpoint{'s'[: seeds > 1]}, one a "
        f"seed of training: AP {', '.join(f'{ap:.3f}' for ap in numbers['ap'])}. In brackets 95 % of the "
        "bootstrap over images."
    )
    yield from coverage_lines(numbers)
    yield from width_lines(numbers)
    scores = {key: number(one, 3) for key, one in numbers["scores"].items()}
    yield (
        f"Scores: D-ECE {scores['d_ece_raw']} raw, {scores['d_ece']} calibrated; LaECE₀ "
        f"{scores['la_ece_raw']} and {scores['la_ece']}; oLRP {scores['olrp']}."
    )
    links = ", ".join(f"[seed {i}](seed_{i}/honesty.md)" for i in range(seeds))
    yield from ("", f"By edge, layer, size and class, with NLL, CRPS and ENCE: {links}.", "")
    yield from (f"![{shown}](seed_0/{picture})" for picture, shown in DIAGRAMS.items())


def rows(one: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each checkpoint and the mean, if there are several."""
    if len(one["seeds"]) == 1:
        return [("seed 0", one["mean"])]
    return [*((f"seed {i}", seed) for i, seed in enumerate(one["seeds"])), ("**mean**", one["mean"])]


def coverage_lines(numbers: dict[str, Any]) -> Iterator[str]:
    """The table, how many levels lie in their intervals, and how many would if all were in order.

    The interval knows of the reporting images alone, while the margins are a draw of the fitting images:
    their difference has the variance of both.
    """
    coverage, ratio = numbers["coverage"], np.mean(numbers["pairs"]) / np.mean(numbers["fitting_pairs"])
    chance = erf(1.96 / sqrt(1 + ratio) / sqrt(2))
    yield from (
        "",
        "## Coverage",
        "",
        f"| claimed |  | {' | '.join(COVERED)} |",
        "| --- | --- |" + " ---: |" * 5,
    )
    for level in m.REPORTED:
        columns = [rows(coverage[f"{edge} {level:.0%}"]) for edge in COVERED]
        for cells in zip(*columns, strict=True):
            yield f"| {level:.0%} | {cells[0][0]} | " + " | ".join(covered(one) for _, one in cells) + " |"
    counted = {key: one for key, one in coverage.items() if "all four" not in key or "90" in key}
    beside = [key for key, one in counted.items() if not one["mean"]["within"]]
    count, within = len(counted), len(counted) - len(beside)
    yield from (
        "",
        f"The claimed level lies in the interval of the mean for {within} of {count} (each edge at four "
        f"levels, all four edges at 90 %){'; not for ' if beside else ''}{', '.join(beside)}. The interval "
        f"knows of the reporting images alone; as the fitting images are a draw too, {chance * count:.1f} "
        "would be expected of a calibration without fault.",
    )


def covered(one: dict[str, Any]) -> str:
    mark = "" if one.get("within", True) else " !"
    return f"{percent(one['value'])} ({percent(one['low'])}–{percent(one['high'])}){mark}"


def width_lines(numbers: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Width", "", "| at 90 % | " + " | ".join(COLUMNS.values()) + " |")
    yield "| --- |" + " ---: |" * 5
    for method, one in numbers["methods"].items():
        cells = (percent(one[key]) if key[-8:] == "coverage" else number(one[key], 1) for key in COLUMNS)
        yield f"| {method} | " + " | ".join(cells) + " |"
    narrower = numbers["narrower"]
    yield from (
        "",
        "By how many percent calibrated joint intervals are narrower than the best naive ones, where both "
        "hold as many boxes (the aim is 20):",
        "",
        "|  | " + " | ".join(f"{level}, than {one['than']}" for level, one in narrower.items()) + " |",
        "| --- |" + " ---: |" * len(narrower),
    )
    for cells in zip(*(rows(one) for one in narrower.values()), strict=True):
        yield f"| {cells[0][0]} | " + " | ".join(covered(one) for _, one in cells) + " |"
    yield ""


if __name__ == "__main__":
    cyclopts.run(measure)
