"""`edgewise bench`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from edgewise.cli.app import app, say
from edgewise.cli.options import Device, Split
from edgewise.cli.words import parse_size


@app.command
def bench(
    detectors: Annotated[list[str], Parameter(negative=())],
    *,
    data: Path | None = None,
    split: Split = "val",
    size: str | None = None,
    repeats: int = 20,
    threads: int | None = None,
    out: Path | None = None,
    device: Device = "auto",
) -> None:
    """Measure checkpoints and exported files side by side: AP, coverage, latency, throughput, memory, size.

    All of them take turns, in another order each time, so that a busy machine hits them alike; medians and
    quartiles are shown, and how they were measured. Exported files run in their own engines.

    Example: `edgewise bench best.safetensors best.onnx best.xml --data bccd/ --threads 2 --out runs/bench`

    Parameters
    ----------
    detectors
        Checkpoints as `edgewise predict` takes them, and exported files (.onnx, .xml).
    data
        Annotated images for AP and coverage, in any format that training reads.
    size
        Side of the square input, or HEIGHTxWIDTH; each one's own by default.
    repeats
        How often each is timed.
    threads
        Of the CPU that compute; each engine's own default otherwise.
    out
        Folder for bench.json, bench.md and bench.png.
    """
    from edgewise.api import Detector
    from edgewise.data.open import open_dataset
    from edgewise.runtime.bench import bench

    pair = parse_size(size)
    loaded = [Detector.from_pretrained(one, device=device, threads=threads) for one in detectors]
    dataset = None if data is None else open_dataset(data, split)
    found = bench(loaded, dataset, size=pair, repeats=repeats, threads=threads, progress=True)
    say(found)
    if out:
        found.write(out)
        say(f"numbers, table and chart are in {out}")
