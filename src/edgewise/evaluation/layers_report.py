"""A profile of the decoder as a table, as JSON, as a page and as a picture."""

import json
from collections.abc import Callable, Sequence
from itertools import groupby
from math import isnan
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from edgewise.evaluation.layers import LEAST_SAVED, MOST_LOST, Point, Profile, recommended
from edgewise.evaluation.plots import panels

COLUMNS = ("layers", "queries", "AP", "AP50", "AP75", "lost", "ms", "saved", "whole", "twice", "ρ")
COVERED = ("held", "all")
LEGEND = (
    "lost: points of AP, its hundredths; ms: the decoder, for one image, and saved the share of its time; "
    "whole: with all before it; twice: share of duplicates; ρ: rank correlation of spread and error of "
    "matched edges"
)
COVERED_LEGEND = "; held, all: % of edges, and of boxes with all four, inside calibrated 90 % intervals"


def write_profile(found: Profile, folder: str | Path) -> None:
    """Writes layers.json, layers.md and layers.png; the folder is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False)
    (folder / "layers.json").write_text(text + "\n", encoding="utf-8")
    (folder / "layers.md").write_text(markdown(found), encoding="utf-8")
    plot(found, folder / "layers.png")


def legend(found: Profile) -> str:
    """What the columns of `table` mean."""
    return LEGEND + (COVERED_LEGEND if _covered(found.cuts) else "")


def table(points: tuple[Point, ...], title: str) -> Table:
    """One row a point, for `rich.print`."""
    own = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)  # 80 columns
    for name in _columns(points):
        own.add_column(name, justify="right", no_wrap=True)
    for one in points:
        own.add_row(*_cells(one, _covered(points)))
    return own


def markdown(found: Profile) -> str:
    """The page: verdicts, both tables, and how it was measured."""
    names = " on ".join(str(found.facts[key]) for key in ("model", "data") if key in found.facts)
    lines = [f"# Layer by layer: {names or 'the decoder'}", ""]
    lines += [f"- **{kind}**: {text}" for kind, text in found.verdicts.items()]
    lines += ["", "![AP over the decoder's time](layers.png)", "", "## Fewer layers, fewer queries", ""]
    lines += _markdown_table(found.cuts)
    if found.exits:
        lines += [
            "",
            "## Dynamic exit",
            "",
            "exit: the limit in nats; layers: their mean over the images.",
            "",
        ]
        lines += _markdown_table(found.exits)
    facts = ", ".join(f"{key} {value}" for key, value in found.facts.items())
    lines += ["", legend(found), "", f"{found.images} images; {facts}.", ""]
    return "\n".join(lines)


def _markdown_table(points: tuple[Point, ...]) -> list[str]:
    names = _columns(points)
    rows = [names, ["--:"] * len(names), *(_cells(one, _covered(points)) for one in points)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _columns(points: tuple[Point, ...]) -> list[str]:
    if any(one.exit for one in points):
        return ["exit", "layers", *COLUMNS[2:-2]]
    return [*COLUMNS, *(COVERED if _covered(points) else ())]


def _covered(points: Sequence[Point]) -> bool:
    return not all(isnan(one.coverage) for one in points)


def _cells(one: Point, covered: bool) -> list[str]:
    what = [f"{one.exit:g}", f"{one.layers:.2f}"] if one.exit else [f"{one.layers:.0f}", str(one.queries)]
    quality = [_number(value, 3) for value in (one.ap, one.ap50, one.ap75)]
    spent = [
        _number(one.lost, 2),
        f"{one.decoder_ms:.1f}",
        f"{round(one.saved, 2) + 0.0:.0%}",
        f"{one.whole_ms:.1f}",
    ]
    if one.exit:
        return what + quality + spent
    honest = [f"{one.duplicates:.1%}", _number(one.rank_correlation, 2)]
    held = [_number(100 * value, 1) for value in (one.coverage, one.joint_coverage)]
    return what + quality + spent + honest + (held if covered else [])


def _number(value: float, digits: int) -> str:
    return "–" if isnan(value) else f"{value:.{digits}f}"


def plot(found: Profile, path: str | Path) -> None:
    """Writes AP over the decoder's time: a line a number of queries, a dot a layer, and the dynamic exit.

    What a recommended point must reach is shaded; a ring marks the ones recommended.
    """
    (figure, (axes,)), whole = panels(1, (8.0, 5.0), 120), found.whole
    lines = groupby(sorted(found.cuts, key=lambda one: -one.queries), key=lambda one: one.queries)
    for index, (queries, points) in enumerate(lines):
        own = sorted(points, key=lambda one: one.layers)
        look = {"color": f"C{index}", "marker": "o", "markersize": 5, "linewidth": 1.4}
        axes.plot(*_curve(own), label=f"{queries} queries, a dot a layer", **look)
    if found.exits:
        look = {"color": "black", "marker": ".", "markersize": 5, "linewidth": 1, "linestyle": "--"}
        axes.plot(*_curve(found.exits), label="dynamic exit", **look)
    low, high = axes.get_ylim()
    fast, good = (1 - LEAST_SAVED) * whole.decoder_ms, 100 * whole.ap - MOST_LOST
    axes.fill_between([0, fast], good, high, color="0.93", zorder=0, label="where it pays")
    for best in (recommended(found.cuts), recommended(found.exits)):
        if best is not None:
            axes.plot(*_curve([best]), "o", markersize=15, fillstyle="none", color="C3", markeredgewidth=1.6)
    axes.set(xlim=(0, None), ylim=(low, high), xlabel="decoder, ms an image", ylabel="AP, points")
    axes.secondary_xaxis("top", functions=_shifted(whole.whole_ms - whole.decoder_ms)).set_xlabel(
        "whole, ms an image", fontsize="small", color="0.4"
    )
    axes.legend(loc="lower right", frameon=False, fontsize="small")
    figure.savefig(path)


def _curve(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [one.decoder_ms for one in points], [100 * one.ap for one in points]


def _shifted(by: float) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """There and back between two axes that differ by a constant."""
    return lambda x: x + by, lambda x: x - by
