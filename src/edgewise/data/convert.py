"""Any data set that can be read, written anew as COCO, YOLO or Pascal VOC; the original stays as it is.

Also reads what `open_dataset` does not: DOTA through hotcoco and CreateML through supervision.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from rich.console import Console
from rich.progress import track

from edgewise.data.formats import python_list
from edgewise.data.open import Data, written_splits
from edgewise.data.problems import find_problems, refuse
from edgewise.data.records import RawImage, RawSplit
from edgewise.data.splits import split_of
from edgewise.extras import require
from edgewise.images import distinct_stems
from edgewise.spelling import unknown

Names = Mapping[str, Sequence[str]]  # by split: what each image is called in the copy


def convert(
    data: Data, to: str, out: str | Path, *, link: bool = False, progress: bool = False
) -> tuple[str, ...]:
    """Writes every split of `data` into the folder `out` as `to` (coco, yolo or voc); returns notes.

    Boxes are written as they are, crowds as COCO only; images are copied, or with `link` linked to. Classes
    keep their order, and in COCO their numbers. ValueError for annotations that training refuses too, and if
    `out` has something in it or lies within `data`.
    """
    if to not in WRITERS:
        raise ValueError(unknown(to, list(WRITERS), "format"))
    folder = Path(out)
    check_new_folder(folder, apart_from=Path(data) if isinstance(data, str | Path) else None)
    splits = _splits(data)
    for split in splits.values():
        refuse(split, find_problems(split))
    write = WRITERS[to]
    names = _names_by_split(splits, apart=to != "voc")
    write(splits, names, folder)
    images = [
        (image.path, folder / IMAGES[to].format(name) / called)
        for name, split in splits.items()
        for image, called in zip(split.images, names[name], strict=True)
    ]
    for source, target in track(
        images, "linking" if link else "copying", console=Console(stderr=True), disable=not progress
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        if link:
            target.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, target)
    crowds = sum(int(split.table.crowd.sum()) for split in splits.values()) if to != "coco" else 0
    notes = dict.fromkeys(note for split in splits.values() for note in split.notes)
    return (*notes, *([f"crowds: {crowds} (left out: {to} has none)"] if crowds else []))


def check_new_folder(folder: Path, apart_from: Path | None) -> None:
    """ValueError if `folder` has something in it or lies within `apart_from`, which is not written to."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: is not empty; name a new folder")
    if apart_from is not None and folder.resolve().is_relative_to(apart_from.resolve()):
        raise ValueError(
            f"{folder}: lies within {apart_from}, which is not written to; name a folder elsewhere"
        )


def file_names(images: Iterable[RawImage]) -> list[str]:
    """What images are called in one folder: as they are, numbered where a name without suffix is taken."""
    paths = [image.path for image in images]
    return [f"{stem}{path.suffix}" for stem, path in zip(distinct_stems(paths), paths, strict=True)]


def _names_by_split(splits: Mapping[str, RawSplit], apart: bool) -> dict[str, list[str]]:
    """`file_names` of each split: with `apart` each has a folder of its own, else all have one."""
    if apart:
        return {name: file_names(split.images) for name, split in splits.items()}
    names = iter(file_names(chain.from_iterable(split.images for split in splits.values())))
    return {name: [next(names) for _ in split.images] for name, split in splits.items()}


# ── writing ────────────────────────────────────────────────────────────────────────────────────────


def write_coco(splits: Mapping[str, RawSplit], names: Names, folder: Path) -> None:
    """SPLIT/_annotations.coco.json beside the images, as Roboflow lays it out."""
    for name, split in splits.items():
        images = [
            {"id": image.image_id, "file_name": called, "width": width, "height": height}
            for image, called, (height, width) in _sized(split, names[name])
        ]
        boxes = [
            {
                "image_id": image.image_id,
                "category_id": category,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1) if area != area else area,
                "iscrowd": int(crowd),
            }
            for image in split.images
            for (x1, y1, x2, y2), category, crowd, area in zip(
                image.boxes_xyxy.tolist(),
                image.category_ids.tolist(),
                image.crowd.tolist(),
                image.area.tolist(),
                strict=True,
            )
        ]
        content = {
            "images": images,
            "annotations": [{"id": number, **box} for number, box in enumerate(boxes, 1)],
            "categories": [{"id": number, "name": one} for number, one in split.categories.items()],
        }
        _write(folder / name / "_annotations.coco.json", json.dumps(content))


def write_yolo(splits: Mapping[str, RawSplit], names: Names, folder: Path) -> None:
    """data.yaml, images/SPLIT, labels/SPLIT; an image without boxes has an empty label file."""
    for name, split in splits.items():
        label = {number: place for place, number in enumerate(split.categories)}
        for image, called, (height, width) in _sized(split, names[name]):
            lines = [
                f"{label[category]} {(x1 + x2) / 2 / width:.10g} {(y1 + y2) / 2 / height:.10g} "
                f"{(x2 - x1) / width:.10g} {(y2 - y1) / height:.10g}\n"
                for category, (x1, y1, x2, y2) in _boxes(image)
            ]
            _write(folder / "labels" / name / f"{Path(called).stem}.txt", "".join(lines))
    first = next(iter(splits.values()))
    content = {name: f"images/{name}" for name in splits}
    content |= {"names": dict(enumerate(first.categories.values()))}  # type: ignore[dict-item]
    _write(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def write_voc(splits: Mapping[str, RawSplit], names: Names, folder: Path) -> None:
    """Annotations, JPEGImages, ImageSets/Main; labelmap.txt keeps the order of the classes."""
    for name, split in splits.items():
        for image, called, (height, width) in _sized(split, names[name]):
            root = ElementTree.Element("annotation")
            _child(root, "folder", "JPEGImages")
            _child(root, "filename", called)
            size = _child(root, "size")
            for tag, value in (("width", width), ("height", height), ("depth", 3)):
                _child(size, tag, str(value))
            for category, box in _boxes(image):
                one = _child(root, "object")
                _child(one, "name", split.categories[category])
                _child(one, "difficult", "0")
                frame = _child(one, "bndbox")
                for tag, corner in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                    _child(frame, tag, f"{corner:.10g}")
            ElementTree.indent(root)
            path = folder / "Annotations" / f"{Path(called).stem}.xml"
            _write(path, ElementTree.tostring(root, encoding="unicode") + "\n")
        listed = "".join(f"{Path(called).stem}\n" for called in names[name])
        _write(folder / "ImageSets/Main" / f"{name}.txt", listed)
    first = next(iter(splits.values()))
    lines = [f"{one}:::\n" for one in first.categories.values()]
    _write(folder / "labelmap.txt", "".join(["# label:color_rgb:parts:actions\n", *lines]))


WRITERS: dict[str, Callable[[Mapping[str, RawSplit], Names, Path], None]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "voc": write_voc,
}
IMAGES = {"coco": "{}", "yolo": "images/{}", "voc": "JPEGImages"}
"""The folder of a split's images."""


def _sized(split: RawSplit, names: Sequence[str]) -> Iterator[tuple[RawImage, str, tuple[int, int]]]:
    for image, called in zip(split.images, names, strict=True):
        assert image.size is not None  # else it would have been refused
        yield image, called, image.size


def _boxes(image: RawImage) -> Iterator[tuple[int, list[float]]]:
    """Category and corners of what is no crowd."""
    for category, box, crowd in zip(
        image.category_ids.tolist(), image.boxes_xyxy.tolist(), image.crowd, strict=True
    ):
        if not crowd:
            yield category, box


def _child(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    child.text = text
    return child


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# ── rarer formats ──────────────────────────────────────────────────────────────────────────────────


def _splits(data: Data) -> dict[str, RawSplit]:
    """Every split of `data`, which may be of a format that only this module reads."""
    if isinstance(data, str | Path) and Path(data).is_dir():
        for read in (_of_createml, _of_dota):
            if records := read(Path(data)):
                return python_list.read(records)
    return written_splits(data)


def _of_createml(data: Path) -> list[dict[str, Any]]:
    """Records of `*createml.json` files beside their images, read by supervision."""
    records = []
    for path in sorted([*data.glob("*createml.json"), *data.glob("*/*createml.json")]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it would rather have OpenCV
            found = require("supervision", "viz").DetectionDataset.from_createml(str(path.parent), str(path))
        for image in found.image_paths:
            one = found.annotations[image]
            labels = [found.classes[index] for index in one.class_id.tolist()]
            records.append(_record(image, one.xyxy.tolist(), labels, path))
    return records


def _of_dota(data: Path) -> list[dict[str, Any]]:
    """Records of labelTxt folders beside images, read by hotcoco: the upright boxes around turned ones."""
    records = []
    for labels in sorted([*data.glob("labelTxt*/"), *data.glob("*/labelTxt*/")]):
        found = require("hotcoco", "train").COCO.from_dota(str(labels)).dataset
        name_of = {one["id"]: one["name"] for one in found["categories"]}
        stems = {path.stem: path for path in (labels.parent / "images").glob("*")}
        for image in found["images"]:
            boxes = [one for one in found["annotations"] if one["image_id"] == image["id"]]
            corners = [[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in boxes)]
            path = stems.get(image["file_name"], labels.parent / "images" / f"{image['file_name']}.png")
            records.append(_record(path, corners, [name_of[one["category_id"]] for one in boxes], labels))
    return records


def _record(image: str | Path, boxes: list[Any], labels: list[str], source: Path) -> dict[str, Any]:
    return {"image": image, "boxes": boxes, "labels": labels, "split": split_of(source) or "train"}
