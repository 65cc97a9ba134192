"""Does predicted spread follow the true one? Scenes know how uncertain each of their edges is."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from edgewise.data.scenes import SceneDataset
from edgewise.evaluation.calibration.metrics import spearman
from edgewise.evaluation.calibration.pairs import EdgePairs
from edgewise.evaluation.plots import panels
from edgewise.overlaps import area, sides

SIZES = (30.0, 42.0, 58.0, 80.0)
"""Bounds of size groups, roots of areas in pixels: a third of all objects lies between two of them."""


@dataclass(frozen=True, eq=False)
class Ambiguity:
    """Spreads of found boxes, edges left to bottom, in pixels: `predicted` and `true` standard deviation.

    `true` is 0 where the image border cuts the object: such an edge is sure, and left out of what follows.
    true_boxes: where the edges lie without the annotation's draw.
    """

    predicted: Float[np.ndarray, "M 4"]
    true: Float[np.ndarray, "M 4"]
    true_boxes: Float[np.ndarray, "M 4"]

    @classmethod
    def of(cls, pairs: EdgePairs, scenes: SceneDataset) -> "Ambiguity":
        """The truth about a detector's pairs on these scenes."""
        true, boxes = np.zeros((len(pairs), 4)), np.zeros((len(pairs), 4))
        for row, (image, annotated) in enumerate(zip(pairs.image.tolist(), pairs.true_xyxy, strict=True)):
            one = scenes.scene(image)
            place = int(np.abs(one.boxes_xyxy - annotated).sum(1).argmin())
            true[row], boxes[row] = one.edge_std[place], one.true_boxes[place]
        return cls(pairs.spread, true, boxes)

    @property
    def sides(self) -> Float[np.ndarray, "M 4"]:
        """How long the box is across each edge: width, height, width, height."""
        return sides(self.true_boxes)

    def groups(self) -> dict[str, Bool[np.ndarray, "M 4"]]:
        """The whole edges of the boxes of each size, by name."""
        size = np.sqrt(area(self.true_boxes))[:, None]
        bounds = pairwise((0.0, *SIZES[1:-1], np.inf))
        names = [f"{low:g}–{high:g} px" for low, high in pairwise(SIZES)]
        return {
            name: (size >= low) & (size < high) & (self.true > 0)
            for name, (low, high) in zip(names, bounds, strict=True)
        }

    def correlations(self) -> dict[str, dict[str, int | float]]:
        """By size group: the number of `edges`, and ρ with the true spread of what may be claimed of them.

        `predicted` by the detector; `constant in pixels`, which ranks nothing, and so is 0 by definition;
        `constant in box sides`.
        """
        claims = {
            "predicted": self.predicted,
            "constant in pixels": np.ones_like(self.true),
            "constant in box sides": self.sides,
        }
        return {
            group: {"edges": int(rows.sum())}
            | {
                name: float(np.nan_to_num(spearman(one[rows], self.true[rows])))
                for name, one in claims.items()
            }
            for group, rows in self.groups().items()
        }

    def plot(self, path: str | Path) -> None:
        """Writes predicted over true spread, a panel a size group, with medians of tenths and ρ."""
        figure, row = panels(len(SIZES) - 1, (11.0, 4.1), 140, share=True)
        found = self.correlations()
        for axes, (group, rows) in zip(row, self.groups().items(), strict=True):
            true, predicted = self.true[rows], self.predicted[rows]
            axes.plot((0.4, 6), (0.4, 6), color="black", linewidth=0.8, linestyle=":", label="as it is")
            axes.plot(true, predicted, ".", color="#0072b2", alpha=0.25, markersize=4, markeredgewidth=0)
            tenths = [part for part in np.array_split(np.argsort(true), 10) if len(part)]
            medians = ([np.median(one[part]) for part in tenths] for one in (true, predicted))
            axes.plot(*medians, "o-", color="#d55e00", markersize=4, label="medians of tenths")
            rho = found[group]
            axes.set_title(
                f"boxes of {group}: ρ = {rho['predicted']:.2f}\n"
                f"{rho['edges']} edges; constant in sides: {rho['constant in box sides']:+.2f}",
                loc="left",
                fontsize=10,
            )
            axes.set(xscale="log", yscale="log", xlim=(0.45, 5.6), ylim=(0.3, 12))
            for axis, ticks in ((axes.xaxis, (0.5, 1, 2, 5)), (axes.yaxis, (0.5, 1, 2, 5, 10))):
                axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
                axis.set_ticks([], minor=True)
            axes.set_xlabel("true standard deviation of the edge, px")
        row[0].set_ylabel("predicted standard deviation, px")
        row[0].legend(frameon=False, loc="upper left", fontsize=8)
        figure.savefig(path)
