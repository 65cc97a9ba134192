"""What can be wrong with annotations, how bad it is, what training does about it: the place that knows.

Nothing here opens an image. `find_problems` looks at a split as its files describe it; `refuse` stops at the
first error; `mended` says in a sentence each what was put right. The doctor shows them all.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from edgewise.data.records import Problem, RawSplit, Severity, Table


class Fault(NamedTuple):
    """How bad a kind of problem is, what training does about it, and what many of them are called."""

    severity: Severity
    treatment: str
    many: str = ""


STOPS = "training stops"
LARGE = 8  # pixels a side: in smaller images boxes of a pixel may be all there are
FEW = 5  # boxes: so many may all happen to look like corners

FAULTS: dict[str, Fault] = {
    # files
    "file-unreadable": Fault("error", STOPS),
    "entry-malformed": Fault("error", STOPS),  # a line or object that is not what the format asks for
    "entry-foreign": Fault("warning", "left out", "annotations that are no boxes"),
    "polygon-line": Fault("warning", "the box around it counts", "polygons in files of boxes"),
    "box-rotated": Fault("warning", "the upright box around it counts", "rotated boxes"),
    "label-without-image": Fault("warning", "left out", "label files without an image"),
    # splits and classes
    "split-empty": Fault("error", STOPS),
    "split-without-boxes": Fault("error", STOPS),
    "category-name-twice": Fault("error", STOPS),
    "category-name-case": Fault("warning", "they are two classes", "class names that differ only in case"),
    "category-count": Fault(
        "warning", "the names count", "numbers of classes that are not those of the names"
    ),
    "category-id-twice": Fault("error", STOPS),
    "category-unknown": Fault("error", STOPS),
    "class-absent": Fault("info", "it stays a class"),
    # images
    "images-not-found": Fault("error", STOPS),  # none of them, or in several places
    "image-missing": Fault("error", STOPS),
    "image-unreadable": Fault("error", STOPS),
    "image-unknown": Fault("error", STOPS),  # a box of an image that the file does not list
    "image-id-twice": Fault("error", STOPS),
    "image-outside": Fault("error", STOPS),  # its path leads out of the data set
    "image-twice": Fault("warning", "every entry counts", "images that are listed again"),
    "image-undeclared": Fault("warning", "taken as negatives", "images that nothing is said about"),
    # boxes
    "annotation-id-twice": Fault("warning", "numbered anew", "annotation ids that are there again"),
    "box-not-finite": Fault("error", STOPS),
    "box-negative": Fault("error", STOPS),
    "box-outside": Fault("error", STOPS),
    "box-over-border": Fault("warning", "clipped", "boxes that reach over the border of their image"),
    "box-empty": Fault("warning", "left out", "boxes without area"),
    "box-fractions": Fault("error", STOPS),  # all of a split
    "box-corners": Fault("error", STOPS),  # all of a file
    "box-duplicate": Fault(
        "warning", "left out of training, kept for evaluation", "boxes that are there again"
    ),
}


def problem(kind: str, where: str, message: str) -> Problem:
    """A Problem with the severity and treatment of its kind."""
    fault = FAULTS[kind]
    return Problem(fault.severity, kind, where, message, fault.treatment)


def find_problems(split: RawSplit) -> list[Problem]:
    """Everything that is wrong with a split: what its reader met, then classes, images, boxes."""
    unreadable = any(one.kind == "file-unreadable" for one in split.problems)
    if unreadable and not split.images:
        return list(split.problems)
    return [*split.problems, *_of_classes(split), *_of_images(split), *_of_boxes(split)]


def refuse(split: RawSplit, problems: Sequence[Problem]) -> None:
    """Raises for the first error among the problems of a split, saying how many of its kind there are.

    FileNotFoundError for a missing image, else ValueError.
    """
    errors = [one for one in problems if one.severity == "error"]
    if not errors:
        return
    first = errors[0]
    same = sum(one.kind == first.kind for one in errors)
    such = f" ({same} such)" if same > 1 else ""
    all_of_them = "" if split.format == "records" else f". To see all: edgewise doctor {split.data}"
    text = f"{split.root / first.where}: {first.message}{such}{all_of_them}"
    raise FileNotFoundError(text) if first.kind in ("image-missing", "images-not-found") else ValueError(text)


def mended(problems: Sequence[Problem]) -> list[str]:
    """What training puts right, a sentence for each kind: «boxes without area: 3 (left out)»."""
    counts = Counter(one.kind for one in problems if one.severity == "warning")
    return [f"{FAULTS[kind].many}: {count} ({FAULTS[kind].treatment})" for kind, count in counts.items()]


# ── classes ────────────────────────────────────────────────────────────────────────────────────────


def _called(split: RawSplit, file: Path) -> str:
    """A file of a split as problems name it."""
    inside = file != split.root and file.is_relative_to(split.root)
    return file.relative_to(split.root).as_posix() if inside else str(file)


def _of_classes(split: RawSplit) -> Iterator[Problem]:
    where, naming = _called(split, split.file), _called(split, split.naming or split.file)
    spellings: dict[str, list[str]] = {}
    for name, count in Counter(split.categories.values()).items():
        spellings.setdefault(name.casefold(), []).append(repr(name))
        if count > 1:
            yield problem(
                "category-name-twice",
                naming,
                f"category name {name!r} is there {count} times; expected each once",
            )
    for names in spellings.values():
        if len(names) > 1:
            listed = " and ".join(names)
            yield problem(
                "category-name-case",
                naming,
                f"{listed} differ only in case; give them one name if they are the same",
            )
    if not split.images:
        yield problem("split-empty", where, f"no images in the {split.name} split; expected at least one")
        return
    used = set(split.table.category_ids.tolist())
    if not used and split.name in ("train", "val"):
        yield problem(
            "split-without-boxes",
            where,
            f"none of the {len(split.images)} images of the {split.name} split has a box; expected some: "
            + ("there is nothing to learn" if split.name == "train" else "AP would be undefined"),
        )
    present = {split.categories.get(number) for number in used}
    absent = [name for name in dict.fromkeys(split.categories.values()) if name not in present]
    if used and absent:
        listed = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        missing = f"{len(absent)} of {len(split.categories)} classes {'has' if len(absent) == 1 else 'have'}"
        yield problem(
            "class-absent",
            where,
            f"{missing} no box in the {split.name} split: {listed}",
        )


# ── images ─────────────────────────────────────────────────────────────────────────────────────────


def _of_images(split: RawSplit) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    lost = any(one.kind == "images-not-found" for one in split.problems)
    for one in split.images:
        path = str(one.path)
        where = f"{one.file}: image {one.image_id}" if one.file.endswith(".json") else one.file
        if path in seen:
            yield problem("image-twice", where, f"{one.path.name} is also image {seen[path]}")
        seen.setdefault(path, one.image_id)
        if not lost and not os.path.isfile(path):  # noqa: PTH113 - five times as fast
            yield problem(
                "image-missing",
                where,
                f"no image {one.path.name} in {one.path.parent}; add it, or take it out of the annotations",
            )
        elif not one.declared:
            yield problem(
                "image-undeclared", where, "nothing is annotated and nothing says that there is nothing"
            )


# ── boxes ──────────────────────────────────────────────────────────────────────────────────────────


def box_faults(table: Table) -> dict[str, Bool[np.ndarray, " N"]]:
    """Which boxes have which fault. Of the first four a box has at most one."""
    boxes, limits = table.boxes_xyxy, table.limits
    with np.errstate(invalid="ignore"):  # comparisons with nan are False, as wanted
        low, high = boxes[:, :2], boxes[:, 2:]
        finite = np.isfinite(boxes).all(1)
        negative = finite & (high < low).any(1)
        no_area = finite & ~negative & (high == low).any(1)
        outside = finite & ~negative & ~no_area & ((low >= limits) | (high <= 0)).any(1)
        clipped = clip(table)
        empty = finite & ~negative & ~outside & (clipped[:, 2:] <= clipped[:, :2]).any(1)
        over = finite & ~negative & ~outside & ~empty & (np.abs(clipped - boxes) >= 1).any(1)
    return {
        "box-not-finite": ~finite,
        "box-negative": negative,
        "box-outside": outside,
        "box-empty": empty,
        "box-over-border": over,
        "box-duplicate": repeated(table) & ~empty,
    }


def fractions(boxes_xyxy: Float64[np.ndarray, "N 4"], limits: Float64[np.ndarray, "N 2"]) -> str:
    """Says so where all boxes look like fractions of their images instead of pixels; else empty.

    `limits` are (width, height) of each box' image, nan where unknown.
    """
    reach = boxes_xyxy.max(initial=0)
    if not 0 < reach <= 1 < limits.min() / LARGE:
        return ""
    width, height = limits[0].astype(int)
    return (
        f"all {len(boxes_xyxy)} boxes end within {reach:.3g} of the corner of images of {height}x{width} "
        "(height x width): fractions of the image where pixels are expected. Multiply x and width by the "
        "image's width, y and height by its height"
    )


def corners(split: RawSplit) -> str:
    """Says so where a COCO file seems to have [x1, y1, x2, y2] for [x, y, width, height]; else empty.

    Sure enough to stop for: a quarter of the boxes reach over the border by a tenth of the image or more,
    which no rounding does, and yet every single one is a good box when it is read the other way.
    """
    table = split.table
    if split.format != "COCO" or len(table) < FEW:
        return ""
    given, limits = from_sides(table.boxes_xyxy), table.limits
    with np.errstate(invalid="ignore"):  # as in box_faults
        low, high = given[:, :2], given[:, 2:]
        good = (low > -1).all(1) & (high > low).all(1) & (high < limits + 1).all(1)
        far = (table.boxes_xyxy[:, 2:] > 1.1 * limits).any(1)
    if not good.all() or far.mean() < 0.25:
        return ""
    first = int(far.argmax())
    box, (width, height) = ", ".join(f"{value:.10g}" for value in given[first]), limits[first]
    return (
        f"{far.sum()} of {len(table)} boxes reach far over the border as [x, y, width, height], but all lie "
        f"within their images as corners [x1, y1, x2, y2]: the first is [{box}] in an image of "
        f"{height:.0f}x{width:.0f} (height x width). Write [x1, y1, x2 - x1, y2 - y1]; where width and "
        "height are right, cut the boxes at the border"
    )


def from_sides(boxes_xyxy: Float64[np.ndarray, "N 4"]) -> Float64[np.ndarray, "N 4"]:
    """The corners that were written where left, top, width and height are expected and were read."""
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], 1)


def sound(split: RawSplit) -> Bool[np.ndarray, " N"]:
    """The boxes, crowds among them, of a known class and without a fault, but perhaps over the border."""
    faults = box_faults(split.table)
    faulty = np.logical_or.reduce([mask for kind, mask in faults.items() if kind != "box-over-border"])
    found: np.ndarray = ~faulty & np.isin(split.table.category_ids, list(split.categories))
    return found


def clip(table: Table) -> Float64[np.ndarray, "N 4"]:
    """The boxes cut at the borders of their images."""
    limits = np.where(np.isnan(table.limits), np.inf, table.limits)
    return table.boxes_xyxy.clip(0, np.concatenate([limits, limits], 1))


def repeated(table: Table) -> Bool[np.ndarray, " N"]:
    """Boxes that are in their image already, with the same corners, of the same class; crowds aside."""
    left, image = table.boxes_xyxy[:, 0], table.image
    order = np.lexsort((left, image))
    near = np.zeros(len(order) + 1, bool)  # whether a box is like the one before it
    near[1:-1] = (image[order][1:] == image[order][:-1]) & (left[order][1:] == left[order][:-1])
    maybe = np.sort(order[near[:-1] | near[1:]])
    maybe = maybe[~table.crowd[maybe]]
    result = np.zeros(len(table), bool)
    keys = [image[maybe], table.category_ids[maybe]]
    rows = np.concatenate([np.stack(keys, 1).astype(np.float64), table.boxes_xyxy[maybe]], 1)
    result[maybe] = True
    result[maybe[np.unique(rows, axis=0, return_index=True)[1]]] = False
    return result


_EXPECTED = {
    "box-not-finite": "expected finite numbers",
    "box-negative": "expected x1 <= x2 and y1 <= y2",
    "box-outside": "expected a box that touches the image",
    "box-empty": "it has no area",
    "box-over-border": "it reaches over the border",
    "box-duplicate": "it is there already, with the same class",
}


def _of_boxes(split: RawSplit) -> Iterator[Problem]:
    table = split.table
    known = np.isin(table.category_ids, np.array(list(split.categories), np.int64))
    for index in np.flatnonzero(~known).tolist():
        yield problem(
            "category-unknown",
            _where(split, index),
            f"category {table.category_ids[index]} is not among the categories ({_listed(split)}); "
            "add it there or delete this",
        )
    if unlike := fractions(table.boxes_xyxy, table.limits):
        yield problem("box-fractions", _called(split, split.file), unlike)
    if mistaken := corners(split):
        yield problem("box-corners", _called(split, split.file), mistaken)
    yield from _repeated_ids(split)
    for kind, bad in box_faults(table).items():
        if mistaken and kind == "box-over-border":
            continue
        for index in np.flatnonzero(bad).tolist():
            box = ", ".join(f"{value:.10g}" for value in table.boxes_xyxy[index])
            width, height = table.limits[index]
            size = "" if np.isnan(width) else f" in an image of {height:.0f}x{width:.0f} (height x width)"
            yield problem(
                kind, _where(split, index), f"box [x1, y1, x2, y2] is [{box}]{size}; {_EXPECTED[kind]}"
            )


def _repeated_ids(split: RawSplit) -> Iterator[Problem]:
    """Of COCO files: only they number all their boxes."""
    if split.format != "COCO":
        return
    table = split.table
    ids = np.concatenate([np.empty(0, np.int64), *(one.lines for one in split.images)])
    values, counts = np.unique(ids, return_counts=True)
    for value, count in zip(values[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
        index = int(np.flatnonzero(ids == value)[-1])
        yield problem(
            "annotation-id-twice", _where(split, index), f"annotation id {value} is there {count} times"
        )
    assert len(ids) == len(table)


def _where(split: RawSplit, index: int) -> str:
    image = int(split.table.image[index])
    return split.images[image].where(index - int(split.table.first[image]))


def _listed(split: RawSplit) -> str:
    numbers = sorted(split.categories)
    if numbers and numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 2:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "") or "there are none"
