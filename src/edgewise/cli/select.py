"""`edgewise select`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from edgewise.cli.app import app, say
from edgewise.cli.options import Batch, Checkpoint, Device, Size
from edgewise.cli.words import parse_size


@app.command
def select(
    checkpoint: Checkpoint,
    images: Annotated[list[str], Parameter(negative=())],
    *,
    number: Annotated[int, Parameter(name=["--number", "-k"])],
    known: Annotated[list[str] | None, Parameter(negative=())] = None,
    out: Path = Path("selected.txt"),
    size: Size = None,
    batch: Batch = 8,
    device: Device = "auto",
) -> None:
    """Pick the images worth annotating next: those the detector is unsure about, and no two of them alike.

    Unsure is an image whose objects have wide edges or boxes that still move in the last layer. One after
    another, the image is picked that has most doubt times distance, in what the encoder sees, to those
    before it. Writes a list, the most worthwhile first, and a contact sheet of them beside it. On scenes it
    was no better than chance (docs/uses.md): let a first set be drawn at random.

    Example: `edgewise select runs/bccd/best.safetensors unlabelled/ -k 50 --out next.csv`

    Parameters
    ----------
    images
        Images, folders, patterns ('photos/*.jpg') or URLs.
    number
        How many to pick.
    known
        Images that are annotated already, in the same forms: those like them are worth less.
    out
        The list: .txt for a path a line, .csv or .json for the numbers too; the sheet is NAME_sheet.jpg.
    """
    from edgewise.api import Detector
    from edgewise.uses.select import check_list

    pair = parse_size(size)
    check_list(out)
    detector = Detector.from_pretrained(checkpoint, device=device)
    found = detector.select(images, number, known or (), batch=batch, size=pair, progress=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    found.save(out)
    sheet = out.with_name(f"{out.stem}_sheet.jpg")
    found.sheet().save(sheet)
    say(
        f"{len(found.picks)} of {found.images} images are listed in {out}, the most worthwhile first; "
        f"{sheet} shows the first of them",
    )
