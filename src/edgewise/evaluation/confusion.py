"""Which class is taken for which: every box and every detection counted once, as numbers and as a picture."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from edgewise.evaluation.errors import ImageErrors
from edgewise.evaluation.matching import Truth, match, to_xywh
from edgewise.extras import require

BACKGROUND = "background"
SPACIOUS = 12  # classes up to which a cell has room for its share and its count
NOTABLE = 0.05  # the least share that is written into a smaller cell


@dataclass(frozen=True, eq=False)
class Confusion:
    """`counts[i, j]`: boxes of class i found as class j, at IoU 0.5 and a score threshold.

    The last row and column are background: boxes that nothing found end the rows, detections that found
    nothing end the columns. So a row adds up to the class's boxes, a column to its detections.
    """

    class_names: tuple[str, ...]
    counts: Int[np.ndarray, "K K"]
    threshold: float

    @property
    def shares(self) -> Float[np.ndarray, "K K"]:
        """Counts by the sum of their row: what became of the boxes of a class; nan where it has none.

        The last row, which has no boxes, is by the sum of the column: how many of the detections of a class
        found nothing.
        """
        sums = np.tile(self.counts.sum(1, keepdims=True), len(self.counts))
        sums[-1] = self.counts.sum(0)
        undefined = np.full(self.counts.shape, np.nan)
        shares: np.ndarray = np.divide(self.counts, sums, out=undefined, where=sums > 0)
        shares[-1, -1] = np.nan
        return shares


def confusion(errors: Sequence[ImageErrors], class_names: tuple[str, ...], threshold: float) -> Confusion:
    """The confusion of `image_errors` at `threshold`, whose labels are those of `class_names`.

    A box that a detection of its own class found is right, as in every other number here. What is left is
    matched whatever its class: the best detection first, with the free box it overlaps most.
    """
    background = len(class_names)
    counts = np.zeros((background + 1, background + 1), np.int64)
    for one in errors:
        right = one.truth.labels[one.found]
        np.add.at(counts, (right, right), 1)
        of_label, as_label = one.truth.labels[one.missed], one.labels[one.false]
        taken = _match_any(to_xywh(one.detections.boxes_xyxy[one.false]), one.truth.boxes_xywh[one.missed])
        np.add.at(counts, (np.append(of_label, background)[taken], as_label), 1)  # -1 reads the appended
        left = np.delete(of_label, taken[taken >= 0])
        np.add.at(counts, (left, np.full(len(left), background)), 1)
    return Confusion(class_names, counts, threshold)


def _match_any(found: Float[np.ndarray, "M 4"], boxes: Float[np.ndarray, "n 4"]) -> Int[np.ndarray, " M"]:
    """`match` as if there were one class."""
    truth = Truth(boxes, np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.bool_))
    return match(found, np.zeros(len(found), np.int64), truth)


def write_confusion(matrix: Confusion, path: str | Path) -> None:
    """Writes the counts as CSV: a row an annotated class, a column a detected one, background last."""
    names = [*matrix.class_names, BACKGROUND]
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["annotated \\ detected", *names])
        writer.writerows([name, *row] for name, row in zip(names, matrix.counts.tolist(), strict=True))


def confusion_plot(matrix: Confusion, path: str | Path) -> None:
    """Writes `shares` as a heat map, with counts below them while there is room."""
    classes = len(matrix.class_names)
    spacious = classes <= SPACIOUS
    cell, letters = (0.8, 9.0) if spacious else (0.36, 7.0) if classes <= 30 else (0.19, 5.0)
    side = (classes + 1) * cell
    figure = require("matplotlib.figure", "evaluate").Figure(
        figsize=(max(side, 2.4) + 2.8, max(side, 2.4) + 1.8), dpi=140, layout="constrained"
    )
    axes = figure.subplots()
    gap = 0.1 if spacious else 0.4
    starts = np.append(np.arange(classes), classes + gap)  # background stands apart
    centres = starts + 0.5
    edges = np.concatenate([np.arange(classes + 1), starts[-1:], starts[-1:] + 1])
    cells = np.insert(np.insert(matrix.shares, classes, np.nan, 0), classes, np.nan, 1)
    mesh = axes.pcolormesh(
        edges, edges, cells, cmap="Blues", vmin=0, vmax=1, edgecolor="white", linewidth=0.8
    )
    _write_cells(axes, matrix, centres, letters, spacious)
    axes.set(xlim=(0, edges[-1]), ylim=(edges[-1], 0), aspect="equal")
    names = [*(one if len(one) <= 24 else f"{one[:23]}…" for one in matrix.class_names), BACKGROUND]
    axes.set_xticks(centres, names, rotation=90 if classes > 4 else 0, fontsize=letters)
    axes.set_yticks(centres, names, fontsize=letters)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("detected as")
    axes.set_ylabel("annotated as")
    axes.set_title(f"Confusion at IoU 0.5, scores from {matrix.threshold:.2f}", loc="left")
    bar = figure.colorbar(mesh, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.set_label("share of the row; in the last row, of the column", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    figure.savefig(path)


def _write_cells(
    axes: Any, matrix: Confusion, centres: Float[np.ndarray, " K"], letters: float, spacious: bool
) -> None:
    for (row, column), share in np.ndenumerate(matrix.shares):
        count = int(matrix.counts[row, column])
        if not count or not (spacious or share >= NOTABLE):
            continue
        style = {"ha": "center", "color": "white" if share > 0.6 else "0.15"}
        x, y = centres[column], centres[row]
        if spacious:
            axes.text(x, y, f"{share:.2f}", va="bottom", fontsize=letters + 1, **style)
            axes.text(x, y + 0.06, f"{count:,}", va="top", fontsize=letters - 2, **style)
        else:
            axes.text(x, y, f"{100 * share:.0f}", va="center", fontsize=letters - 0.5, **style)
