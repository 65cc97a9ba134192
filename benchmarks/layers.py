"""Where a detector's time goes, layer by layer: the most that stopping early could save, by size.

    python benchmarks/layers.py n l --out runs/layers

Weights are random, which makes no difference to the time; so nothing is said of AP. What stopping costs is
measured on trained weights by `edgewise profile-layers`.
"""

from pathlib import Path

import cyclopts
import numpy as np
import torch

from edgewise.api import Detector
from edgewise.classes import COCO
from edgewise.cli.provenance import provenance
from edgewise.evaluation.layers import exit_ms
from edgewise.predict.layers import LayerPredictor, Times


def table(name: str, times: Times, queries: int) -> list[str]:
    """A row for each number of layers: of a decoder that has no more, and of one that stops there itself."""
    layers = max(layer for layer, _ in times.decoder)
    whole = times.decoder[layers, queries]
    lines = [
        f"## {name}: {layers} layers, {queries} queries, {times.maps + whole:.0f} ms an image",
        "",
        f"Backbone and encoder take {times.maps:.0f} ms, the decoder {whole:.0f} ms: "
        f"{whole / (times.maps + whole):.0%} of all.",
        "",
        "| layers | decoder, ms | saved | of all | with a dynamic exit, ms | saved | of all |",
        "| --: | --: | --: | --: | --: | --: | --: |",
    ]
    for layer in range(1, layers + 1):
        cells = [f"{layer}", *_saved(times.decoder[layer, queries], times, whole)]
        stopped = exit_ms(times, np.array([layer]), layers)
        cells += _saved(stopped, times, whole) if layer > 1 else ["–"] * 3
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _saved(ms: float, times: Times, whole: float) -> list[str]:
    shares = (1 - ms / whole, (whole - ms) / (times.maps + whole))
    return [f"{ms:.0f}", *(f"{round(share, 2) + 0.0:.0%}" for share in shares)]  # no minus before a zero


def main(*sizes: str, side: int = 640, repeats: int = 7, out: Path = Path("runs/layers")) -> None:
    """Writes times.md into OUT, for images of SIDE x SIDE pixels, on one CPU thread."""
    torch.set_num_threads(1)
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    facts = ", ".join(f"{key} {value}" for key, value in provenance().items())
    lines = ["# Time of the decoder, layer by layer", ""]
    lines += [
        f"Random weights: times, no AP. Medians of {repeats} turns on one CPU thread, images of {side}x{side}"
        f" pixels; {facts}.",
        "",
    ]
    for name in sizes:
        detector = Detector(name, COCO, device="cpu")
        queries = detector.config.decoder.num_queries
        steps = LayerPredictor(detector.predictor((side, side)), detector.model, [queries])
        lines += table(name, steps.times(image, repeats), queries)
    out.mkdir(parents=True, exist_ok=True)
    (out / "times.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    cyclopts.run(main)
