"""`edgewise evaluate`."""

from pathlib import Path
from typing import Annotated

from edgewise.cli.app import Flag, app, console, say
from edgewise.cli.options import Batch, Checkpoint, Data, Device, Size, Split, Trust
from edgewise.cli.words import describe, parse_size


@app.command
def evaluate(
    checkpoint: Checkpoint,
    data: Data,
    *,
    split: Split = "val",
    size: Size = None,
    batch: Batch = 8,
    out: Path | None = None,
    save_thresholds: Annotated[bool, Flag] = False,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Score a checkpoint on annotated images: COCO's numbers, and for each class its AP and best threshold.

    The classes of checkpoint and data are matched by name. A data set without a validation split is scored
    on the images that training holds out for it. With --save-thresholds, predict --threshold auto knows for
    each class which score is enough.

    Example: `edgewise evaluate runs/bccd/best.safetensors bccd/ --split test --out runs/bccd/test`

    Parameters
    ----------
    out
        Folder for metrics.json, classes.csv, confusion matrix, precision-recall and F1 curves, the worst
        images, and honesty.md: whether error bars and scores keep their word, with diagrams.
    save_thresholds
        Store each class's score threshold of best F1 in the checkpoint, for predict --threshold auto.
    """
    from edgewise.api import Detector
    from edgewise.checkpoint import check_own, store_thresholds
    from edgewise.data.open import open_dataset

    pair = parse_size(size)
    if save_thresholds:
        check_own(checkpoint)
    detector = Detector.from_pretrained(checkpoint, device=device, trust=trust)
    dataset = open_dataset(data, split)
    for note in dataset.notes:
        say(note)
    metrics = detector.evaluate(dataset, size=pair, batch=batch, out=out, progress=True)
    console.print(metrics.table())
    if save_thresholds:
        thresholds = metrics.thresholds(detector.class_names, split)
        if thresholds is None:
            raise ValueError(
                f"{data}: nothing that was found in the {split} split is right (best F1 0), so no threshold "
                "is better than another and none is stored; train longer, or give predict a number such as "
                "0.05"
            )
        store_thresholds(checkpoint, thresholds)
        say(f"{checkpoint}: {describe(thresholds, detector.class_names)}")
    if out:
        say(f"numbers, curves and the worst images are in {out}")
