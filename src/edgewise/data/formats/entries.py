"""What readers have in common: images with boxes as a format writes them, made into a RawSplit."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgewise.data.formats.places import image_paths, stems
from edgewise.data.problems import problem
from edgewise.data.records import LARGEST_ID, Problem, RawImage, RawSplit
from edgewise.data.splits import SPLITS
from edgewise.images import image_size


class Box(NamedTuple):
    """One box: x1, y1, x2, y2 in pixels, or as fractions of the image; a class name or the file's number."""

    corners: tuple[float, float, float, float]
    label: str | int
    line: int
    crowd: bool = False


@dataclass(frozen=True)
class Entry:
    """One image: its names in the order they are tried (see `places`), or its path; its boxes and their file.

    `size` is (height, width), None where the format does not say. `image_id` counts if all images of the
    split have one of their own, none above LARGEST_ID. `declared` as in RawImage.
    """

    names: tuple[str, ...]
    file: str
    boxes: Sequence[Box] = ()
    size: tuple[int, int] | None = None
    path: Path | None = None
    image_id: int | None = None
    declared: bool = True


@dataclass(frozen=True)
class Source:
    """Where a split comes from: the data set the user named, the format's name, the file or folder read."""

    data: Path
    format: str
    file: Path

    @property
    def root(self) -> Path:
        return self.data.parent if self.data.is_file() else self.data


@dataclass(frozen=True)
class Found:
    """What was read of a split: its images, where their files may be, what is wrong, what should be said.

    With `fractions` corners are fractions of the image, not pixels.
    """

    entries: Sequence[Entry]
    bases: Sequence[Path]
    problems: Sequence[Problem] = ()
    notes: Sequence[str] = ()
    fractions: bool = False


def build_splits(
    data: Path,
    format: str,
    files: Mapping[str, Path],
    read: Mapping[str, Found],
    categories: Mapping[int, str],
    wanted: Collection[str] = tuple(SPLITS),
) -> dict[str, RawSplit]:
    """The wanted ones of the splits that were read of `data`, each from its file or folder of `files`."""
    return {
        name: _build(name, Source(data, format, files[name]), found, categories)
        for name, found in read.items()
        if name in wanted
    }


def _build(split: str, source: Source, read: Found, categories: Mapping[int, str]) -> RawSplit:
    """Images are found under or near the bases, sizes read where they are not said."""
    entries, found = read.entries, list(read.problems)
    paths = _paths(split, source, entries, read.bases, found)
    number = {name: category for category, name in categories.items()}
    numbers = [entry.image_id for entry in entries]
    own = all(one is not None and one <= LARGEST_ID for one in numbers) and len(set(numbers)) == len(numbers)
    images = []
    for place, (entry, path) in enumerate(zip(entries, paths, strict=True), 1):
        size = entry.size or measured(path, relative(path, source.root), found)
        boxes = entry.boxes
        corners = np.array([box.corners for box in boxes], np.float64).reshape(-1, 4)
        if read.fractions and size is not None:
            corners *= [size[1], size[0], size[1], size[0]]
        elif read.fractions:  # of an image that is missing or broken, which is error enough
            boxes, corners = (), corners[:0]
        images.append(
            RawImage(
                path=path,
                image_id=entry.image_id if own and entry.image_id is not None else place,
                size=size,
                boxes_xyxy=corners,
                category_ids=np.array(
                    [number[one] if isinstance(one, str) else one for _, one, *_ in boxes], np.int64
                ),
                crowd=np.array([box.crowd for box in boxes], bool),
                area=np.full(len(boxes), np.nan),
                file=entry.file,
                lines=np.array([box.line for box in boxes], np.int64),
                declared=entry.declared,
            )
        )
    return RawSplit(
        name=split,
        format=source.format,
        file=source.file,
        categories=dict(categories),
        images=tuple(images),
        problems=tuple(found),
        notes=tuple(read.notes),
        data=source.data,
    )


def _paths(
    split: str, source: Source, entries: Sequence[Entry], bases: Sequence[Path], found: list[Problem]
) -> list[Path]:
    unknown = [entry.names for entry in entries if entry.path is None]
    try:
        looked_up = iter(image_paths(unknown, bases, split))
    except LookupError as error:
        found.append(problem("images-not-found", relative(source.file, source.root), str(error)))
        looked_up = iter([bases[0] / names[0] for names in unknown])
    return [entry.path or next(looked_up) for entry in entries]


def measured(path: Path, where: str, found: list[Problem]) -> tuple[int, int] | None:
    """(height, width) of an image file; None, and a problem if it is there, where that cannot be read."""
    try:
        return image_size(path)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        found.append(problem("image-unreadable", where, str(error).removeprefix(f"{path}: ")))
        return None


def undeclared(
    folders: Iterable[Path], entries: Iterable[Entry], files: Iterable[Path], root: Path
) -> list[Entry]:
    """Entries that say nothing, of the images in `folders` that no entry and no file is called like."""
    known = {Path(name).stem for entry in entries for name in entry.names} | {path.stem for path in files}
    images = (path for folder in dict.fromkeys(folders) for path in stems(folder).values())
    return [
        Entry((), relative(path, root), path=path, declared=False)
        for path in images
        if path.stem not in known
    ]


def numbered(names: Iterable[str], first: int = 1) -> dict[int, str]:
    """Category numbers for a format that has none: those names in this order, each once."""
    return dict(enumerate(dict.fromkeys(names), first))


def labels_of(read: Mapping[str, Found]) -> list[str]:
    """The class names of all boxes of all splits, sorted."""
    return sorted(
        {str(box.label) for found in read.values() for entry in found.entries for box in entry.boxes}
    )


def relative(path: Path, root: Path) -> str:
    """`path` as it is written in a Problem: from the data set where it lies within, with forward slashes."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def ends(path: Path) -> bytes:
    """The first and the last 4096 bytes of a file, to tell formats of one suffix apart."""
    with path.open("rb") as file:
        begun = file.read(4096)
        file.seek(-min(4096, path.stat().st_size), 2)
        return begun + file.read()


def around(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """The smallest upright box around points (x, y)."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


def decimal(text: str) -> float:
    """A number, also with a decimal comma. ValueError if it is none."""
    return float(text.strip().replace(",", "."))
