"""Detections and annotated boxes on their image: boxes, names and error bars. NumPy and Pillow only.

All lines are axis-aligned rectangles that cover each pixel by its exact share, so that an error bar of
1.3 pixels looks smaller than one of 1.8. Whatever lies outside the image is simply not drawn.
"""

from collections.abc import Iterable, Sequence
from math import ceil, floor, hypot

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from edgewise.detections import Detection, Detections

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom

DARK: Colour = (20, 20, 20)
LIGHT: Colour = (255, 255, 255)
# Okabe and Ito's palette, told apart by the colour-blind; the names stand beside the colours anyway.
PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 158, 115),  # green
    (240, 228, 66),  # yellow
    (204, 121, 167),  # purple
    (213, 94, 0),  # vermilion
    (0, 114, 178),  # blue
)


def draw(image: UInt8[np.ndarray, "H W 3"], detections: Detections) -> Image.Image:
    """A copy of the RGB image with each detection on it, the best on top.

    A box has its class's colour and a tag with name and score. Each edge carries its error bar: a band and
    a whisker reach one standard deviation to both sides of it. Sizes of lines and letters follow that of
    the image. Raises ValueError where the image is not of `detections.size`.
    """
    if image.shape[:2] != detections.size:
        given, expected = (f"{width}x{height}" for height, width in (image.shape[:2], detections.size))
        raise ValueError(
            f"the image is {given} but the boxes belong to one of {expected} (width x height); "
            "give the original image, upright"
        )
    canvas = image.copy()
    line = _line_width(detections.size)
    worst_first = list(detections)[::-1]
    for one in worst_first:
        _draw_box(canvas, one, line)
    picture = Image.fromarray(canvas)
    for one in worst_first:
        _draw_tag(picture, f"{one.name} {one.score:.2f}", colour(one.label), one.box_xyxy, line)
    return picture


def annotate(
    image: UInt8[np.ndarray, "H W 3"],
    boxes_xyxy: Float[np.ndarray, "n 4"],
    texts: Sequence[str],
    colours: Sequence[Colour],
) -> Image.Image:
    """A copy of the RGB image with each box, which must be finite, framed in its colour; later ones on top.

    A text that is not empty is a tag at its box.
    """
    canvas, line = image.copy(), _line_width(image.shape[:2])
    given: list[tuple[Rectangle, str, Colour]] = [
        ((x1, y1, x2, y2), text, own)
        for (x1, y1, x2, y2), text, own in zip(boxes_xyxy.tolist(), texts, colours, strict=True)
    ]
    for box, _, own in given:
        _draw_frame(canvas, box, own, line)
    picture = Image.fromarray(canvas)
    for box, text, own in given:
        if text:
            _draw_tag(picture, text, own, box, line)
    return picture


def colour(label: int) -> Colour:
    """The colour of a class; classes seven apart share it."""
    return PALETTE[label % len(PALETTE)]


def contact_sheet(images: Sequence[Image.Image], columns: int = 4, width: int = 480) -> Image.Image:
    """The images in rows of `columns` on white, each `width` pixels wide, in reading order."""
    if not images:
        raise ValueError("a contact sheet of no images; expected at least one")
    gap = max(2, width // 60)
    cells = [one.convert("RGB").resize((width, round(width * one.height / one.width))) for one in images]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    across = len(rows[0])
    sheet = Image.new("RGB", (gap + across * (width + gap), gap + sum(h + gap for h in heights)), LIGHT)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            sheet.paste(cell, (gap + x * (width + gap), gap + sum(h + gap for h in heights[:y])))
    return sheet


def _line_width(size: tuple[int, ...]) -> float:
    return max(1.8, hypot(*size) / 400)


def _draw_box(canvas: np.ndarray, one: Detection, line: float) -> None:
    """Band, then frame, then whiskers; frame and whiskers have a dark seam to stand out from any ground."""
    own, seam = colour(one.label), line / 4
    _fill(canvas, _ring(one.box_xyxy, one.edge_std), own, opacity=0.4)
    _draw_frame(canvas, one.box_xyxy, own, line)
    bars = list(_whiskers(one, line))
    _fill(canvas, [_grown(bar, seam) for bar in bars], DARK)
    _fill(canvas, bars, LIGHT)


def _draw_frame(canvas: np.ndarray, box: Rectangle, own: Colour, line: float) -> None:
    half, seam = line / 2, line / 4
    _fill(canvas, _ring(box, (half + seam,) * 4), DARK, opacity=0.6)
    _fill(canvas, _ring(box, (half,) * 4), own)


def _ring(box: Rectangle, half_widths: tuple[float, ...]) -> list[Rectangle]:
    """The edges of a box as bands that reach `half_widths` to both sides, as four separate rectangles."""
    outer, inner = (np.add(box, np.multiply(half_widths, sign)) for sign in ([-1, -1, 1, 1], [1, 1, -1, -1]))
    centre = (inner[:2] + inner[2:]) / 2
    left, top = np.minimum(inner[:2], centre).tolist()  # where bands meet, the ring is full
    right, bottom = np.maximum(inner[2:], centre).tolist()
    x1, y1, x2, y2 = outer.tolist()
    return [(x1, y1, x2, top), (x1, bottom, x2, y2), (x1, top, left, bottom), (right, top, x2, bottom)]


def _whiskers(one: Detection, line: float) -> Iterable[Rectangle]:
    """An error bar across the middle of each edge: a stem of two standard deviations and its end caps."""
    x1, y1, x2, y2 = one.box_xyxy
    thin = line * 0.4
    for across, (low, high), middle in ((0, (x1, x2), (y1 + y2) / 2), (1, (y1, y2), (x1 + x2) / 2)):
        cap = min(line * 2.5, (y2 - y1, x2 - x1)[across] / 4)
        for edge, std in ((low, one.edge_std[across]), (high, one.edge_std[across + 2])):
            for start, end, reach in (
                (edge - std, edge + std, thin),
                (edge - std - thin, edge - std + thin, cap),
                (edge + std - thin, edge + std + thin, cap),
            ):
                bar = (start, middle - reach, end, middle + reach)
                yield bar if across == 0 else (bar[1], bar[0], bar[3], bar[2])


def _grown(box: Rectangle, by: float) -> Rectangle:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _fill(canvas: np.ndarray, boxes: Iterable[Rectangle], colour: Colour, opacity: float = 1.0) -> None:
    """Paints rectangles into the canvas, each pixel by the share of it that is covered."""
    height, width = canvas.shape[:2]
    for x1, y1, x2, y2 in boxes:
        columns, across = _coverage(x1, x2, width)
        rows, down = _coverage(y1, y2, height)
        share = opacity * down[:, None, None] * across[:, None]
        ground = canvas[rows, columns]
        canvas[rows, columns] = np.rint(ground + (np.array(colour, np.float32) - ground) * share)


def _coverage(start: float, end: float, length: int) -> tuple[slice, Float[np.ndarray, " n"]]:
    """Which of `length` pixels touch start … end, and the share of each that lies within."""
    first, last = (min(max(n, 0), length) for n in (floor(start), ceil(end)))
    pixels = np.arange(first, last, dtype=np.float32)
    within = np.minimum(pixels + 1, end) - np.maximum(pixels, start)
    return slice(first, first + len(pixels)), np.clip(within, 0, 1)


def _draw_tag(picture: Image.Image, text: str, own: Colour, box: Rectangle, line: float) -> None:
    """A text above the top left corner of a box; below it where the image ends there."""
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(max(12, hypot(*picture.size) / 60))
    _, top, _, bottom = pen.textbbox((0, 0), "Ag", font=font)  # one height for all tags
    width, height = pen.textlength(text, font=font) + 4 * line, bottom - top + 2 * line
    x, y, _, _ = _grown(box, line / 2)
    x = max(0.0, min(x, picture.width - width))
    y = max(0.0, y - height) if y >= height else min(max(y, 0.0) + line, picture.height - height)
    pen.rectangle((round(x), round(y), round(x + width), round(y + height)), fill=own)
    bright = float(np.dot(own, (0.299, 0.587, 0.114))) > 100  # where dark on it reads better than light
    pen.text((round(x + 2 * line), round(y + line - top)), text, fill=DARK if bright else LIGHT, font=font)
