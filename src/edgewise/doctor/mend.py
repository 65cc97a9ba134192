"""A cleaned copy of a data set, and a line for each thing that was changed. The original is only read."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from PIL import Image

from edgewise.data.convert import check_new_folder, file_names, write_coco
from edgewise.data.problems import clip, corners, from_sides, sound
from edgewise.data.records import Problem, RawImage, RawSplit
from edgewise.doctor.checks import PAIRS, place, repeated, twins
from edgewise.doctor.examine import Diagnosis
from edgewise.doctor.scan import Scan
from edgewise.doctor.statistics import by
from edgewise.images import read_image

BOX, ENTRY, IMAGE = "the box is left out", "it is left out", "the image is left out"

DONE: Mapping[str, str] = {
    "file-unreadable": "its images are left out",
    "entry-malformed": ENTRY,
    "entry-foreign": ENTRY,
    "polygon-line": "the box around it is kept",
    "box-rotated": "the upright box around it is kept",
    "label-without-image": ENTRY,
    "category-name-twice": "they are one class",
    "category-count": "the names count",
    "category-id-twice": ENTRY,
    "category-unknown": BOX,
    "image-missing": IMAGE,
    "image-unreadable": IMAGE,
    "image-unknown": BOX,
    "image-id-twice": IMAGE,
    "image-outside": IMAGE,
    "image-twice": "it is one image with the boxes of both",
    "image-undeclared": "it is declared a negative",
    "image-rotated": "it is stored upright",
    "image-repeated": IMAGE,
    "image-in-two-splits": IMAGE,
    "annotation-id-twice": "annotations are numbered anew",
    "box-not-finite": BOX,
    "box-negative": BOX,
    "box-outside": BOX,
    "box-over-border": "it is clipped",
    "box-empty": BOX,
    "box-corners": "they are read as corners",
    "box-duplicate": BOX,
}  # and image-size, by what the sizes are; the rest takes other images or settings


@dataclass(frozen=True)
class Change:
    """One thing that is different in the copy: where it was, of which kind, what was found, what was done."""

    where: str
    kind: str
    found: str
    done: str


def mend(diagnosis: Diagnosis, folder: str | Path) -> list[Change]:
    """Writes a copy of the data set without what can be mended into `folder`; returns what was changed.

    The copy has Roboflow's layout: a folder a split with _annotations.coco.json (boxes only) and its images,
    which are copied as they are unless EXIF turns them. changes.jsonl and changes.md hold the changes. Boxes
    and images that cannot be right are left out; of an image in two splits the one in test stays, then the
    one in val.

    Raises ValueError for a folder that has something in it or lies within the data set.
    """
    folder = Path(folder)
    check_new_folder(folder, apart_from=next(iter(diagnosis.splits.values())).root)
    folder.mkdir(parents=True, exist_ok=True)
    sized: dict[str, str] = {}
    left_out = _left_out(diagnosis)
    for name, split in diagnosis.splits.items():
        images = [image for image in split.images if (name, image.path) not in left_out]
        if corners(split):
            images = [replace(image, boxes_xyxy=from_sides(image.boxes_xyxy)) for image in images]
        fitted = [
            _fitted(image, diagnosis.scans[image.path], place(image.path, split), sized) for image in images
        ]
        clean = replace(split, images=tuple(_merged([image for image in fitted if image is not None])))
        _write(clean, diagnosis.scans, folder)
    changes = list(_changes(diagnosis.problems, sized))
    lines = [json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in changes]
    (folder / "changes.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "changes.md").write_text(_page(diagnosis, changes), encoding="utf-8")
    return changes


def _left_out(diagnosis: Diagnosis) -> set[tuple[str, Path]]:
    """Images (split, path) that the copy is without."""
    splits, scans = diagnosis.splits, diagnosis.scans
    unread = {one.where for one in diagnosis.problems if one.kind == "file-unreadable"}
    dropped = set()
    for name, split in splits.items():
        for image in split.images:
            scan = scans.get(image.path)
            if scan is None or scan.size is None or image.file in unread:
                dropped.add((name, image.path))
        dropped |= {(name, image.path) for image, _ in repeated(split, scans)}
    for first, second in PAIRS:
        if first in splits and second in splits:
            pairs = twins(splits[first], splits[second], scans)
            dropped |= {(first, image.path) for image, _, same in pairs if same}
    return dropped


def _fitted(image: RawImage, scan: Scan, where: str, done: dict[str, str]) -> RawImage | None:
    """The image with its own size and boxes in its own pixels; None where nobody can tell how.

    What was done about another annotated size is noted under `where`.
    """
    assert scan.size is not None
    given, own = image.size or scan.size, scan.size
    if given == own:
        return image
    boxes = image.boxes_xyxy
    if given == scan.stored_size:
        done[where] = "its boxes are turned with it, which is stored upright"
        return replace(image, size=own, boxes_xyxy=_turned(boxes, given, scan.orientation))
    ratio = own[0] / given[0], own[1] / given[1]
    if abs(ratio[0] / ratio[1] - 1) < 0.01:
        done[where] = f"its boxes are scaled from {by(given)} to {by(own)}"
        return replace(image, size=own, boxes_xyxy=boxes * np.array([ratio[1], ratio[0]] * 2))
    if np.isfinite(boxes).all() and (boxes[:, 2:] <= (own[1], own[0])).all():
        done[where] = "all its boxes lie within it: its own size is written"
        return replace(image, size=own)
    done[where] = IMAGE
    return None


def _turned(
    boxes_xyxy: Float64[np.ndarray, "n 4"], size: tuple[int, int], orientation: int
) -> Float64[np.ndarray, "n 4"]:
    """Boxes on a stored image of that (height, width), on the image turned upright; orientation is 5 to 8."""
    left, top, right, bottom = boxes_xyxy.T
    height, width = size
    x = (height - bottom, height - top) if orientation in (6, 7) else (top, bottom)
    y = (width - right, width - left) if orientation in (7, 8) else (left, right)
    return np.stack([x[0], y[0], x[1], y[1]], 1)


def _merged(images: Sequence[RawImage]) -> Iterator[RawImage]:
    """Entries of the same file as one."""
    by_path: dict[Path, list[RawImage]] = {}
    for image in images:
        by_path.setdefault(image.path, []).append(image)
    for same in by_path.values():
        yield replace(
            same[0],
            boxes_xyxy=np.concatenate([image.boxes_xyxy for image in same]),
            category_ids=np.concatenate([image.category_ids for image in same]),
            crowd=np.concatenate([image.crowd for image in same]),
            area=np.concatenate([image.area for image in same]),
            lines=np.concatenate([image.lines for image in same]),
        )


# ── writing ────────────────────────────────────────────────────────────────────────────────────────


def _write(split: RawSplit, scans: Mapping[Path, Scan], folder: Path) -> None:
    names = file_names(split.images)
    write_coco({split.name: _clean(split)}, {split.name: names}, folder)
    for image, name in zip(split.images, names, strict=True):
        target = folder / split.name / name
        if scans[image.path].orientation == 1:
            shutil.copyfile(image.path, target)
        else:
            Image.fromarray(read_image(image.path)).save(target, quality=95)


def _clean(split: RawSplit) -> RawSplit:
    """The split with the boxes that training takes and crowds, clipped, and each class once."""
    table, good = split.table, sound(split)
    corners, names = clip(table), split.categories
    first_id = {name: number for number, name in list(names.items())[::-1]}
    images = []
    for image, start in zip(split.images, table.first.tolist(), strict=True):
        kept = good[start : start + len(image.lines)]
        ids = [first_id[names[one]] for one in image.category_ids[kept].tolist()]
        images.append(
            replace(
                image,
                boxes_xyxy=corners[start : start + len(image.lines)][kept],
                category_ids=np.array(ids, np.int64),
                crowd=image.crowd[kept],
                area=image.area[kept],
                lines=image.lines[kept],
            )
        )
    categories = {number: name for number, name in names.items() if first_id[name] == number}
    return replace(split, images=tuple(images), categories=categories)


# ── telling ────────────────────────────────────────────────────────────────────────────────────────


def _changes(problems: Sequence[Problem], sized: Mapping[str, str]) -> Iterator[Change]:
    for one in problems:
        done = sized.get(one.where) if one.kind == "image-size" else DONE.get(one.kind)
        if done is not None:
            yield Change(one.where, one.kind, one.message, done)


def _page(diagnosis: Diagnosis, changes: Sequence[Change]) -> str:
    counts = Counter(one.kind for one in changes)
    summary = ", ".join(f"{n} {kind}" for kind, n in counts.items()) or "none"
    lines = [f"- {one.where}: {one.kind}: {one.found} → {one.done}" for one in changes]
    return "\n".join([f"# Changes from {diagnosis.data}", "", f"{len(changes)}: {summary}", "", *lines, ""])
