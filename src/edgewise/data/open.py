"""Opening a data set, whatever its format: the one way in for training, evaluation and the doctor."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewise.data.dataset import Dataset
from edgewise.data.formats import FORMATS, Format, python_list
from edgewise.data.records import RawSplit
from edgewise.data.splits import SPLITS, split_name, with_validation

Data = str | Path | Sequence[Mapping[str, Any]]
"""A folder or file in any of the formats, or records (see `formats.python_list`)."""

Splits = Mapping[str, Dataset]
"""Data sets that are open already, by split: train, val, test."""


def open_dataset(data: Data, split: str) -> Dataset:
    """The split `split` of a data set: train, val or test, by any of their usual names.

    A validation split that is not there is held out of the training images, always the same ones. One
    annotation file of one split serves as the others in whole, but not training images to validate on.

    FileNotFoundError if there is no such split or images are missing; ValueError, naming file and line or
    id, for the first annotation that cannot be right. What can be mended is, and `notes` say so.
    """
    return Dataset(_one(data, split_name(split)))


def open_splits(data: Data, wanted: Collection[str] = tuple(SPLITS)) -> dict[str, Dataset]:
    """Those of the wanted splits that there are, read once: what `open_dataset` gives for each."""
    return {name: Dataset(split) for name, split in _read(data, wanted).items() if name in wanted}


def open_to_train(data: Data, wanted: Collection[str] = tuple(SPLITS)) -> dict[str, Dataset]:
    """`open_splits` with a training split among them.

    A file of one other split serves as that, less the images held out to validate on. FileNotFoundError where
    nothing does.
    """
    raw = _read(data, wanted)
    if "train" not in raw:
        raw = with_validation({"train": _one(data, "train")})
    return {name: Dataset(one) for name, one in raw.items() if name in wanted}


def read_splits(data: Data) -> dict[str, RawSplit]:
    """Every split as its files describe it, right or wrong; the held-out validation split among them."""
    return with_validation(written_splits(data))


def written_splits(data: Data) -> dict[str, RawSplit]:
    """Every split that there are files of, as they describe it, right or wrong."""
    if not isinstance(data, str | Path):
        return python_list.read(data)
    found, files, note = _recognise(Path(data))
    return _noted(found.read(Path(data), set(files)), note)


def written_files(data: str | Path) -> dict[str, Path]:
    """What each split that there are files of is read from, in the order train, val, test."""
    _, files, _ = _recognise(Path(data))
    return files


def available_splits(data: Data) -> dict[str, Path]:
    """What each split that `open_dataset` opens is read from, in the order train, val, test.

    A validation split that will be held out is among them, with the file of the training images.
    """
    if not isinstance(data, str | Path):
        return {name: split.file for name, split in read_splits(data).items()}
    files = written_files(data)
    if "val" in files or "train" not in files:
        return files
    return {name: split.file for name, split in _read(data, {"val"}).items()} | files


def _read(data: Data, wanted: Collection[str]) -> dict[str, RawSplit]:
    """The wanted splits that there are, and what has to be read with them."""
    if not isinstance(data, str | Path):
        return read_splits(data)
    path = Path(data)
    found, files, note = _recognise(path)
    needed = {"train" if name == "val" and "val" not in files else name for name in wanted} & set(files)
    splits = _noted(found.read(path, needed), note)
    return splits if "val" in files else with_validation(splits)


def _one(data: Data, name: str) -> RawSplit:
    """The split `name`, or a file that serves as it; FileNotFoundError where nothing does."""
    raw = _read(data, {name}).get(name) or _whole(data, name)
    if raw is None:
        found = ", ".join(f"{other} ({path})" for other, path in available_splits(data).items())
        raise FileNotFoundError(f"{_called(data)}: no {name} split; found {found}; name one of these")
    return raw


def _whole(data: Data, name: str) -> RawSplit | None:
    """All of one annotation file as the split `name`, if all of it is another split.

    But none is validated on with the images it is trained on.
    """
    if not isinstance(data, str | Path) or not Path(data).is_file():
        return None
    splits = written_splits(data)
    if len(splits) > 1 or (name == "val" and "train" in splits):
        return None
    (whole,) = splits.values()
    return replace(whole, name=name)


def _noted(splits: dict[str, RawSplit], notes: tuple[str, ...]) -> dict[str, RawSplit]:
    return {name: replace(one, notes=(*notes, *one.notes)) for name, one in splits.items()}


def _called(data: Data) -> str:
    return str(data) if isinstance(data, str | Path) else "the records"


def _recognise(data: Path) -> tuple[Format, dict[str, Path], tuple[str, ...]]:
    """The format of a folder or file, its splits, and a note where it is also of another."""
    if not data.exists():
        raise FileNotFoundError(f"{data}: no such data set folder or annotation file")
    for place, first in enumerate(FORMATS):
        if files := first.find(data):
            others = [one.NAME for one in FORMATS[place + 1 :] if _is(one, data)]
            also = f"{data} has annotations as {' and '.join([first.NAME, *others])}: {first.NAME} is read"
            return first, files, ((also,) if others else ())
    known = ", ".join(one.NAME for one in FORMATS)
    raise FileNotFoundError(
        f"{data}: no annotations found; expected {known}, such as train/_annotations.coco.json, "
        "data.yaml or Annotations/*.xml. Other formats: edgewise convert"
    )


def _is(one: Format, data: Path) -> bool:
    try:
        return bool(one.find(data))
    except (ValueError, OSError):  # it looks so, and is not read
        return True
