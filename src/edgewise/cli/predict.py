"""`edgewise predict`."""

from itertools import count
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from edgewise.cli.app import app, console
from edgewise.cli.words import parse_size


@app.command
def predict(
    checkpoint: str,
    source: Annotated[list[str], Parameter(negative=())],
    *,
    threshold: float | Literal["auto"] = 0.5,
    size: str | None = None,
    batch: int = 8,
    out: Path = Path("runs/predict"),
    device: str = "auto",
) -> None:
    """Detect objects in images: a picture with error bars on every edge, and the numbers as JSON.

    Example: `edgewise predict runs/bccd/best.safetensors photos/ --threshold 0.4 --out found`

    Parameters
    ----------
    checkpoint
        A file, a transformers folder, or a hub name such as dfine-s-coco.
    source
        Images, folders, patterns ('photos/*.jpg') or URLs.
    threshold
        Objects with at least this score are kept; auto takes each class's own of best F1, as stored in the
        checkpoint.
    size
        Side of the square input, or HEIGHTxWIDTH; what it was trained at by default.
    batch
        Images a forward pass.
    out
        Folder for NAME.jpg and NAME.json of every image.
    device
        cpu, cuda, mps; the best there is by default.
    """
    from rich.progress import track

    from edgewise.api import Detector
    from edgewise.predict.sources import expand

    pair = parse_size(size)
    images, _ = expand(source)
    if any(isinstance(image, Path) and image.parent.resolve() == out.resolve() for image in images):
        raise ValueError(f"--out {out}: the pictures could replace the images there; name another folder")
    detector = Detector.from_pretrained(checkpoint, device=device)
    found = detector.predict(images, threshold, batch=batch, size=pair, stream=True)
    out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()  # images of one name from several folders are numbered
    for detections in track(found, "detecting", total=len(images), console=console):
        stem = detections.source.stem if isinstance(detections.source, Path) else "image"
        numbered = (stem if number == 1 else f"{stem}_{number}" for number in count(1))
        name = next(one for one in numbered if one not in taken)
        taken.add(name)
        detections.save(out / f"{name}.jpg")
        detections.save(out / f"{name}.json")
        console.print(f"{name}: {detections}", markup=False, highlight=False)
    console.print(f"{len(images)} pictures and JSON files are in {out}", markup=False)
