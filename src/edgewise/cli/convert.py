"""`edgewise convert`."""

from pathlib import Path
from typing import Annotated

from edgewise.cli.app import Flag, app, say


@app.command
def convert(
    data: Path,
    *,
    to: str,
    out: Path,
    link: Annotated[bool, Flag] = False,
) -> None:
    """Write a data set anew as COCO, YOLO or Pascal VOC; DATA itself is left as it is.

    Reads what `train` reads, and DOTA and CreateML besides. Boxes stay as they are; what training would
    refuse is refused, and `edgewise doctor DATA --fix OUT` mends it.

    Example: `edgewise convert aquarium/ --to yolo --out aquarium-yolo`

    Parameters
    ----------
    data
        Folder or annotation file.
    to
        coco, yolo or voc.
    out
        A new folder.
    link
        Link to the images where they are instead of copying them.
    """
    from edgewise.data.convert import convert
    from edgewise.data.open import written_files

    for note in convert(data, to, out, link=link, progress=True):
        say(note)
    splits = ", ".join(written_files(out))
    say(f"{out} has {data} as {to}: {splits}")
