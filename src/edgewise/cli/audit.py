"""`edgewise audit`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from edgewise.cli.app import app, console
from edgewise.cli.words import parse_size


@app.command
def audit(
    checkpoint: str,
    data: Path,
    *,
    split: str = "train",
    out: Path = Path("runs/audit"),
    number: Annotated[int, Parameter(name=["--number", "-k"])] = 50,
    size: str | None = None,
    batch: int = 8,
    device: str = "auto",
) -> None:
    """Find annotations that are probably wrong: boxes that a detector's error bars make improbable.

    Every annotated box is compared with the detection of its class near it, edge by edge, in units of the
    edge's own spread: a pixel off at a sharp edge counts, ten at a blurred one may not. Also lists whole
    boxes in doubt: taken for another class, not annotated, not seen, annotated twice. The detector may have
    been trained on the very data; calibrate it (edgewise calibrate) for probabilities to rely on.

    Example: `edgewise audit runs/bccd/best.safetensors bccd/ --split all --out doubts`

    Parameters
    ----------
    checkpoint
        A file, a transformers folder, or a hub name such as dfine-s-coco.
    data
        Folder or annotation file, in any format that training reads.
    split
        train, val or test, or all for every image there is.
    out
        Folder for report.html with pictures, suspects.csv and audit.json.
    number
        Suspects to show pictures of; the files list all.
    size
        Side of the square input, or HEIGHTxWIDTH; what it was trained at by default.
    batch
        Images a forward pass.
    device
        cpu, cuda, mps; the best there is by default.
    """
    from edgewise.api import Detector
    from edgewise.uses.audit_page import write_audit
    from edgewise.uses.joined import open_joined

    pair = parse_size(size)
    if number < 1:
        raise ValueError(f"-k {number}: expected at least one suspect to show")
    detector = Detector.from_pretrained(checkpoint, device=device)
    dataset = open_joined(data, split)
    if detector.calibration is None:
        console.print(
            f"{checkpoint} is not calibrated: the order of the suspects holds, the probabilities are rough; "
            f"better: edgewise calibrate {checkpoint} {data}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    found = detector.audit(dataset, batch=batch, size=pair, progress=True)
    page = write_audit(found, dataset, out, number)
    for rank, one in enumerate(found.suspects[: min(5, number)], 1):
        console.print(
            f"{rank}. {found.class_names[one.label]}, {one}", markup=False, highlight=False, soft_wrap=True
        )
    console.print(f"{found}; see {page}", markup=False, highlight=False, soft_wrap=True)
