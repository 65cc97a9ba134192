"""`edgewise predict`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from edgewise.cli.app import app, console, say
from edgewise.cli.options import Batch, Checkpoint, Device, Size, Trust
from edgewise.cli.words import parse_size


@app.command
def predict(
    checkpoint: Checkpoint,
    source: Annotated[list[str], Parameter(negative=())],
    *,
    threshold: float | Literal["auto"] = 0.5,
    size: Size = None,
    batch: Batch = 8,
    out: Path = Path("runs/predict"),
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Detect objects in images: a picture with error bars on every edge, and the numbers as JSON.

    Which score is enough depends on model and class: `--threshold auto` takes for each class the one with
    the best F1 in validation, which a training stores in its checkpoint and `edgewise evaluate CHECKPOINT
    DATA --save-thresholds` finds anew. A lower one misses less, a higher one is wrong less often.

    Example: `edgewise predict runs/bccd/best.safetensors photos/ --threshold auto --out found`

    Parameters
    ----------
    source
        Images, folders, patterns ('photos/*.jpg') or URLs.
    threshold
        Objects with at least this score are kept; auto takes each class's own, as stored in the checkpoint.
    out
        Folder for NAME.jpg and NAME.json of every image.
    """
    from rich.progress import track

    from edgewise.api import Detector
    from edgewise.images import distinct_stems
    from edgewise.predict.sources import expand

    pair = parse_size(size)
    images, _ = expand(source)
    if any(isinstance(image, Path) and image.parent.resolve() == out.resolve() for image in images):
        raise ValueError(f"--out {out}: the pictures could replace the images there; name another folder")
    detector = Detector.from_pretrained(checkpoint, device=device, trust=trust)
    found = detector.predict(images, threshold, batch=batch, size=pair, stream=True)
    out.mkdir(parents=True, exist_ok=True)
    names = distinct_stems(image if isinstance(image, Path) else "image" for image in images)
    shown = track(found, "detecting", total=len(images), console=console)
    for name, detections in zip(names, shown, strict=True):
        detections.save(out / f"{name}.jpg")
        detections.save(out / f"{name}.json")
        say(f"{name}: {detections}")
    say(f"{len(images)} pictures and JSON files are in {out}")
