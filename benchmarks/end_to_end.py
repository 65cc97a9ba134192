"""From the bytes of a 1080p JPEG to Detections, by stage, for each engine of one detector.

    python benchmarks/end_to_end.py --size s --threads 2
    python benchmarks/end_to_end.py --size n --threads 1 --repeats 3 --out runs/end_to_end.json

Stages: JPEG bytes to pixels, resizing, the engine, its answer to Detections (all 300, whatever the score).
The image is a painted scene, the weights are random. `whole_over_engine` is what the whole takes over the
engine alone.
"""

import io
from pathlib import Path
from typing import Any

import cyclopts
import torch
from inference import detector_of, own_engines
from PIL import Image
from speed import KEYS, RESULTS, Clock, Run, alternated, facts, medians, stacked_bars, write

from edgewise.data.scenes import SceneDataset
from edgewise.optimize import PixelPredictor
from edgewise.predict.predictor import Predictor
from edgewise.predict.sources import load
from edgewise.recipe import counted

FULL = (1080, 1920)


def jpeg() -> bytes:
    """A painted scene of 1080p."""
    stream = io.BytesIO()
    Image.fromarray(SceneDataset(1, size=FULL)[0].image).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def staged(predictor: Predictor, encoded: bytes) -> Run:
    """The way that `predict` goes."""
    every = predictor.least(0.0)

    def run(clock: Clock) -> None:
        image, _ = load(Image.open(io.BytesIO(encoded)))
        clock.lap("JPEG")
        ready = [(*predictor.prepare(image), None)]
        clock.lap("resize")
        rows = predictor.forward(ready)
        clock.lap("engine")
        (found,) = predictor.decoded(rows, ready, every)
        clock.lap("Detections")
        assert found.size == FULL

    return run


def main(
    size: str = "s",
    *,
    side: int = 640,
    threads: int = 2,
    repeats: int = 25,
    out: Path = RESULTS / "end_to_end.json",
) -> None:
    """SIZE is n, s, m, l or x."""
    torch.set_num_threads(threads)
    detector, encoded = detector_of(size, side), jpeg()
    own = detector.predictor()
    settings = {"size": own.size, "class_names": own.class_names, "values": own.values}
    runs = {"eager fp32": staged(own, encoded)} | {
        name: staged(PixelPredictor(engine, **settings), encoded)
        for name, engine in own_engines(detector, threads).items()
    }
    times = alternated(runs, repeats, warm=2)
    result: dict[str, Any] = {"facts": facts(), "model": size, "side": side, "engines": {}}
    bars = {}
    for name, parts in times.items():
        over = {key: medians(parts)[key] / parts["engine"][key]["median"] for key in KEYS}
        result["engines"][name] = {"parts": parts, "whole_over_engine": over}
        bars[name] = {part: 1e3 * one["wall_s"]["median"] for part, one in parts.items() if part != "total"}
        print(
            f"{name:16}", {part: round(ms, 1) for part, ms in bars[name].items()}, "whole over engine", over
        )
    result["load_after"] = facts()["load"]
    write(result, out)
    title = f"JPEG of 1080p to Detections: size {size} at {side}x{side}, {counted(threads, 'thread')}"
    stacked_bars(bars, title, "milliseconds, medians", out.with_suffix(".png"))


if __name__ == "__main__":
    cyclopts.run(main)
