"""Training, validation, test: their usual names, and the validation split made where there is none."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from edgewise.data.records import RawSplit
from edgewise.images import SUFFIXES
from edgewise.spelling import unknown

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}

HELD_OUT = 0.15  # of the training images, where there is no validation split
MOST_HELD_OUT = 2000
FEWEST_IMAGES = 5  # to hold one out of


def split_name(split: str) -> str:
    """train, val or test, of any of its usual spellings."""
    for name, spellings in SPLITS.items():
        if split.lower() in spellings:
            return name
    raise ValueError(unknown(split, [word for words in SPLITS.values() for word in words], "split"))


def split_in(text: str) -> str | None:
    """The split that a word of `text` names, if only one is named."""
    words = set(re.split(r"[^a-z]+", text.lower()))
    names = [name for name, spellings in SPLITS.items() if words & set(spellings)]
    return names[0] if len(names) == 1 else None


def split_of(file: Path) -> str | None:
    """The split the name of a file says, else its folder's: valid or train2017, but not test_project."""
    folder = file.parent.name
    return split_in(file.stem) or (split_in(folder) if folder.isalnum() else None)


def by_split(files: Sequence[Path]) -> dict[str, Path]:
    """The file of each split among those of a kind, in the order of SPLITS.

    A lone one that says none is what the only folder of images near it says, else train. ValueError for two
    of a split.
    """
    if len(files) == 1:
        return {split_of(files[0]) or _split_near(files[0]) or "train": files[0]}
    found = {name: [one for one in files if split_of(one) == name] for name in SPLITS}
    for name, paths in found.items():
        if len(paths) > 1:
            listed = ", ".join(map(str, paths[:3])) + (", …" if len(paths) > 3 else "")
            raise ValueError(f"{len(paths)} files for the {name} split: {listed}; give the path of one")
    if files and not any(found.values()):
        raise ValueError(
            f"{', '.join(map(str, files[:3]))}: nothing says which split they are; call them train, val and "
            "test, or give the path of one"
        )
    return {name: paths[0] for name, paths in found.items() if paths}


def _split_near(file: Path) -> str | None:
    """The split that the only folder of images beside a file is called, or beside the folder it is in."""
    for base in (file.parent, file.parent.parent):
        folders = [one for one in (base, *base.glob("*/"), *base.glob("images/*/")) if _has_images(one)]
        if folders:
            return split_in(folders[0].name) if folders[0] != base and len(folders) == 1 else None
    return None


def _has_images(folder: Path) -> bool:
    try:
        with os.scandir(folder) as found:
            return any(one.name.lower().endswith(SUFFIXES) for one in found)
    except OSError:  # not ours to look into
        return False


def with_validation(splits: dict[str, RawSplit]) -> dict[str, RawSplit]:
    """The splits with a validation split held out of the training images if there was none.

    Always the same images whoever asks; the notes of both say what was done. Of fewer than FEWEST_IMAGES
    none is held out.
    """
    if "val" in splits or "train" not in splits:
        return splits
    train = splits["train"]
    if len(train.images) < FEWEST_IMAGES:
        note = f"no validation split, and too few images ({len(train.images)}) to hold some out for one"
        return {**splits, "train": replace(train, notes=(*train.notes, note))}
    held = held_out(train)
    note = (
        f"no validation split: {int(held.sum())} of the {len(held)} training images, chosen evenly over the "
        "classes, are held out for it"
    )
    parts = [
        tuple(one for one, out in zip(train.images, held, strict=True) if out == part) for part in (0, 1)
    ]
    val = replace(train, name="val", images=parts[1], problems=(), notes=(note,))
    train = replace(train, images=parts[0], notes=(*train.notes, note))
    rest = {name: split for name, split in splits.items() if name != "train"}
    return {"train": train, "val": val, **rest}


def held_out(split: RawSplit) -> Bool[np.ndarray, " I"]:
    """Which images of a split to validate on: HELD_OUT of them, at least one and at most MOST_HELD_OUT.

    Stratified by the rarest class of each image, the rarest classes first; images without boxes come last, as
    a class of their own. Within a class the order is that of hashed file names: it looks drawn, and does not
    depend on the order of the files.
    """
    count = len(split.images)
    wanted = min(MOST_HELD_OUT, max(1, round(HELD_OUT * count)))
    order = np.argsort([_drawn(one.path.name) for one in split.images], kind="stable")
    place = np.argsort(order)
    held, decided = np.zeros(count, bool), np.zeros(count, bool)
    for members in _members(split):
        free = members[~decided[members]]
        free = free[np.argsort(place[free])]
        short = round(wanted / count * len(members)) - int(held[members].sum())
        held[free[: min(max(short, 0), wanted - int(held.sum()))]] = True
        decided[members] = True
    spare = order[~held[order]]
    held[spare[: wanted - int(held.sum())]] = True
    return held


def _members(split: RawSplit) -> list[np.ndarray]:
    """Indices of the images with each class, the rarest class first, then of those without boxes."""
    table, count = split.table, len(split.images)
    classes, label = np.unique(table.category_ids, return_inverse=True)
    pairs = np.unique(label * count + table.image)
    by_class = [pairs[pairs // count == index] % count for index in range(len(classes))]
    return [*sorted(by_class, key=len), np.setdiff1d(np.arange(count), table.image)]


def _drawn(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest())
