"""Three pictures of honesty: what is claimed and what is held, at which width, how errors follow spreads."""

from pathlib import Path
from typing import Any

import numpy as np

from edgewise.edges import EDGES
from edgewise.evaluation.calibration import metrics as m
from edgewise.evaluation.calibration.baselines import CURVE, RAW
from edgewise.evaluation.calibration.crossfit import OURS, Claimed
from edgewise.evaluation.calibration.honesty import joint_rows
from edgewise.evaluation.calibration.pairs import EdgePairs, Outcome
from edgewise.evaluation.plots import panels

DIAGRAMS = {
    "reliability.png": "How often intervals hold what they claim to hold",
    "coverage_width.png": "How wide intervals are for what they hold",
    "spread_error.png": "How errors follow the predicted spread",
}
"""File → what it shows."""

COLOURS = {
    OURS: "#0072b2",
    RAW: "#d55e00",
    "recalibrated quantiles": "#cc79a7",
    "fixed width": "#444444",
    "share of the side": "#999999",
    "share of √area": "#009e73",
}  # Okabe and Ito's, which all eyes can tell apart
DASHES = ((0, (1, 1)), (0, (4, 1)), (0, (3, 1, 1, 1)), "-")  # by edge


def write_diagrams(outcome: Outcome, said: Claimed, folder: Path) -> None:
    """Writes the pictures of DIAGRAMS."""
    reliability_diagram(outcome.pairs, said, folder / "reliability.png")
    coverage_width_plot(outcome.pairs, said, folder / "coverage_width.png")
    spread_error_plot(outcome.pairs, said, folder / "spread_error.png")


def reliability_diagram(pairs: EdgePairs, said: Claimed, path: str | Path) -> None:
    """Writes claimed against observed coverage: of edges at the left, of whole boxes at the right.

    The band holds 95 % of the bootstrap over images; what is below the diagonal claims too much.
    """
    figure, (left, right) = panels(2, (10.0, 4.6), 150)
    own = said.claims[said.own]
    for edge, name in enumerate(EDGES):
        held = m.inside(pairs.true_xyxy, own.low, own.high)[..., edge].mean(1)
        left.plot(CURVE, held, color=COLOURS[said.own], linewidth=0.8, linestyle=DASHES[edge], label=name)
    for name in (OURS, RAW):
        if name in said.claims:
            rows = m.inside(pairs.true_xyxy, said.claims[name].low, said.claims[name].high).mean(-1)
            _banded(left, rows, pairs, name, f"{name}, mean of the four")
            _banded(right, joint_rows(pairs, said.claims[name])[0], pairs, name, name)
    for axes, title in ((left, "each edge"), (right, "all four edges at once")):
        axes.plot((0, 1), (0, 1), color="black", linewidth=0.8, linestyle=":", zorder=1)
        axes.set(xlim=(0.38, 1), ylim=(0.38, 1), xlabel="claimed coverage", aspect="equal")
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(frameon=False, loc="upper left", fontsize=8)
    left.set_ylabel("observed coverage")
    figure.savefig(path)


def _banded(axes: Any, rows: np.ndarray, pairs: EdgePairs, name: str, label: str) -> None:
    """The mean of rows [L, M] over the levels of CURVE with its bootstrap band."""
    low, high = m.interval95(m.bootstrap_means(rows.T.astype(np.float64), pairs.image, pairs.num_images))
    axes.fill_between(CURVE, low, high, color=COLOURS[name], alpha=0.18, linewidth=0)
    axes.plot(CURVE, rows.mean(1), color=COLOURS[name], linewidth=1.8, label=label, zorder=3)


def coverage_width_plot(pairs: EdgePairs, said: Claimed, path: str | Path) -> None:
    """Writes the mean width of each method's joint intervals over what they hold: lower is better."""
    figure, (axes,) = panels(1, (5.0, 4.6), 150)
    place, top = CURVE.index(0.9), 0.0
    for name, claims in said.claims.items():
        held, width = (rows.mean(1) for rows in joint_rows(pairs, claims))
        own = name == said.own
        look = {"color": COLOURS[name], "linewidth": 2.4 if own else 1.2, "zorder": 4 if own else 3}
        axes.plot(held, width, label=name, **look)
        axes.plot(held[place], width[place], "o", color=COLOURS[name], markersize=5, zorder=5)
        top = max(top, float(width[CURVE.index(0.95)]))
    axes.axvline(0.9, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0.4, 1), ylim=(0, 1.25 * top), xlabel="boxes whose four edges are held")
    axes.set_ylabel("mean width of the joint intervals, px")
    axes.set_title("Width at equal coverage · dots: where 90 % are claimed", loc="left", fontsize=10)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    figure.savefig(path)


def spread_error_plot(pairs: EdgePairs, said: Claimed, path: str | Path) -> None:
    """Writes the error, root mean square, of tenths of all edges by rising spread, before and after."""
    figure, (axes,) = panels(1, (5.0, 4.6), 150)
    spreads = {RAW: pairs.edges.std.astype(np.float64), said.own: said.spread}
    ends = []
    for name, spread in spreads.items():
        claimed, found = m.spread_bins(pairs.errors.ravel(), spread.ravel())
        error = m.ence(pairs.errors.ravel(), spread.ravel())
        axes.plot(claimed, found, "o-", color=COLOURS[name], markersize=4, label=f"{name}: ENCE {error:.2f}")
        ends += [*claimed, *found]
    top = 1.08 * max(ends)
    axes.plot((0, top), (0, top), color="black", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.set(xlabel="predicted spread, px (root mean square)", ylabel="error, px (root mean square)")
    axes.set_title("Tenths of all edges, the surest first", loc="left", fontsize=10)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    figure.savefig(path)
