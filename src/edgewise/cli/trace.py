"""`edgewise trace`."""

from pathlib import Path
from typing import Literal

from edgewise.cli.app import app, say
from edgewise.cli.options import Checkpoint, Device, Size
from edgewise.cli.words import parse_size


@app.command
def trace(
    checkpoint: Checkpoint,
    image: str,
    *,
    out: Path = Path("trace.png"),
    box: int = 0,
    threshold: float | Literal["auto"] = 0.5,
    size: Size = None,
    device: Device = "auto",
) -> None:
    """Draw how the decoder refined a box: after each layer the box, and the distributions of its four edges.

    Example: `edgewise trace runs/bccd/best.safetensors photos/1.jpg --out trace.png`

    Parameters
    ----------
    image
        A file or URL.
    out
        The picture: .png, .pdf or .svg.
    box
        Which object, 0 being the one that scores best.
    threshold
        Objects with at least this score count; auto takes each class's own, as stored in the checkpoint.
    """
    from edgewise.api import Detector

    pair = parse_size(size)
    found = Detector.from_pretrained(checkpoint, device=device).trace(image, threshold, size=pair)
    figure = found.plot(box)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    say(f"object {box} of {len(found)} over {len(found.edges)} layers is drawn in {out}")
