"""Honesty as tables, in words and in files."""

from collections.abc import Iterator
from typing import Any

from edgewise.evaluation.calibration.crossfit import OURS
from edgewise.evaluation.calibration.metrics import LEVELS


def in_words(numbers: dict[str, Any]) -> str:
    """«90 % intervals hold 89.9 % of edges (15.2 px wide), and all four of 90.7 % of boxes (27.7 px)»."""
    (held, width), (all_held, all_width) = (
        (f"{_percent(one['coverage']['90']['value'])} %", f"{_number(one['width']['90']['value'], 1)} px")
        for one in (numbers["edges"]["all"], numbers["joint"])
    )
    return f"90 % intervals hold {held} of edges ({width} wide), and all four of {all_held} of boxes ({all_width})"


def markdown(numbers: dict[str, Any]) -> str:
    """The tables as Markdown: coverage by edge, distributions, groups, methods, scores."""
    lines = [
        f"{numbers['pairs']} matched detections in {numbers['images']} images; beside them "
        f"{numbers['unmatched_detections']} detections that found nothing, {numbers['missed_boxes']} boxes "
        "that were not found.",
        "",
        *_table(["", *(f"{level:.0%}" for level in LEVELS)], _coverage_rows(numbers)),
        "",
        "Coverage in %, with the 95 % bootstrap interval over images; mean width in pixels.",
        "",
        *_table(
            ["", "pairs", "NLL raw", "NLL", "CRPS raw", "CRPS", "ENCE raw", "ENCE", "spread", "RMSE", "ρ"],
            _distribution_rows(numbers),
        ),
        "",
        *_table(
            ["90 %", "edges held", "width", "boxes held", "joint width", "joint width where 90 % are held"],
            _method_rows(numbers),
        ),
    ]
    ours, scores = numbers["methods"][OURS], numbers["scores"]
    if "narrower" in ours:
        narrower = ours["narrower"]
        lines += [
            "",
            f"At equal coverage our joint intervals are {_percent(narrower['value'])} % narrower "
            f"({_percent(narrower['low'])} to {_percent(narrower['high'])}) than the best naive ones "
            f"({ours['best_naive']}).",
        ]
    lines += [
        "",
        f"Scores: D-ECE {_number(scores['d_ece_raw'], 3)} raw, {_number(scores['d_ece'], 3)} calibrated; "
        f"LaECE₀ {_number(scores['la_ece_raw'], 3)} raw, {_number(scores['la_ece'], 3)} calibrated; "
        f"oLRP {_number(scores['olrp'], 3)}.",
    ]
    return "\n".join(lines) + "\n"


def _coverage_rows(numbers: dict[str, Any]) -> Iterator[list[str]]:
    for name, one in [*numbers["edges"].items(), ("joint", numbers["joint"])]:
        label = {"all": "all edges", "joint": "**all four at once**"}.get(name, name)
        yield [
            label,
            *(f"{_held(c)}; {w['value']:.1f} px" for c, w in _pairs_of(one)),
        ]


def _pairs_of(one: dict[str, Any]) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    return ((one["coverage"][key], one["width"][key]) for key in one["coverage"])


def _held(one: dict[str, float]) -> str:
    return f"{_percent(one['value'])} ({_percent(one['low'])}–{_percent(one['high'])})"


def _distribution_rows(numbers: dict[str, Any]) -> Iterator[list[str]]:
    keys = ("nll_raw", "nll", "crps_raw", "crps", "ence_raw", "ence", "sharpness", "rmse", "spearman")
    total = numbers["pairs"]
    rows = {name: one | {"pairs": total} for name, one in numbers["edges"].items()}
    for name, one in [*rows.items(), *numbers["sizes"].items(), *numbers["classes"].items()]:
        yield [name, str(one["pairs"]), *(_number(one[key], 2) for key in keys)]


def _method_rows(numbers: dict[str, Any]) -> Iterator[list[str]]:
    for name, one in numbers["methods"].items():
        joint, equal = one["joint_width"], one["equal_coverage_width"]
        yield [
            f"**{name}**" if name == OURS else name,
            _percent(one["edge_coverage"]),
            _number(one["edge_width"], 1),
            _held(one["joint_coverage"]),
            _number(joint["value"], 1),
            f"{_number(equal['value'], 1)} ({_number(equal['low'], 1)}–{_number(equal['high'], 1)})",
        ]


def _table(head: list[str], rows: Iterator[list[str]]) -> list[str]:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
