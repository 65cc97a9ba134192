"""`edgewise bench`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from edgewise.cli.app import Flag, app, say
from edgewise.cli.options import Device, Split, Trust
from edgewise.cli.words import parse_size
from edgewise.sizes import Size


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
    trust: Trust = False,
    sweep: Annotated[bool, Flag] = False,
    images: int = 200,
) -> None:
    """Measure checkpoints and exported files side by side: AP, coverage, latency, throughput, memory, size.

    All of them take turns, in another order each time, so that a busy machine hits them alike; medians and
    quartiles are shown, and how they were measured. Exported files run in their own engines.

    With `--sweep` everything that checkpoints can do on this CPU without training is measured instead:
    resolutions, decoder layers, queries, precisions and engines. Told are the points that none finds as much
    as in less time, and the fastest within half a point of AP of the best. Ctrl-C keeps what is measured.

    Example: `edgewise bench best.safetensors best.onnx best.xml --data bccd/ --threads 2 --out runs/bench`

    Example: `edgewise bench --sweep n.safetensors s.safetensors --data bccd/ --out runs/sweep`

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
        Folder for bench.json, bench.md and bench.png; sweep.json and so on.
    sweep
        Go over what the checkpoints can do without training.
    images
        Of the data that a sweep measures AP on, at most.
    """
    from edgewise.api import Detector
    from edgewise.data.open import open_dataset
    from edgewise.runtime.bench import bench

    pair = parse_size(size)
    if sweep:
        _sweep(detectors, data, split, pair, images, repeats, threads, out, device)
        return
    loaded = [Detector.from_pretrained(one, device=device, threads=threads, trust=trust) for one in detectors]
    dataset = None if data is None else open_dataset(data, split)
    found = bench(loaded, dataset, size=pair, repeats=repeats, threads=threads, progress=True)
    say(found)
    if out:
        found.write(out)
        say(f"numbers, table and chart are in {out}")


def _sweep(
    checkpoints: list[str],
    data: Path | None,
    split: str,
    size: Size | None,
    images: int,
    repeats: int,
    threads: int | None,
    out: Path | None,
    device: str,
) -> None:
    from edgewise.api import Detector
    from edgewise.runtime.engines import is_exported
    from edgewise.sweep import sweep

    if data is None:
        raise ValueError("--sweep weighs time against AP; give annotated images: --data FOLDER")
    if device not in ("auto", "cpu"):
        raise ValueError(f"--device {device}: a sweep is of the CPU; leave --device out")
    if exported := [one for one in checkpoints if is_exported(one)]:
        raise ValueError(f"{exported[0]}: a sweep needs weights; give the checkpoint that it was made from")
    loaded = [Detector.from_pretrained(one, device="cpu") for one in checkpoints]
    found = sweep(
        loaded, data, split, size=size, images=images, repeats=repeats, threads=threads, progress=True
    )
    say(found)
    if out:
        found.write(out)
        say(f"numbers, table and chart are in {out}")
    if found.stopped:
        raise KeyboardInterrupt("stopped: this is what was measured until then")
