"""Opening a data set, whatever its format: the one way in for training, evaluation and the doctor."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewise.data.dataset import Dataset
from edgewise.data.formats import FORMATS, Format, python_list
from edgewise.data.records import RawSplit
from edgewise.data.splits import split_name, with_validation

Data = str | Path | Sequence[Mapping[str, Any]]
"""A folder or file in any of the formats, or records (see `formats.python_list`)."""


def open_dataset(data: Data, split: str) -> Dataset:
    """The split `split` of a data set: train, val or test, by any of their usual names.

    A validation split that is not there is held out of the training images, always the same ones. One
    annotation file that says no other split serves as `test` in whole.

    FileNotFoundError if there is no such split or images are missing; ValueError, naming file and line or
    id, for the first annotation that cannot be right. What can be mended is, and `notes` say so.
    """
    return Dataset(_read(data, split_name(split))[split_name(split)])


def open_splits(data: Data) -> dict[str, Dataset]:
    """Every split of a data set, read once: what `open_dataset` gives for each of `available_splits`."""
    return {name: Dataset(split) for name, split in read_splits(data).items()}


def read_splits(data: Data) -> dict[str, RawSplit]:
    """Every split as its files describe it, right or wrong; the held-out validation split among them."""
    return _read(data, None)


def available_splits(data: Data) -> dict[str, Path]:
    """What each split that `open_dataset` opens is read from, in the order train, val, test.

    A validation split that will be held out is among them, with the file of the training images.
    """
    if not isinstance(data, str | Path):
        return {name: split.file for name, split in _read(data, None).items()}
    path = Path(data)
    _, files, _ = _recognise(path)
    if "val" in files or "train" not in files:
        return files
    return {name: split.file for name, split in _read(path, "train").items()} | files


def _read(data: Data, wanted: str | None) -> dict[str, RawSplit]:
    """The wanted split and what is read with it; all without one. FileNotFoundError if it is not there."""
    if not isinstance(data, str | Path):
        return _having(with_validation(python_list.read(data)), wanted, "the records")
    path = Path(data)
    found, files, note = _recognise(path)
    needed = {wanted} if wanted in files and "val" in files else set(files)
    whole = found.read(path, needed)
    whole = {name: replace(one, notes=(*note, *one.notes)) for name, one in whole.items()}
    splits = whole if "val" in files else with_validation(whole)
    if wanted is not None and wanted not in splits and path.is_file() and len(files) == 1:
        (only,) = whole.values()
        return {wanted: replace(only, name=wanted)}
    return _having(splits, wanted, str(data))


def _having(splits: dict[str, RawSplit], wanted: str | None, data: str) -> dict[str, RawSplit]:
    if wanted is not None and wanted not in splits:
        found = ", ".join(f"{name} ({split.file})" for name, split in splits.items())
        raise FileNotFoundError(
            f"{data}: no {wanted} split; found {found}. Expected one of that name beside it"
        )
    return splits


def _recognise(data: Path) -> tuple[Format, dict[str, Path], tuple[str, ...]]:
    """The format of a folder or file, its splits, and a note where it is also of another."""
    if not data.exists():
        raise FileNotFoundError(f"{data}: no such data set folder or annotation file")
    found = [(one, files) for one in FORMATS if (files := one.find(data))]
    if not found:
        known = ", ".join(one.NAME for one in FORMATS)
        raise FileNotFoundError(
            f"{data}: no annotations found; expected {known}, such as train/_annotations.coco.json, "
            "data.yaml or Annotations/*.xml. Other formats: edgewise convert"
        )
    (first, files), *others = found
    also = " and ".join(one.NAME for one, _ in others)
    note = f"{data} has {first.NAME} annotations and {also} ones: {first.NAME} is read"
    return first, files, ((note,) if others else ())
