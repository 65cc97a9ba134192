"""Contact sheets: what the annotations look like, and where they are wrong."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from PIL import Image

from edgewise.captions import captioned
from edgewise.data.problems import clip
from edgewise.data.records import Problem, RawImage, RawSplit
from edgewise.doctor.checks import Scans, place
from edgewise.doctor.statistics import usable
from edgewise.draw import Colour, annotate, colour, contact_sheet
from edgewise.images import read_image

SHOWN = 12  # images on a sheet
COLUMNS = 4
WIDTH = 480  # of a tile, in pixels
TALLEST = 1.5  # height of a tile, in widths; the rest of a taller image is left out
NAMED = 12  # boxes of an image that have their names on them; of more only colours
FAULTY: Colour = (220, 20, 30)
GOOD: Colour = (225, 225, 225)


@dataclass(frozen=True)
class Place:
    """An image of a split, and one of its boxes unless it is about the image."""

    split: RawSplit
    index: int
    box: int | None

    @property
    def image(self) -> RawImage:
        return self.split.images[self.index]


def sample_sheet(split: RawSplit, scans: Scans) -> Image.Image | None:
    """Images spread evenly over a split with the boxes that training takes; None where none has any."""
    table, good = split.table, usable(split)
    with_boxes = [i for i in np.unique(table.image[good]).tolist() if _decodable(split.images[i], scans)]
    if not with_boxes:
        return None
    names = list(split.categories.values())
    label = {category: i for i, category in enumerate(split.categories)}
    spread = np.unique(np.linspace(0, len(with_boxes) - 1, SHOWN).round().astype(int))
    tiles = []
    for index in [with_boxes[i] for i in spread]:
        rows = np.flatnonzero((table.image == index) & good)
        labels = [label[one] for one in table.category_ids[rows].tolist()]
        texts = [names[one] if len(rows) <= NAMED else "" for one in labels]
        image, count = split.images[index], f"{len(rows)} box{'' if len(rows) == 1 else 'es'}"
        tiles.append(
            _tile(
                image,
                clip(table)[rows],
                texts,
                [colour(one) for one in labels],
                f"{count} · {image.path.name}",
            )
        )
    return contact_sheet(tiles, min(COLUMNS, len(tiles)), WIDTH)


def worst_sheet(splits: Iterable[RawSplit], scans: Scans, problems: Sequence[Problem]) -> Image.Image | None:
    """The images with the most errors and warnings, faulty boxes in red; None where none can be shown."""
    places = _places(splits)
    faults: dict[tuple[str, int], list[tuple[Place, str]]] = defaultdict(list)
    for one in problems:
        found = places.get(one.where)
        if found and one.severity != "info" and _decodable(found.image, scans):
            faults[found.split.name, found.index].append((found, one.kind))
    worst = sorted(faults.values(), key=lambda one: -len(one))[:SHOWN]
    tiles = [_faulty_tile(one) for one in worst]
    return contact_sheet(tiles, min(COLUMNS, len(tiles)), WIDTH) if tiles else None


def _places(splits: Iterable[RawSplit]) -> dict[str, Place]:
    """What `Problem.where` names → what it is."""
    places: dict[str, Place] = {}
    for split in splits:
        files = Counter(image.file for image in split.images)
        for index, image in enumerate(split.images):
            about = Place(split, index, None)
            names = [place(image.path, split), f"{image.file}: image {image.image_id}"]
            places.update(dict.fromkeys([*names, *([image.file] if files[image.file] == 1 else [])], about))
            for box in range(len(image.lines)):
                places[image.where(box)] = Place(split, index, box)
    return places


def _decodable(image: RawImage, scans: Scans) -> bool:
    scan = scans.get(image.path)
    return scan is not None and scan.size is not None


def _faulty_tile(faults: list[tuple[Place, str]]) -> Image.Image:
    one = faults[0][0]
    image, kinds = one.image, Counter(kind for _, kind in faults)
    tags: dict[int, str] = {}
    for found, kind in faults:
        if found.box is not None:
            tags[found.box] = f"{tags[found.box]}, {kind}" if found.box in tags else kind
    boxes = image.boxes_xyxy
    order = sorted(
        np.flatnonzero(_drawable(boxes)).tolist(), key=lambda box: box in tags
    )  # faulty ones on top
    caption = ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in kinds.items())
    return _tile(
        image,
        boxes[order],
        [tags.get(box, "") for box in order],
        [FAULTY if box in tags else GOOD for box in order],
        f"{caption} · {image.path.name}",
    )


def _drawable(boxes_xyxy: Float64[np.ndarray, "n 4"]) -> Bool[np.ndarray, " n"]:
    ordered = np.less_equal(boxes_xyxy[:, :2], boxes_xyxy[:, 2:]).all(1)
    mask: np.ndarray = np.isfinite(boxes_xyxy).all(1) & ordered
    return mask


def _tile(
    image: RawImage,
    boxes_xyxy: Float64[np.ndarray, "n 4"],
    texts: Sequence[str],
    colours: Sequence[Colour],
    caption: str,
) -> Image.Image:
    """The image at the width of a tile with these boxes, in its own pixels, and a caption below."""
    picture = Image.fromarray(read_image(image.path))
    scale = WIDTH / picture.width
    small = picture.resize((WIDTH, max(1, round(picture.height * scale))))
    small = small.crop((0, 0, WIDTH, min(small.height, round(TALLEST * WIDTH))))
    drawn = annotate(np.asarray(small), boxes_xyxy * scale, texts, colours)
    return captioned(drawn, caption)
