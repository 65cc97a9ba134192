"""Small data sets on disk."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from edgewise.data.records import RawSplit

Boxes = dict[str, list[tuple[str, tuple[float, ...]]]]


def fill(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes text files; image names get a picture of 40x30 (width x height). Returns the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg"):
            Image.new("RGB", (40, 30)).save(path)
        else:
            path.write_text(text, encoding="utf-8")
    return folder


def boxes(*splits: RawSplit) -> Boxes:
    """Class name and corners of all boxes, sorted, by the name of their image."""
    return {
        image.path.name: sorted(
            (split.categories[category], tuple(round(value, 4) for value in box))
            for category, box in zip(image.category_ids.tolist(), image.boxes_xyxy.tolist(), strict=True)
        )
        for split in splits
        for image in split.images
    }


def kinds(split: RawSplit) -> list[tuple[str, str]]:
    """Kind and place of what its reader met."""
    return [(one.kind, one.where) for one in split.problems]
