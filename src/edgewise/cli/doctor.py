"""`edgewise doctor`."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from edgewise.cli.app import Flag, app, console, say
from edgewise.cli.words import parse_size


@app.command
def doctor(
    data: Path,
    *,
    size: str = "640",
    queries: int = 300,
    out: Path | None = None,
    fix: Path | None = None,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    strict: Annotated[bool, Flag] = False,
) -> int:
    """Find what is wrong with a data set before it is trained on: OK, or every problem and its place.

    Reads every annotation and every image. An error stops training; a warning is mended by it or harms the
    result; an info is worth knowing. The exit code is 1 where there is an error, with --strict also where
    there is a warning, else 0.

    Example: `edgewise doctor bccd/ --out report` to look at it, then `edgewise doctor bccd/ --fix clean` and
    `edgewise train clean`

    Parameters
    ----------
    data
        Folder or file of a data set, in any format that training reads.
    size
        Longer side of the input in the training to come, or HEIGHTxWIDTH.
    queries
        Objects the model can find in an image.
    out
        Folder for report.html (pictures, statistics, advice) and doctor.json.
    fix
        New folder for a cleaned copy in COCO's format and a list of the changes; DATA stays as it is. What is
        printed, and the exit code, are then those of the copy.
    json_
        Print everything as JSON.
    strict
        Warnings count as errors.
    """
    from edgewise.data.convert import check_new_folder
    from edgewise.doctor.examine import examine
    from edgewise.doctor.mend import mend
    from edgewise.doctor.page import write_page
    from edgewise.doctor.terminal import text

    wanted = parse_size(size)
    assert wanted is not None
    if fix is not None:  # said before all images are read
        check_new_folder(fix, apart_from=data if data.is_dir() else data.parent)
    found = examine(data, wanted, queries, console)
    if out is not None:
        say(f"the report is {write_page(found, out)}")
    if fix is not None:
        changes = mend(found, fix)
        said = f"{len(changes)} change{'' if len(changes) == 1 else 's'}"
        line = f"{said}; the cleaned copy and changes.md are in {fix}"
        say(line)
        found = examine(fix, wanted, queries, console)
    if json_:
        Console().print_json(json.dumps(found.to_dict()), indent=2, ensure_ascii=False)
    else:
        Console().print(text(found), highlight=False, soft_wrap=True)
    return 1 if found.counts["error"] or (strict and found.counts["warning"]) else 0
