"""Comma-separated files as other programs write them: any usual separator, quotes."""

import csv
from collections.abc import Iterator
from pathlib import Path

SEPARATORS = ",;\t"


def header(file: Path) -> list[str]:
    """The cells of the first line, as they are."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        return next(csv.reader(lines, delimiter=separator(file)), [])


def rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank, the first included."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        reader = csv.reader(lines, delimiter=separator(file))
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]


def separator(file: Path) -> str:
    """The one of SEPARATORS that is most often in the first line."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        first = lines.readline()
    return max(SEPARATORS, key=first.count)
