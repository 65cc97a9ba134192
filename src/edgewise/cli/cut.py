"""`edgewise cut`."""

from pathlib import Path

from edgewise.cli.app import app, say
from edgewise.cli.options import Checkpoint


@app.command
def cut(
    checkpoint: Checkpoint,
    out: Path,
    *,
    layers: int | None = None,
    queries: int | None = None,
    exit: float | None = None,
    half: bool = True,
) -> None:
    """Write a faster detector: fewer decoder layers, fewer queries, or a stop when edges have settled.

    The new file has the same weights and is used like any other. `edgewise profile-layers` measures what
    each cut costs. An exit looks at images one by one, or else waits for all of a batch: predict --batch 1.

    Example: `edgewise cut runs/bccd/best.safetensors fast.safetensors --layers 2`

    Parameters
    ----------
    out
        The file to write: .safetensors.
    layers
        Keep the first so many decoder layers. Thresholds and calibration of the last one are then gone.
    queries
        Keep the so many most promising candidates of an image.
    exit
        Stop after a layer that changes no sure edge's distribution by so many nats.
    half
        Store the weights in float16.
    """
    from edgewise.api import Detector

    if layers is None and queries is None and exit is None:
        raise ValueError("nothing to cut; give --layers, --queries or --exit")
    detector = Detector.from_pretrained(checkpoint, device="cpu").at(layers, queries, exit)
    detector.save(out, half=half)
    own = detector.config.decoder
    stop = f", stops below {own.exit:g} nats" if own.exit else ""
    say(f"{out}: {own.num_layers} layers, {own.num_queries} queries{stop}")
