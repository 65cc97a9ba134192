"""`edgewise evaluate`."""

from pathlib import Path

from edgewise.cli.app import app, console
from edgewise.cli.words import parse_size


@app.command
def evaluate(
    checkpoint: str,
    data: Path,
    *,
    split: str = "val",
    size: str | None = None,
    batch: int = 8,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Score a checkpoint on annotated images: COCO's numbers and AP by class.

    Example: `edgewise evaluate runs/bccd/best.safetensors bccd/ --split test --out runs/bccd/test`

    Parameters
    ----------
    checkpoint
        A file, a transformers folder, or a hub name such as dfine-s-coco.
    data
        Folder with one COCO JSON a split and its images, or one JSON file.
    split
        train, val or test.
    size
        Side of the square input, or HEIGHTxWIDTH; what it was trained at by default.
    batch
        Images a forward pass.
    out
        Folder for metrics.json, precision-recall and F1 curves and the worst images.
    device
        cpu, cuda, mps; the best there is by default.
    """
    from edgewise.api import Detector

    pair = parse_size(size)
    detector = Detector.from_pretrained(checkpoint, device=device)
    metrics = detector.evaluate(data, split, size=pair, batch=batch, out=out, progress=True)
    console.print(metrics.table())
    if out:
        console.print(f"numbers, curves and the worst images are in {out}", markup=False)
