"""`edgewise calibrate`."""

from pathlib import Path

from edgewise.cli.app import app, console, say
from edgewise.cli.options import Batch, Device, Size
from edgewise.cli.words import parse_size


@app.command
def calibrate(
    checkpoint: str,
    data: Path,
    *,
    split: str = "val",
    out: Path | None = None,
    report: Path | None = None,
    size: Size = None,
    batch: Batch = 8,
    device: Device = "auto",
) -> None:
    """Make error bars and scores keep their word, on annotated images that were not trained on.

    Fits how sure the detector really is of each edge, and stores it in the checkpoint: a 90 % interval then
    holds 90 % of the true edges of data like these, and a score of 0.8 is right four times in five. The table
    shows how well it does on images that a fit has not seen (cross-validation).

    Example: `edgewise calibrate runs/bccd/best.safetensors bccd/ --report runs/bccd/honesty`

    Parameters
    ----------
    checkpoint
        A file of ours, which gets the calibration; with --out also any other that predict loads.
    data
        Folder or annotation file, in any format that training reads, with the classes of the checkpoint.
    split
        train, val or test. At least 100 of its boxes have to be found, in 10 images.
    out
        Write a calibrated copy, and leave the checkpoint as it is.
    report
        Folder for honesty.json, honesty.md and the reliability, width and error diagrams.
    """
    from edgewise.api import Detector
    from edgewise.checkpoint import check_own, is_own, store_calibration
    from edgewise.data.open import open_dataset

    pair = parse_size(size)
    if out is None:
        check_own(checkpoint)
    detector = Detector.from_pretrained(checkpoint, device=device)
    dataset = open_dataset(data, split)
    for note in dataset.notes:
        say(note)
    honesty = detector.calibrate(dataset, split, size=pair, batch=batch, out=report, progress=True)
    fitted = detector.calibration
    assert fitted is not None
    console.print(honesty.table())
    say(fitted.describe())
    if is_own(checkpoint):
        store_calibration(checkpoint, fitted, detector.thresholds, out)
    else:
        detector.save(out or checkpoint)
    say(f"{out or checkpoint}: calibrated on the {split} split")
    if report:
        say(f"tables and diagrams are in {report}")
