"""What a trained detector's edge distributions look like: the statistics of `edgewise.edges` on a recording.

    python benchmarks/fdr_real.py ../shared/data/fdr_real/atto_fdr_intermediates_8img.npz

The recording has the outputs of a small trained relative of D-FINE (33 bins, a = 1/2, c = 1/4, three layers,
100 queries) on eight photographs, layer by layer, without ground truth. So the error of a layer is how far
its edges lie from those of the last, in sides of the initial box.
"""

import argparse
from pathlib import Path

import numpy as np

from edgewise.bins import bin_values
from edgewise.decode import edge_distributions, sigmoid
from edgewise.detections import Geometry
from edgewise.edges import EdgeDistributions
from edgewise.evaluation.calibration.metrics import spearman

SCORE = 0.4  # of a query's best class, to count as a found object
UNIT = Geometry((1, 1), (1, 1))  # lengths are shares of the image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/calibration/fdr_real.md"))
    arguments = parser.parse_args()
    with np.load(arguments.recording) as arrays:
        text = report(dict(arrays))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


def report(recording: dict[str, np.ndarray]) -> str:
    """The whole page."""
    initial, values = recording["ref_points_initial"].reshape(-1, 4), bin_values(32)
    layers = [
        edge_distributions(recording[f"corners_l{i}"].reshape(-1, 4, 33), initial, UNIT, values)
        for i in range(3)
    ]
    scores = sigmoid(recording["logits"]).max(-1).reshape(-1)
    found = scores >= SCORE
    integral, boxes = agreement(recording, layers)
    last = layers[-1][found]
    by_layer = [
        [name, f"{i + 1}", *statistics(layer[kept])]
        for name, kept in (("found", found), ("all", np.ones_like(found)))
        for i, layer in enumerate(layers)
    ]
    by_edge = [
        [name, *(f"{one:.3f}" for one in np.median(array, 0))]
        for name, array in (("spread", relative(last)), ("entropy, nats", last.entropy))
    ]
    related = [
        [name, f"{rho:.2f}"] for name, rho in correlations([one[found] for one in layers], scores[found])
    ]
    return f"""# Edge distributions of a trained detector

`python benchmarks/fdr_real.py RECORDING`: {len(scores)} queries on eight photographs, of which {found.sum()}
score {SCORE} or more (found). Decoding agrees with the recording: integrals to {integral:.0e}, boxes to
{boxes:.0e} of the image.

Spread (one standard deviation) and the width of the middle 90 % are in sides of the initial box. Medians over
edges; the mean mass in end bins; the share of edges with two modes.

{table(["queries", "layer", "spread", "entropy, nats", "end bins", "two modes", "90 % width"], by_layer)}

By edge, last layer, found objects:

{table(["", "left", "top", "right", "bottom"], by_edge)}

Rank correlations over the edges of found objects. There is no ground truth: the error of a layer is how far
its edges lie from those of the last.

{table(["", "ρ"], related)}
"""


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def agreement(recording: dict[str, np.ndarray], layers: list[EdgeDistributions]) -> tuple[float, float]:
    """The greatest differences from the recorded integrals, in its units (4 a side), and boxes."""
    integrals, boxes = [], []
    for i, layer in enumerate(layers):
        offsets = (layer.probs * layer.values).sum(-1)
        integrals.append(np.abs(4 * offsets - recording[f"dist_l{i}"].reshape(-1, 4)).max())
        boxes.append(np.abs(layer.mean - UNIT.to_pixels(recording[f"box_l{i}"].reshape(-1, 4))).max())
    return float(max(integrals)), float(max(boxes))


def relative(edges: EdgeDistributions) -> np.ndarray:
    """Spreads in sides of the initial box."""
    spreads: np.ndarray = edges.std / edges.sides
    return spreads


def statistics(edges: EdgeDistributions) -> list[str]:
    width = np.diff(edges.interval(0.9))[..., 0] / edges.sides
    return [
        f"{np.median(relative(edges)):.3f}",
        f"{np.median(edges.entropy):.2f}",
        f"{edges.end_mass.mean():.1%}",
        f"{np.isfinite(edges.modes()[..., 1]).mean():.1%}",
        f"{np.median(width):.3f}",
    ]


def correlations(layers: list[EdgeDistributions], scores: np.ndarray) -> list[tuple[str, float]]:
    last = layers[-1]
    rows = []
    for i, layer in enumerate(layers[:-1]):
        error = np.abs(layer.mean - last.mean) / last.sides
        rows += [
            (f"layer {i + 1}: spread with error", spearman(relative(layer).ravel(), error.ravel())),
            (f"layer {i + 1}: entropy with error", spearman(layer.entropy.ravel(), error.ravel())),
        ]
    by_edge = np.repeat(scores[:, None], 4, 1).ravel()
    return [
        *rows,
        ("last layer: spread with entropy", spearman(relative(last).ravel(), last.entropy.ravel())),
        ("last layer: spread with score", spearman(relative(last).ravel(), by_edge)),
        ("last layer: spread with side", spearman(relative(last).ravel(), last.sides.ravel())),
        (
            "spread of layer 1 with spread of layer 3",
            spearman(relative(layers[0]).ravel(), relative(last).ravel()),
        ),
    ]


if __name__ == "__main__":
    main()
