"""Parameters that several commands share, each told once."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Checkpoint = Annotated[
    str, Parameter(help="A file, a transformers folder, or a hub name such as dfine-s-coco.")
]
Data = Annotated[Path, Parameter(help="Folder or annotation file, in any format that training reads.")]
Split = Annotated[str, Parameter(help="train, val or test.")]
Size = Annotated[
    str | None,
    Parameter(help="Side of the square input, or HEIGHTxWIDTH; what it was trained at by default."),
]
Batch = Annotated[int, Parameter(help="Images a forward pass.")]
Device = Annotated[str, Parameter(help="cpu, cuda, mps; the best there is by default.")]
Trust = Annotated[
    bool,
    Parameter(
        negative=(),
        help="Load a file of machine code (.engine, .aot.pt2), which can do whatever you can: only files you "
        "made, or of people you trust.",
    ),
]
