"""Honesty as tables, in words and in files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from edgewise.evaluation.calibration.baselines import RAW
from edgewise.evaluation.calibration.crossfit import Claimed
from edgewise.evaluation.calibration.metrics import REPORTED
from edgewise.evaluation.calibration.pairs import Outcome


@dataclass(frozen=True, eq=False)
class Honesty:
    """Whether error bars and scores keep their word: `numbers` (see `honesty.honesty`), what they are of.

    `title` says of which images, and what the error bars were fitted on.
    """

    title: str
    numbers: dict[str, Any]
    outcome: Outcome = field(repr=False)
    said: Claimed = field(repr=False)

    def __str__(self) -> str:
        return f"{self.title}: {in_words(self.numbers)}"

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain JSON values, with a `summary` in words."""
        return {"title": self.title, "summary": in_words(self.numbers), **self.numbers}

    def table(self) -> Table:
        """Coverage and mean width by edge and jointly, for `rich.print`."""
        table = Table(
            title=self.title,
            caption=f"coverage in %, with its 95 % interval over images; mean width in px\n"
            f"scores: D-ECE {_score(self.numbers, 'd_ece')}",
            box=box.SIMPLE_HEAD,
        )
        table.add_column("interval")
        for level in REPORTED:
            table.add_column(f"{level:.0%}", justify="right", no_wrap=True)
        rows = [*self.numbers["edges"].items(), ("joint", self.numbers["joint"])]
        for name, one in rows:
            held = [f"{percent(c['value'])} [dim]{_bounds(c)}[/]" for c, _ in _pairs_of(one)]
            table.add_row(name, *held)
            table.add_row(
                "", *(f"{number(width['value'], 1)} px" for _, width in _pairs_of(one)), style="dim"
            )
        return table

    def write(self, folder: str | Path) -> None:
        """Writes honesty.json, honesty.md and the diagrams of `plots.DIAGRAMS`; the folder is made."""
        from edgewise.evaluation.calibration.plots import write_diagrams

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        (folder / "honesty.json").write_text(text + "\n", encoding="utf-8")
        (folder / "honesty.md").write_text(f"# {self.title}\n\n{markdown(self.numbers)}", encoding="utf-8")
        write_diagrams(self.outcome, self.said, folder)


COLUMNS = {
    "NLL raw": "nll_raw",
    "NLL": "nll",
    "CRPS raw": "crps_raw",
    "CRPS": "crps",
    "ENCE raw": "ence_raw",
    "ENCE": "ence",
    "spread": "sharpness",
    "RMSE": "rmse",
    "ρ": "spearman",
}
RAW_COLUMNS = {
    "NLL": "nll_raw",
    "CRPS": "crps_raw",
    "ENCE": "ence_raw",
    "spread": "sharpness",
    "RMSE": "rmse",
    "ρ": "spearman",
}
SCORE_COLUMNS = {"D-ECE": "d_ece", "LaECE₀": "la_ece", "oLRP": "olrp"}


def in_words(numbers: dict[str, Any]) -> str:
    """«90 % intervals hold 89.9 % of edges (15.2 px), 90.7 % of boxes (27.7 px)»; raw ones are called so."""
    (held, width), (all_held, all_width) = (
        (f"{percent(one['coverage']['90']['value'])} %", f"{number(one['width']['90']['value'], 1)} px")
        for one in (numbers["edges"]["all"], numbers["joint"])
    )
    kind = "raw 90 % intervals" if numbers["own"] == RAW else "90 % intervals"
    return f"{kind} hold {held} of edges ({width}), {all_held} of boxes ({all_width})"


def markdown(numbers: dict[str, Any]) -> str:
    """The tables as Markdown: coverage by edge, distributions, groups, methods, scores."""
    lines = [
        f"{numbers['pairs']} matched detections in {numbers['images']} images; beside them "
        f"{numbers['unmatched_detections']} detections that found nothing, {numbers['missed_boxes']} boxes "
        "that were not found.",
        "",
        *_table(["", *(f"{level:.0%}" for level in REPORTED)], _coverage_rows(numbers)),
        "",
        "Coverage in %, with the 95 % bootstrap interval over images; mean width in pixels.",
        "",
        *_table(
            ["", "pairs", *_columns(numbers), "edges at 90%", "all four at 90%"], _distribution_rows(numbers)
        ),
        "",
        *_table(
            ["90 %", "edges held", "width", "boxes held", "joint width", "joint width where 90 % are held"],
            _method_rows(numbers),
        ),
    ]
    own, scores = numbers["methods"][numbers["own"]], numbers["scores"]
    if "narrower" in own:
        narrower = own["narrower"]
        lines += [
            "",
            f"At equal coverage joint intervals are {percent(narrower['value'])} % narrower "
            f"({percent(narrower['low'])} to {percent(narrower['high'])}) than the best naive ones "
            f"({own['best_naive']}).",
        ]
    lines += [
        "",
        f"Scores: D-ECE {_score(numbers, 'd_ece')}; LaECE₀ {_score(numbers, 'la_ece')}; "
        f"oLRP {number(scores['olrp'], 3)}.",
    ]
    if numbers["layers"]:
        levels = [f"{level:.0%}" for level in REPORTED]
        head = ["layer, raw", "pairs", *levels, "all four at 90%", *RAW_COLUMNS, *SCORE_COLUMNS]
        lines += ["", *_table(head, _layer_rows(numbers)), "", "Coverage of edges at each level in %."]
    return "\n".join(lines) + "\n"


def _coverage_rows(numbers: dict[str, Any]) -> Iterator[list[str]]:
    for name, one in [*numbers["edges"].items(), ("joint", numbers["joint"])]:
        label = {"all": "all edges", "joint": "**all four at once**"}.get(name, name)
        yield [
            label,
            *(f"{_held(c)}; {w['value']:.1f} px" for c, w in _pairs_of(one)),
        ]


def _columns(numbers: dict[str, Any]) -> dict[str, str]:
    """Those of distributions: raw and calibrated beside one another, or raw alone."""
    return RAW_COLUMNS if numbers["own"] == RAW else COLUMNS


def _score(numbers: dict[str, Any], key: str) -> str:
    scores = numbers["scores"]
    bare = f"{number(scores[key + '_raw'], 3)} raw"
    return bare if numbers["own"] == RAW else f"{bare}, {number(scores[key], 3)} calibrated"


def _pairs_of(one: dict[str, Any]) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    return ((one["coverage"][key], one["width"][key]) for key in one["coverage"])


def _held(one: dict[str, float]) -> str:
    return f"{percent(one['value'])} ({_bounds(one)})"


def _bounds(one: dict[str, float]) -> str:
    return f"{percent(one['low'])}–{percent(one['high'])}"


def _distribution_rows(numbers: dict[str, Any]) -> Iterator[list[str]]:
    keys = _columns(numbers).values()
    rows = {name: {"pairs": numbers["pairs"], **one} for name, one in numbers["edges"].items()}
    rows["all"]["joint"] = numbers["joint"]
    for name, one in [*rows.items(), *numbers["sizes"].items(), *numbers["classes"].items()]:
        yield [
            name,
            str(one["pairs"]),
            *(number(one[key], 2) for key in keys),
            _held(one["coverage"]["90"]),
            _held(one["joint"]["coverage"]["90"]) if "joint" in one else "–",
        ]


def _layer_rows(numbers: dict[str, Any]) -> Iterator[list[str]]:
    for name, one in numbers["layers"].items():
        yield [
            name,
            str(one["pairs"]),
            *(percent(held["value"]) for held, _ in _pairs_of(one)),
            percent(one["joint"]["coverage"]["90"]["value"]),
            *(number(one[key], 2) for key in RAW_COLUMNS.values()),
            *(number(one["scores"][key], 3) for key in SCORE_COLUMNS.values()),
        ]


def _method_rows(numbers: dict[str, Any]) -> Iterator[list[str]]:
    for name, one in numbers["methods"].items():
        joint, equal = one["joint_width"], one["equal_coverage_width"]
        yield [
            f"**{name}**" if name == numbers["own"] else name,
            percent(one["edge_coverage"]),
            number(one["edge_width"], 1),
            _held(one["joint_coverage"]),
            number(joint["value"], 1),
            f"{number(equal['value'], 1)} ({number(equal['low'], 1)}–{number(equal['high'], 1)})",
        ]


def _table(head: list[str], rows: Iterator[list[str]]) -> list[str]:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def percent(value: float | None) -> str:
    """Of a share; a dash where undefined."""
    return "–" if value is None else f"{100 * value:.1f}"


def number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
