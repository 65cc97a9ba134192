"""Where the images of annotations are: beside them, in a folder near them, or not where a file says."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from edgewise.data.splits import split_in
from edgewise.images import SUFFIXES

Names = tuple[tuple[str, ...], ...]  # of one image, each in its parts
Listing = Callable[[Path], dict[str, Path]]

_SAMPLE = 8  # names tried to find out which folder it is
_FOLDERS = ("images", "JPEGImages", "Images", "img", "imgs")


def image_paths(names: Sequence[tuple[str, ...]], bases: Sequence[Path], split: str) -> list[Path]:
    """The path of each image, as a file under a folder that holds the first few of them.

    An image is known by one or more names: a file name, with folders before it or not, or without its suffix.
    Its folders are dropped from the left where the file is found only without them. One that is not there
    gets the path where it was expected. Looked in: `bases`, their sub folders, those beside them, and
    `images` above them; of several folders with the same names the one that is called like `split`. One of
    another split's name is never taken, unless it is one of `bases`.

    LookupError if none of the first few images is anywhere near, in several folders, or in those of other
    splits only.
    """
    if not names:
        return []
    parts = [tuple(parts_of(name) for name in one) for one in names]
    listing = cache(stems)  # folders do not change while this runs
    deepest = max(len(name) for one in parts[:_SAMPLE] for name in one)
    others: list[Path] = []  # with the same file names, of other splits
    for dropped in range(deepest):
        shorter = [tuple(drop(name, dropped) for name in one) for one in parts[:_SAMPLE]]
        for places in _places(bases):
            folders = [one for one in places if any(_find(one, image, listing) for image in shorter)]
            if len(folders) > 1:  # the same file names in train2017 and val2017
                folders = [one for one in folders if split_in(one.name) == split] or folders
            own = [one for one in folders if one in bases or split_in(one.name) in (None, split)]
            others += [one for one in folders if one not in own]
            folders = own
            if len(folders) > 1:
                raise LookupError(
                    f"its images, such as {names[0][0]}, are in {' and in '.join(map(str, folders))}; "
                    f"expected one folder: put them beside the file or name the folder {split}"
                )
            if folders:
                return [_found(folders[0], image, dropped, listing) for image in parts]
    if others:
        raise LookupError(
            f"its images, such as {names[0][0]}, are not there; files of these names are in {others[0]}, but "
            f"that is the {split_in(others[0].name)} split's by its name, and this is the {split} split: put "
            f"its own images beside the file or into a folder {split}"
        )
    raise LookupError(
        f"none of its images, such as {names[0][0]}, were found in {' and '.join(map(str, bases))} "
        "and folders near; put them there"
    )


def parts_of(name: str) -> tuple[str, ...]:
    """Folders and file of a path as Windows or another system writes it."""
    return PurePosixPath(name.replace("\\", "/")).parts


def _found(folder: Path, image: Names, dropped: int, listing: Listing) -> Path:
    names = tuple(drop(name, dropped) for name in image)
    if len(names) == 1 and _is_image(names[0][-1]):  # whether it is there is asked once, with everything else
        return folder.joinpath(*names[0])
    return _find(folder, names, listing) or folder.joinpath(*names[0])


def _find(folder: Path, image: Names, listing: Listing) -> Path | None:
    for name in image:
        *before, last = name
        path = folder.joinpath(*name)
        try:
            if _is_image(last):
                if path.is_file():
                    return path
            elif (file := listing(folder.joinpath(*before)).get(last)) is not None:
                return file
        except OSError:  # not ours to look into
            continue
    return None


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def drop(name: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Without `count` leading folders, but never without the file."""
    return name[min(count, len(name) - 1) :]


def stems(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their names without suffix."""
    try:
        found = sorted(os.listdir(folder))  # noqa: PTH208 - no Path is needed of what is no image
    except OSError:
        return {}
    return {name.rsplit(".", 1)[0]: folder / name for name in found if _is_image(name)}


def _places(bases: Sequence[Path]) -> Iterator[list[Path]]:
    """Where images may be, nearest first; one kind of place at a time."""
    bases = list(dict.fromkeys(bases))
    yield from ([base] for base in bases)
    yield list(dict.fromkeys(one for base in bases for one in _folders(base)))
    yield _folders(bases[0].parent)
    for base in bases:
        for above in (base.parent, base.parent.parent):
            yield [above / name for name in _FOLDERS]


def _folders(base: Path) -> list[Path]:
    """The sub folders of `base`, and those of its sub folder images."""
    return sorted(one for pattern in ("*/", "images/*/") for one in base.glob(pattern))
