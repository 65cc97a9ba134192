"""`edgewise audit`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from edgewise.cli.app import app, say
from edgewise.cli.options import Batch, Checkpoint, Data, Device, Size
from edgewise.cli.words import parse_size


@app.command
def audit(
    checkpoint: Checkpoint,
    data: Data,
    *,
    split: str = "train",
    out: Path = Path("runs/audit"),
    number: Annotated[int, Parameter(name=["--number", "-k"])] = 50,
    size: Size = None,
    batch: Batch = 8,
    device: Device = "auto",
) -> None:
    """Find annotations that are probably wrong: boxes that a detector's error bars make improbable.

    Every annotated box is compared with the detection of its class near it, edge by edge, in units of the
    edge's own spread: a pixel off at a sharp edge counts, ten at a blurred one may not. Also lists whole
    boxes in doubt: taken for another class, not annotated, not seen, annotated twice. The detector may have
    been trained on the very data; calibrate it (edgewise calibrate) for probabilities to rely on.

    Example: `edgewise audit runs/bccd/best.safetensors bccd/ --split all --out doubts`

    Parameters
    ----------
    split
        train, val or test, or all for every image there is.
    out
        Folder for report.html with pictures, suspects.csv and audit.json.
    number
        Suspects to show pictures of; the files list all.
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
        say(
            f"{checkpoint} is not calibrated: the order of the suspects holds, the probabilities are rough; "
            f"better: edgewise calibrate {checkpoint} {data}",
        )
    found = detector.audit(dataset, batch=batch, size=pair, progress=True)
    page = write_audit(found, dataset, out, number)
    for rank, one in enumerate(found.suspects[: min(5, number)], 1):
        say(f"{rank}. {found.class_names[one.label]}, {one}")
    say(f"{found}; see {page}")
