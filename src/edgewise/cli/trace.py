"""`edgewise trace`."""

from pathlib import Path
from typing import Literal

from edgewise.cli.app import app, console
from edgewise.cli.words import parse_size


@app.command
def trace(
    checkpoint: str,
    image: str,
    *,
    out: Path = Path("trace.png"),
    box: int = 0,
    threshold: float | Literal["auto"] = 0.5,
    size: str | None = None,
    device: str = "auto",
) -> None:
    """Draw how the decoder refined a box: after each layer the box, and the distributions of its four edges.

    Example: `edgewise trace runs/bccd/best.safetensors photos/1.jpg --out trace.png`

    Parameters
    ----------
    checkpoint
        A file, a transformers folder, or a hub name such as dfine-s-coco.
    image
        A file or URL.
    out
        The picture: .png, .pdf or .svg.
    box
        Which object, 0 being the one that scores best.
    threshold
        Objects with at least this score count; auto takes each class's own, as stored in the checkpoint.
    size
        Side of the square input, or HEIGHTxWIDTH; what it was trained at by default.
    device
        cpu, cuda, mps; the best there is by default.
    """
    from edgewise.api import Detector

    pair = parse_size(size)
    found = Detector.from_pretrained(checkpoint, device=device).trace(image, threshold, size=pair)
    figure = found.plot(box)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    console.print(
        f"object {box} of {len(found)} over {len(found.edges)} layers is drawn in {out}", markup=False
    )
