"""ImageNet's files (ILSVRC): Annotations/DET or CLS-LOC/SPLIT/…/*.xml, images under Data likewise."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from edgewise.data.formats import voc
from edgewise.data.formats.entries import Entry, Found, build_splits, labels_of, numbered
from edgewise.data.records import Problem, RawSplit
from edgewise.data.splits import SPLITS, split_in

NAME = "ImageNet"

_TASKS = ("DET", "CLS-LOC")
_CLASSES = ("LOC_synset_mapping.txt", "synset_words.txt")


def find(data: Path) -> dict[str, Path]:
    """The folder of XML files of each split."""
    for root in (data, data / "ILSVRC"):
        for task in _TASKS:
            folders = sorted((root / "Annotations" / task).glob("*/"))
            found = {name: one for one in folders if (name := split_in(one.name))}
            if found:
                return {name: found[name] for name in SPLITS if name in found}
    return {}


def read(data: Path, wanted: Collection[str]) -> dict[str, RawSplit]:
    """The wanted splits.

    Classes are called by their words where there is a file of them, else by their ids (n02119789), and
    numbered from 1 in the order of these names.
    """
    files, words = find(data), _words(data)
    read: dict[str, Found] = {}
    for name, folder in files.items():
        problems: list[Problem] = []
        entries = [
            _called(entry, words)
            for path in sorted(folder.rglob("*.xml"))
            for entry in voc.read_image(
                path, data, problems, path.relative_to(folder).with_suffix("").as_posix()
            )
        ]
        read[name] = Found(entries, [_images(folder)], problems)
    return build_splits(data, NAME, files, read, numbered(labels_of(read)), wanted)


def _images(annotations: Path) -> Path:
    """Data/DET/train of Annotations/DET/train."""
    root = annotations.parents[2]
    return root / "Data" / annotations.relative_to(root / "Annotations")


def _called(entry: Entry, words: Mapping[str, str]) -> Entry:
    boxes = [box._replace(label=words.get(str(box.label), box.label)) for box in entry.boxes]
    return replace(entry, boxes=boxes)


def _words(data: Path) -> dict[str, str]:
    """The first word of each class id that no other class has, of the file that ImageNet gives them in."""
    file = next(
        (one for name in _CLASSES for one in (data / name, data / "devkit/data" / name) if one.is_file()),
        None,
    )
    if file is None:
        return {}
    lines = [
        line.split(maxsplit=1) for line in file.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    words = {line[0]: line[1].split(",")[0].strip() for line in lines if len(line) == 2}
    counts = Counter(words.values())
    return {key: word for key, word in words.items() if counts[word] == 1}
