"""Records in Python: [{"image": path, "boxes": [[x1, y1, x2, y2], …], "labels": [name, …]}, …]."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgewise.data.formats.entries import Box, Entry, Found, build_splits, labels_of, numbered
from edgewise.data.problems import problem
from edgewise.data.records import Problem, RawSplit
from edgewise.data.splits import SPLITS, split_name

NAME = "records"

_WANTED = (
    "expected a dictionary with image (a path), boxes ([[x1, y1, x2, y2], …] in pixels) and labels (as many "
    "class names)"
)


def read(records: Sequence[Mapping[str, Any]]) -> dict[str, RawSplit]:
    """The splits of records; one may say its own under "split", and without is train.

    Boxes are in pixels of the upright image. An image without boxes has empty lists. Classes are numbered
    from 1 in the order of their names. ValueError for an empty list.
    """
    if not records:
        raise ValueError(f"the list of records is empty; {_WANTED}")
    entries: dict[str, list[Entry]] = {name: [] for name in SPLITS}
    problems: dict[str, list[Problem]] = {name: [] for name in SPLITS}
    for number, one in enumerate(records):
        try:
            split = split_name(one.get("split", "train"))
            entries[split].append(_entry(number, one))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            problems["train"].append(problem("entry-malformed", f"record {number}", _expected(error)))
    read = {
        name: Found(entries[name], [], problems[name]) for name in SPLITS if entries[name] or problems[name]
    }
    files = dict.fromkeys(SPLITS, Path("records"))
    return build_splits(Path(), NAME, files, read, numbered(labels_of(read)))


def _entry(number: int, one: Mapping[str, Any]) -> Entry:
    boxes, labels = one["boxes"], one["labels"]
    if len(boxes) != len(labels):
        raise ValueError(f"{len(boxes)} boxes but {len(labels)} labels")
    if wrong := [label for label in labels if not isinstance(label, str) or not label]:
        raise ValueError(f"label {wrong[0]!r} is no class name")
    rows = []
    for box, label in zip(boxes, labels, strict=True):
        x1, y1, x2, y2 = map(float, box)
        rows.append(Box((x1, y1, x2, y2), label, number))
    return Entry((), "records", rows, path=Path(one["image"]).absolute())


def _expected(error: Exception) -> str:
    missing = isinstance(error, KeyError)
    return f"{f'no {error}' if missing else error}; {_WANTED}"
