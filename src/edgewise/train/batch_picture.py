"""A training batch as a person sees it: drawn from the very tensors that the model gets."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgewise.boxes import cxcywh_to_xyxy
from edgewise.captions import captioned
from edgewise.draw import DARK, colour, contact_sheet
from edgewise.structures import Batch

MOST_IMAGES = 16
MOST_NAMES = 20  # an image: more would hide it
WIDTH = 320  # of an image, in pixels
CAPTION = 22  # height of the line below it


def batch_picture(batch: Batch, class_names: tuple[str, ...]) -> Image.Image:
    """The first MOST_IMAGES images in rows of four, each with its boxes, names, a count, and its file's name.

    Boxes are taken at their word, as fractions of the image: where they are anything else they do not lie
    on the objects, or are not in the picture at all, and the count below still tells of them.
    """
    boxes, labels = batch.targets.boxes.cpu(), batch.targets.labels.tolist()
    tiles = []
    starts = zip(batch.targets.offsets, batch.targets.counts, batch.image_ids, strict=True)
    for index, (start, count, image_id) in enumerate(list(starts)[:MOST_IMAGES]):
        mine = slice(start, start + count)
        pixels = np.rint(batch.images[index].cpu().numpy().clip(0, 1) * 255).astype(np.uint8)
        names = [class_names[label] for label in labels[mine]]
        corners = cxcywh_to_xyxy(boxes[mine]).numpy()
        tile = _tile(pixels.transpose(1, 2, 0), corners, labels[mine], names)
        file = Path(batch.paths[index]).name if batch.paths else ""
        text = f"{count} box{'es' * (count != 1)}: {file or f'image {image_id}'}"
        tiles.append(captioned(tile, text, CAPTION, 13))
    return contact_sheet(tiles, columns=min(4, len(tiles)), width=WIDTH)


def _tile(pixels: np.ndarray, corners: np.ndarray, labels: list[int], names: list[str]) -> Image.Image:
    height = max(1, round(pixels.shape[0] * WIDTH / pixels.shape[1]))
    picture = Image.fromarray(pixels).resize((WIDTH, height), Image.Resampling.BILINEAR)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    spots = (corners * (WIDTH, height, WIDTH, height)).tolist()
    order = np.argsort(-(corners[:, 2:] - corners[:, :2]).prod(1), kind="stable").tolist()
    for one in order:
        x1, y1, x2, y2 = spots[one]
        pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour(labels[one]), width=2)
    for one in order[:MOST_NAMES]:
        x1, y1 = spots[one][:2]
        spot = min(max(x1, 0), WIDTH - pen.textlength(names[one], font=font) - 4), max(y1 - 16, 0)
        pen.rectangle(
            (*spot, spot[0] + pen.textlength(names[one], font=font) + 4, spot[1] + 16),
            fill=colour(labels[one]),
        )
        pen.text((spot[0] + 2, spot[1]), names[one], fill=DARK, font=font)
    return picture
