"""The images with the most errors: ranked, and drawn on a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from edgewise.captions import captioned
from edgewise.draw import DARK, LIGHT, Colour, colour, contact_sheet
from edgewise.evaluation.errors import ImageErrors
from edgewise.evaluation.matching import to_xyxy
from edgewise.evaluation.run import AnnotatedImages

WIDTH = 480  # of a tile, in pixels
CAPTION = 28  # height of the line below it
TAG = 20  # height of a tag
DASH = 6  # length of a dash, and of the gap after it


def worst_images(errors: Sequence[ImageErrors], k: int = 12) -> list[ImageErrors]:
    """At most `k` of the images with errors, most errors first; of equals the one that comes first.

    Errors are counted, not divided by the number of objects, so that the k images show as many of the set's
    errors as k images can.
    """
    worst = sorted(errors, key=lambda one: -one.count)[:k]
    return [one for one in worst if one.count]


def worst_gallery(
    dataset: AnnotatedImages,
    errors: Sequence[ImageErrors],
    path: str | Path,
    threshold: float,
    k: int = 12,
) -> None:
    """Writes a contact sheet of `worst_images`, each with its file's name and its counts below.

    `errors` are `image_errors` of the dataset at `threshold`.

    Annotated boxes are dashed white, detections solid in the colour of their class. A tag marks what is
    wrong: «false NAME SCORE» above a detection, «missed NAME» below an annotated box.
    """
    worst = worst_images(errors, k)
    title = f"{len(worst)} of {len(dataset)} images, most errors first; scores from {threshold:.2f}, IoU 0.5"
    if worst:
        sheet = contact_sheet([_tile(dataset, one) for one in worst], min(4, len(worst)), WIDTH)
    else:
        sheet, title = Image.new("RGB", (WIDTH, CAPTION), LIGHT), f"no errors in {len(dataset)} images"
    page = Image.new("RGB", (sheet.width, sheet.height + CAPTION), LIGHT)
    page.paste(sheet, (0, CAPTION))
    ImageDraw.Draw(page).text((10, 8), title, fill=DARK, font=_font())
    page.save(path)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(15)


def _tile(dataset: AnnotatedImages, errors: ImageErrors) -> Image.Image:
    """The image at the width of a tile, its boxes and what is wrong with them, and a caption below."""
    sample = dataset[errors.index]
    scale = WIDTH / sample.size[1]
    picture = Image.fromarray(sample.image).resize((WIDTH, max(1, round(sample.size[0] * scale))))
    pen, tags = ImageDraw.Draw(picture), []
    shown = errors.detections
    found = zip(
        shown.boxes_xyxy, shown.scores.tolist(), errors.labels.tolist(), errors.false.tolist(), strict=True
    )
    for box, score, label, false in reversed(list(found)):  # the best on top
        corners = _corners(box, scale)
        pen.rectangle(corners, outline=colour(label), width=4 if false else 2)
        if false:
            text = f"false {dataset.class_names[label]} {score:.2f}"
            tags.append((corners[0], corners[1] - TAG, text, colour(label)))
    truth = errors.truth
    for box, label, missed in zip(
        to_xyxy(truth.boxes_xywh), truth.labels.tolist(), errors.missed.tolist(), strict=True
    ):
        corners = _corners(box, scale)
        _dashed(pen, corners, width=2 if missed else 1)
        if missed:
            tags.append((corners[0], corners[3], f"missed {dataset.class_names[label]}", LIGHT))
    for tag in tags:
        _draw_tag(picture, *tag)
    counts = int(errors.missed.sum()), int(errors.false.sum()), int((~errors.truth.crowd).sum())
    name = Path(sample.path).name or f"image {sample.image_id}"
    text = f"{counts[0]} missed, {counts[1]} false, {counts[2] - counts[0]} found: {name}"
    return captioned(picture, text, CAPTION)


def _corners(box_xyxy: Float[np.ndarray, " 4"], scale: float) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = np.rint(box_xyxy * scale).astype(int).tolist()
    return x1, y1, x2, y2


def _dashed(pen: ImageDraw.ImageDraw, corners: tuple[int, int, int, int], width: int) -> None:
    """White dashes on a dark line, to be seen on any ground."""
    pen.rectangle(corners, outline=DARK, width=width)
    x1, y1, x2, y2 = corners
    for x in range(x1, x2, 2 * DASH):
        for y in (y1, y2):
            pen.line((x, y, min(x + DASH, x2), y), fill=LIGHT, width=width)
    for y in range(y1, y2, 2 * DASH):
        for x in (x1, x2):
            pen.line((x, y, x, min(y + DASH, y2)), fill=LIGHT, width=width)


def _draw_tag(picture: Image.Image, x: int, y: int, text: str, ground: Colour) -> None:
    """Text with its top left corner at (x, y), moved into the picture."""
    pen, font = ImageDraw.Draw(picture), _font()
    width = round(pen.textlength(text, font=font)) + 6
    x, y = max(0, min(x, picture.width - width)), max(0, min(y, picture.height - TAG))
    pen.rectangle((x, y, x + width, y + TAG), fill=ground)
    pen.text((x + 3, y + 2), text, fill=DARK, font=font)
