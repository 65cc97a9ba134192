"""Small data sets on disk, clean until a test plants a fault."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (64, 96)  # height, width
CLASSES = ("cat", "dog")
IMAGES = {"train": 4, "val": 2}


def photo(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Soft blobs of colour, other ones for each seed."""
    cells = np.random.default_rng(seed).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(size[::-1], Image.Resampling.BICUBIC)


def turned(picture: Image.Image, orientation: int) -> bytes:
    """A JPEG file of these pixels that claims an EXIF orientation."""
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    picture.save(data, "JPEG", exif=exif, quality=95)
    return data.getvalue()


class Coco:
    """Roboflow's layout: four training images, two for validation, a cat and a dog in each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for number, split in enumerate(IMAGES):
            (folder / split).mkdir(parents=True)
            images, annotations = [], []
            for i in range(IMAGES[split]):
                photo(10 * number + i).save(self.image(split, i), quality=95)
                images.append({"id": i, "file_name": f"{i}.jpg", "width": SIZE[1], "height": SIZE[0]})
                for category in (1, 2):
                    box = [4 + 3 * i, 6 * category, 20 + 10 * category, 24]
                    annotations.append(self.annotation(2 * i + category, i, category, box))
            categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
            content = {"images": images, "annotations": annotations, "categories": categories}
            self.file(split).write_text(json.dumps(content))

    @staticmethod
    def annotation(number: int, image: int, category: int, box: list[Any]) -> dict[str, Any]:
        area = box[2] * box[3]
        return {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": area,
            "iscrowd": 0,
        }

    def image(self, split: str, index: int) -> Path:
        return self.folder / split / f"{index}.jpg"

    def file(self, split: str) -> Path:
        return self.folder / split / "_annotations.coco.json"

    def edit(self, split: str, change: Callable[[dict[str, list[dict[str, Any]]]], object]) -> None:
        """Changes what the annotation file of a split says."""
        content = json.loads(self.file(split).read_text())
        change(content)
        self.file(split).write_text(json.dumps(content))

    def box(self, split: str, index: int, box: list[Any]) -> None:
        """Puts another box in the place of an annotation's."""
        self.edit(split, lambda content: content["annotations"][index].update(bbox=box))

    def add(self, split: str, name: str, data: bytes, size: tuple[int, int] = SIZE) -> None:
        """One more image, with a cat and a dog."""
        (self.folder / split / name).write_bytes(data)

        def change(content: dict[str, list[dict[str, Any]]]) -> None:
            content["images"].append({"id": 90, "file_name": name, "width": size[1], "height": size[0]})
            for category in (1, 2):
                content["annotations"].append(
                    self.annotation(90 + category, 90, category, [5, 5, 9 * category, 9])
                )

        self.edit(split, change)


class Yolo:
    """A data.yaml, images and labels: the same counts as in Coco."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for number, split in enumerate(IMAGES):
            (folder / split / "images").mkdir(parents=True)
            (folder / split / "labels").mkdir()
            for i in range(IMAGES[split]):
                photo(10 * number + i).save(self.image(split, i), quality=95)
                self.label(split, i).write_text("0 0.3 0.4 0.2 0.3\n1 0.6 0.5 0.25 0.4\n")
        names = ", ".join(CLASSES)
        text = f"train: train/images\nval: val/images\nnc: {len(CLASSES)}\nnames: [{names}]\n"
        (folder / "data.yaml").write_text(text)

    def image(self, split: str, index: int) -> Path:
        return self.folder / split / "images" / f"{index}.jpg"

    def label(self, split: str, index: int) -> Path:
        return self.folder / split / "labels" / f"{index}.txt"
