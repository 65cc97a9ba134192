"""What annotations alone cannot tell: faults of image files, between splits, and against the settings.

Faults of annotations are found by `data.problems`, which training uses too.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from edgewise.data.formats.entries import relative
from edgewise.data.problems import STOPS, Fault, clip
from edgewise.data.records import Problem, RawImage, RawSplit
from edgewise.doctor.likeness import lookalikes
from edgewise.doctor.scan import Scan
from edgewise.doctor.statistics import RARE, Statistics, by, usable

FAULTS: dict[str, Fault] = {
    "note": Fault("info", "read so"),  # a choice between several ways to read the folder
    # image files
    "image-unreadable": Fault("error", STOPS),
    "image-size": Fault("error", STOPS),
    "image-rotated": Fault("warning", "turned upright; see that its boxes were drawn on the upright image"),
    # between splits
    "image-repeated": Fault("warning", "every copy counts"),
    "image-in-two-splits": Fault("warning", "used in both, so that scores flatter"),
    "image-alike": Fault("info", "used; neighbours of a scene or video belong in one split"),
    "class-untaught": Fault("warning", "it is never found; add images with it to train, or leave it out"),
    "class-imbalance": Fault("info", "images are seen equally often; repeat_factor shows rare classes more"),
    # against the settings
    "boxes-above-queries": Fault(
        "warning", "no more of them are learned or found; raise decoder.num_queries"
    ),
    "box-below-pixel": Fault(
        "warning", "left out of training at that size; a larger input or tiles would help"
    ),
}

PAIRS = (("val", "test"), ("train", "test"), ("train", "val"))  # the second is the one to keep an image
Scans = Mapping[Path, Scan]


def problem(kind: str, where: str, message: str) -> Problem:
    """A Problem with the severity and treatment of its kind."""
    fault = FAULTS[kind]
    return Problem(fault.severity, kind, where, message, fault.treatment)


def place(path: Path, split: RawSplit) -> str:
    """A path as a user knows it: from the data set's folder where it lies in there."""
    return relative(path, split.root)


# ── image files ────────────────────────────────────────────────────────────────────────────────────


def image_problems(split: RawSplit, scans: Scans) -> Iterator[Problem]:
    """Files that cannot be decoded, are turned by EXIF or have another size than annotated.

    Missing files are none of them: `data.problems` names those.
    """
    for image in split.images:
        scan = scans.get(image.path)
        if scan is not None:
            yield from _file_problems(image, scan, place(image.path, split))


def _file_problems(image: RawImage, scan: Scan, where: str) -> Iterator[Problem]:
    if scan.size is None:
        yield problem("image-unreadable", where, scan.error)
    elif image.size not in (None, scan.size):
        turned = image.size == scan.stored_size
        why = ", since EXIF orientation is applied" if turned else ""
        yield problem(
            "image-size",
            where,
            f"annotated as {by(image.size)} (height x width) but is {by(scan.size)}{why}",
        )
    elif scan.orientation != 1:
        yield problem("image-rotated", where, f"stored turned: its EXIF orientation is {scan.orientation}")


# ── between splits ─────────────────────────────────────────────────────────────────────────────────


def balance_problems(split: RawSplit, counts: Statistics) -> Iterator[Problem]:
    """Classes with far fewer boxes than the most frequent one."""
    frequent = max(counts.classes.values(), default=0)
    rare = {name: count for name, count in counts.classes.items() if 0 < count * RARE < frequent}
    if rare:
        listed = ", ".join(f"{name!r} ({count})" for name, count in rare.items())
        most = f"{next(iter(counts.classes))!r} ({frequent})"
        message = f"over {RARE} times fewer boxes than of {most}: {listed}"
        yield problem("class-imbalance", f"{split.name} split", message)


def untaught_problems(counts: Mapping[str, Statistics]) -> Iterator[Problem]:
    """Classes with boxes in another split, but none in the training split to learn from."""
    taught = counts["train"].classes
    for split, one in counts.items():
        untaught = [
            f"{name!r} ({count})" for name, count in one.classes.items() if count and not taught[name]
        ]
        if untaught:
            message = f"classes without a box in train: {', '.join(untaught)}"
            yield problem("class-untaught", f"{split} split", message)


def likeness_problems(splits: Mapping[str, RawSplit], scans: Scans) -> Iterator[Problem]:
    """The same file twice in a split; the same picture, or nearly the same, in two."""
    for split in splits.values():
        for image, first in repeated(split, scans):
            message = f"the same file as {place(first.path, split)}"
            yield problem("image-repeated", place(image.path, split), message)
    for one, other in PAIRS:
        if one in splits and other in splits:
            yield from _shared(splits[one], splits[other], scans)


def repeated(split: RawSplit, scans: Scans) -> Iterator[tuple[RawImage, RawImage]]:
    """Images whose file is equal to that of another before it, and that one."""
    seen: dict[bytes, RawImage] = {}
    for image in split.images:
        scan = scans.get(image.path)
        if scan is not None and scan.size is not None:
            first = seen.setdefault(scan.digest, image)
            if first.path != image.path:
                yield image, first


def _shared(first: RawSplit, second: RawSplit, scans: Scans) -> Iterator[Problem]:
    for image, other, same in twins(first, second, scans):
        kind = "image-in-two-splits" if same else "image-alike"
        what = "the same image" if same else "nearly the same image"
        message = f"{what} is in {second.name}: {place(other.path, second)}"
        yield problem(kind, place(image.path, first), message)


def twins(first: RawSplit, second: RawSplit, scans: Scans) -> list[tuple[RawImage, RawImage, bool]]:
    """Images of `first` with the one of `second` that each looks like, and whether it is the same picture."""
    one, other = (
        [(image, scan.thumbnail) for image in split.images if (scan := scans.get(image.path)) and scan.size]
        for split in (first, second)
    )
    thumbnails = [np.array([t for _, t in side], np.uint8).reshape(-1, 64, 64) for side in (one, other)]
    found = lookalikes(*thumbnails)
    return [(one[pair.first][0], other[pair.second][0], pair.same) for pair in found]


# ── against the settings ───────────────────────────────────────────────────────────────────────────


def setting_problems(
    split: RawSplit, counts: Statistics, size: tuple[int, int], queries: int
) -> Iterator[Problem]:
    """Images with more boxes than there are queries; boxes that are nothing at the input's resolution."""
    for index in np.flatnonzero(np.greater(counts.per_image, queries)).tolist():
        message = f"{counts.per_image[index]} boxes, but the model has {queries} queries"
        yield problem("boxes-above-queries", place(split.images[index].path, split), message)
    table, corners = split.table, clip(split.table)
    sides: np.ndarray = (corners[:, 2:] - corners[:, :2]) / table.limits * np.array(size[::-1])
    for row in np.flatnonzero(usable(split) & (sides < 1).any(1)).tolist():
        image = split.images[table.image[row]]
        width, height = sides[row]
        yield problem(
            "box-below-pixel",
            image.where(row - int(table.first[table.image[row]])),
            f"its box is {height:.2g}x{width:.2g} px (height x width) at an input of {by(size)}",
        )
