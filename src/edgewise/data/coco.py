"""COCO annotation files: found in a folder, checked with one clear error, read as Samples.

Category ids live here only: labels are their places in `CocoDataset.category_ids`.
"""

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from edgewise.config import unknown
from edgewise.images import read_image
from edgewise.structures import Sample

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}


class CocoDataset:
    """One split: `dataset[i]` is the Sample of image i, decoded when asked for.

    class_names     by label
    category_ids    by label: the file's own numbers
    image_ids       the file's own numbers
    paths           of the images
    annotations     the cleaned COCO dictionary (images, annotations, categories) for evaluation: crowds
                    included, the file's category ids, annotations numbered from 1, no segmentations
    notes           what was left out or changed on reading, a sentence each

    Samples have no crowd boxes, and every box lies within its image and has an area.
    """

    def __init__(self, annotations: dict[str, Any], folder: Path, notes: tuple[str, ...] = ()) -> None:
        self.annotations = annotations
        self.notes = notes
        categories, images = annotations["categories"], annotations["images"]
        self.class_names: tuple[str, ...] = tuple(one["name"] for one in categories)
        self.category_ids: tuple[int, ...] = tuple(one["id"] for one in categories)
        self.image_ids: tuple[int, ...] = tuple(one["id"] for one in images)
        self.paths: tuple[Path, ...] = tuple(folder / one["file_name"] for one in images)
        self._sizes = [(one["height"], one["width"]) for one in images]
        self._boxes, self._labels = _by_image(annotations)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """Raises what `read_image` raises, and ValueError if the image is not of the annotated size."""
        path = self.paths[index]
        image = read_image(path)
        height, width = self._sizes[index]
        if image.shape[:2] != (height, width):
            raise ValueError(
                f"{path}: the image is {image.shape[1]}x{image.shape[0]} (width x height, upright) but its "
                f"annotation (image id {self.image_ids[index]}) says {width}x{height}; annotate the image "
                "as it is, or save it again without EXIF orientation if that is what turns it"
            )
        return Sample(image, self._boxes[index], self._labels[index], self.image_ids[index], str(path))


def _by_image(annotations: dict[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """boxes_xyxy [n, 4] and labels [n] of each image, crowds left out."""
    label = {one["id"]: i for i, one in enumerate(annotations["categories"])}
    boxes: dict[int, list[list[float]]] = {one["id"]: [] for one in annotations["images"]}
    labels: dict[int, list[int]] = {image_id: [] for image_id in boxes}
    for one in annotations["annotations"]:
        if not one["iscrowd"]:
            x, y, w, h = one["bbox"]
            boxes[one["image_id"]].append([x, y, x + w, y + h])
            labels[one["image_id"]].append(label[one["category_id"]])
    return (
        [np.array(one, np.float32).reshape(-1, 4) for one in boxes.values()],
        [np.array(one, np.int64) for one in labels.values()],
    )


# ── finding ────────────────────────────────────────────────────────────────────────────────────────


def open_dataset(data: str | Path, split: str) -> CocoDataset:
    """The split `split` (train, val or test; valid is val) of a COCO data set.

    `data` is a folder with one JSON a split, in Roboflow's layout (train/_annotations.coco.json beside the
    images), COCO's (annotations/instances_train2017.json, train2017/) or another like them (coco/train.json,
    images/), or one JSON file, which then is every split. Labels follow the order of the category ids.

    FileNotFoundError if there is no such split or images are missing; ValueError, naming file and id, for
    an annotation that cannot be right. A box over the border is clipped, one without area dropped, and
    `notes` say so.
    """
    split, data = split_name(split), Path(data)
    files = {split: data} if data.is_file() else available_splits(data)
    if split not in files:
        found = ", ".join(f"{name} ({path})" for name, path in files.items())
        raise FileNotFoundError(f"{data}: no {split} split; found {found or 'no annotations'}. {_LAYOUTS}")
    file = files[split]
    coco, notes = _Reader(file).read()
    notes += _drop_supercategories(coco, [path for path in files.values() if path != file])
    folder = _image_folder(file, data, split, [one["file_name"] for one in coco["images"]])
    return CocoDataset(coco, folder, tuple(notes))


_LAYOUTS = (
    "Expected a COCO JSON file a split, such as train/_annotations.coco.json, "
    "annotations/instances_train2017.json or coco/train.json, or the path of a JSON file; export other "
    "formats, such as YOLO's and Pascal VOC's, as COCO"
)


def split_name(split: str) -> str:
    """train, val or test, of any of its usual spellings."""
    for name, spellings in SPLITS.items():
        if split.lower() in spellings:
            return name
    raise ValueError(unknown(split, [word for words in SPLITS.values() for word in words], "split"))


def available_splits(data: str | Path) -> dict[str, Path]:
    """The annotation file of each split found in a folder or its direct sub folders, in the order of SPLITS.

    A JSON file counts for the split its name says (instances_val2017.json), else for the one its folder
    says (valid/_annotations.coco.json). For a JSON file: that file, as the split it says, else as train.
    """
    data = Path(data)
    if data.is_file():
        return {_split_of(data) or "train": data}
    if not data.is_dir():
        raise FileNotFoundError(f"{data}: no such data set folder or annotation file")
    found: dict[str, list[Path]] = {name: [] for name in SPLITS}
    for path in sorted([*data.glob("*.json"), *data.glob("*/*.json")]):
        split = _split_of(path)
        if split:
            found[split].append(path)
    if any(_is_standard(path) for paths in found.values() for path in paths):
        found = {name: [path for path in paths if _is_standard(path)] for name, paths in found.items()}
    for name, paths in found.items():
        if len(paths) > 1:
            listed = ", ".join(map(str, paths[:3])) + (", …" if len(paths) > 3 else "")
            raise ValueError(
                f"{data}: {len(paths)} JSON files for the {name} split: {listed}; give the path of one"
            )
    return {name: paths[0] for name, paths in found.items() if paths}


def _is_standard(path: Path) -> bool:
    return path.name == "_annotations.coco.json" or path.name.startswith("instances_")


def _split_of(path: Path) -> str | None:
    folder = path.parent.name  # such as valid or train2017, but not test_project
    return _split_in(path.stem) or (_split_in(folder) if folder.isalnum() else None)


def _split_in(text: str) -> str | None:
    """The split that a word of `text` names, if only one is named."""
    words = set(re.split(r"[^a-z]+", text.lower()))
    names = [name for name, spellings in SPLITS.items() if words & set(spellings)]
    return names[0] if len(names) == 1 else None


def _image_folder(file: Path, data: Path, split: str, names: list[str]) -> Path:
    """The folder the file names start from. FileNotFoundError if there is none or images are missing."""
    bases = list(dict.fromkeys([file.parent] if data.is_file() else [file.parent, data]))
    for places in _places(bases, file):
        folders = [one for one in places if _holds_any(one, names)]
        if folders:
            break
    else:
        raise FileNotFoundError(
            f"{file}: none of its images, such as {names[0]}, were found in "
            f"{' and '.join(map(str, bases))} and folders near; put them there"
        )
    if len(folders) > 1:  # the same file names in train2017 and val2017
        folders = [one for one in folders if _split_in(one.name) == split] or folders
    if len(folders) > 1:
        raise ValueError(
            f"{file}: its images, such as {names[0]}, are in {' and in '.join(map(str, folders))}; "
            f"expected one folder: put them beside the file or name the folder {split}"
        )
    folder = folders[0]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{file}: {len(missing)} of {len(names)} images are missing in {folder}, the first {missing[0]}; "
            "add them, or take them out of the file"
        )
    return folder


def _places(bases: list[Path], file: Path) -> Iterator[list[Path]]:
    """Where images may be, nearest first; one kind of place at a time."""
    yield from ([base] for base in bases)
    yield [one for base in bases for one in _folders(base)]
    yield _folders(file.parent.parent)


def _holds_any(folder: Path, names: list[str]) -> bool:
    try:
        return any((folder / name).is_file() for name in names[:8])
    except OSError:  # not ours to look into
        return False


def _folders(base: Path) -> list[Path]:
    """The sub folders of `base`, and those of its sub folder images."""
    found = [one for pattern in ("*", "images/*") for one in base.glob(pattern)]
    return sorted(one for one in found if one.is_dir())


# ── classes ────────────────────────────────────────────────────────────────────────────────────────


def _drop_supercategories(coco: dict[str, Any], other_files: list[Path]) -> list[str]:
    """Take out the categories that only name a group of others and have no boxes, in any split.

    Roboflow writes one, with id 0. The other splits are read only if there is a candidate.
    """
    names = {one["name"] for one in coco["categories"]}
    groups = {one["supercategory"] for one in coco["categories"] if one["supercategory"] != one["name"]}
    candidates = names & groups
    for file in (None, *other_files):
        if candidates:
            one = coco if file is None else _Reader(file).read()[0]
            name = {category["id"]: category["name"] for category in one["categories"]}
            candidates -= {name[annotation["category_id"]] for annotation in one["annotations"]}
    coco["categories"] = [one for one in coco["categories"] if one["name"] not in candidates]
    return [
        f"category {name!r} is left out: it only groups others and has no boxes"
        for name in sorted(candidates)
    ]


# ── reading and checking ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Reader:
    """Reads and checks one annotation file; every error begins with its path."""

    file: Path

    def read(self) -> tuple[dict[str, Any], list[str]]:
        """The cleaned COCO dictionary, categories by id, and what there is to note about it."""
        content = self._parse()
        categories = sorted(self._categories(content["categories"]), key=lambda one: one["id"])
        images = self._images(content["images"])
        annotations, notes = self._annotations(
            content["annotations"], images, {one["id"] for one in categories}
        )
        used = {one["image_id"] for one in annotations if not one["iscrowd"]}
        if len(used) < len(images):
            notes.append(f"{len(images) - len(used)} of {len(images)} images have no boxes: negatives")
        return {"images": images, "annotations": annotations, "categories": categories}, notes

    def _error(self, message: str) -> ValueError:
        return ValueError(f"{self.file}: {message}")

    def _parse(self) -> dict[str, list[dict[str, Any]]]:
        try:
            content = json.loads(self.file.read_bytes())
        except ValueError as error:
            raise self._error(f"not JSON: {error}") from None
        keys = ("images", "annotations", "categories")
        for key in keys:
            if not isinstance(content, dict) or not isinstance(content.get(key), list):
                raise self._error(f"no list {key!r}; expected a COCO file with {', '.join(keys)}")
            for index, one in enumerate(content[key]):
                if not isinstance(one, dict):
                    raise self._error(f"{key}[{index}] is {one!r}; expected an object")
            if not content[key] and key != "annotations":
                raise self._error(f"no {key}; expected at least one")
        return {key: content[key] for key in keys}

    def _integer(self, kind: str, index: int, one: dict[str, Any], key: str) -> int:
        value = one.get(key)
        if type(value) is not int or value < 0:
            raise self._error(f"{_which(kind, index, one, key)}; expected an integer >= 0")
        return value

    def _text(self, kind: str, index: int, one: dict[str, Any], key: str) -> str:
        value = one.get(key)
        if not isinstance(value, str) or not value:
            raise self._error(f"{_which(kind, index, one, key)}; expected a text")
        return value

    def _unique(self, what: str, values: Sequence[Hashable]) -> None:
        for value, count in Counter(values).most_common(1):
            if count > 1:
                raise self._error(f"{what} {value!r} is there {count} times; expected each once")

    def _categories(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        categories = [
            {
                "id": self._integer("category", index, one, "id"),
                "name": self._text("category", index, one, "name"),
                "supercategory": str(one.get("supercategory", "")),
            }
            for index, one in enumerate(given)
        ]
        self._unique("category id", [one["id"] for one in categories])
        self._unique("category name", [one["name"] for one in categories])
        return categories

    def _images(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        images = []
        for index, one in enumerate(given):
            image_id, width, height = (
                self._integer("image", index, one, key) for key in ("id", "width", "height")
            )
            if not width or not height:
                raise self._error(f"image {image_id}: {width}x{height} pixels; expected at least 1x1")
            name = PureWindowsPath(self._text("image", index, one, "file_name"))
            if name.anchor or ".." in name.parts:
                raise self._error(
                    f"image {image_id}: file_name {str(one['file_name'])!r} leads out of the image folder; "
                    "expected a relative path without '..'"
                )
            images.append({"id": image_id, "file_name": name.as_posix(), "width": width, "height": height})
        self._unique("image id", [one["id"] for one in images])
        return images

    def _annotations(
        self, given: list[dict[str, Any]], images: list[dict[str, Any]], category_ids: set[int]
    ) -> tuple[list[dict[str, Any]], list[str]]:
        size = {one["id"]: (one["width"], one["height"]) for one in images}
        for index, one in enumerate(given):
            self._integer("annotation", index, one, "id")
            for key, known in (("image_id", size), ("category_id", category_ids)):
                if self._integer("annotation", index, one, key) not in known:
                    raise self._error(
                        f"annotation {one['id']}: {key} {one[key]} is not among the file's "
                        f"{'images' if key == 'image_id' else 'categories'}; add it there or delete this"
                    )
            if one.get("iscrowd", 0) not in (0, 1):
                raise self._error(f"annotation {one['id']}: iscrowd is {one['iscrowd']!r}; expected 0 or 1")
            box = one.get("bbox")
            if not isinstance(box, list) or len(box) != 4 or any(type(v) not in (int, float) for v in box):
                raise self._error(f"annotation {one['id']}: bbox is {box!r}; expected [x, y, width, height]")
        self._unique("annotation id", [one["id"] for one in given])

        boxes = np.array([one["bbox"] for one in given], np.float64).reshape(-1, 4)
        limits = np.array([size[one["image_id"]] for one in given], np.float64).reshape(-1, 2)
        self._check_boxes(boxes, limits, given)
        low = boxes[:, :2].clip(0, limits)
        high = (boxes[:, :2] + boxes[:, 2:]).clip(0, limits)
        over = (np.abs(np.concatenate([low, high - low], 1) - boxes) >= 1).any(1)
        empty = np.less_equal(high, low).any(1)
        notes = []
        if (over & ~empty).any():
            notes.append(f"{int((over & ~empty).sum())} boxes reach over the border of their image: clipped")
        if empty.any():
            notes.append(f"{int(empty.sum())} boxes without area are left out")
        clean = np.concatenate([low, high - low], 1).tolist()
        kept = [(one, box) for one, box, bad in zip(given, clean, empty.tolist(), strict=True) if not bad]
        return [
            {
                "id": number,
                "image_id": one["image_id"],
                "category_id": one["category_id"],
                "bbox": box,
                "area": _area(one.get("area"), box),
                "iscrowd": int(one.get("iscrowd", 0)),
            }
            for number, (one, box) in enumerate(kept, 1)
        ], notes

    def _check_boxes(
        self,
        boxes: Float64[np.ndarray, "n 4"],
        limits: Float64[np.ndarray, "n 2"],
        given: list[dict[str, Any]],
    ) -> None:
        """ValueError for the first box that is not finite, has a negative side or lies outside its image."""

        def refuse(bad: Bool[np.ndarray, " n"], message: str) -> None:
            if bad.any():
                first = int(bad.argmax())
                more = f" ({int(bad.sum())} such boxes)" if bad.sum() > 1 else ""
                width, height = limits[first].astype(int)
                raise self._error(
                    f"annotation {given[first]['id']}: bbox [x, y, width, height] is {given[first]['bbox']} "
                    f"in an image of {width}x{height}; {message}{more}. Correct it or delete it"
                )

        refuse(~np.isfinite(boxes).all(1), "expected finite numbers")
        refuse(np.less(boxes[:, 2:], 0).any(1), "expected width and height >= 0")
        outside = np.logical_or(boxes[:, :2] >= limits, boxes[:, :2] + boxes[:, 2:] <= 0).any(1)
        refuse(outside & (boxes[:, 2:] > 0).all(1), "expected a box that touches the image")


def _which(kind: str, index: int, one: dict[str, Any], key: str) -> str:
    """«image 7: width is -1», by its id where that is not what is wrong, else by its place in the list."""
    name = f"{kind} {one['id']}" if "id" in one and key != "id" else f"{kind} number {index}"
    return f"{name}: {key} is {one[key]!r}" if key in one else f"{name}: no {key}"


def _area(given: object, box: list[float]) -> float:
    """The annotated area (a segmentation's) where there is one, else the box's."""
    usable = isinstance(given, int | float) and 0 < given < float("inf")
    return float(given) if usable else box[2] * box[3]  # type: ignore[arg-type]
