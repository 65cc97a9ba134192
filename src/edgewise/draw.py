"""Detections and annotated boxes on their image: boxes, names and error bars. NumPy and Pillow only.

All lines are axis-aligned rectangles that cover each pixel by its exact share, so that an error bar of
1.3 pixels looks smaller than one of 1.8. Whatever lies outside the image is simply not drawn.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil, floor, hypot, log10

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from edgewise import overlaps
from edgewise.detections import Detection, Detections
from edgewise.edges import EDGES

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom
Text = tuple[float, float, str, str, Colour]  # x, y, anchor, what it says

LEVEL = 0.9  # of the intervals that are drawn
SHOWN_MASS = 0.003  # bins of less do not widen an axis
TALL = "Ag"  # as high and as deep as letters go

DARK: Colour = (20, 20, 20)
GREY: Colour = (110, 110, 110)
PAPER: Colour = (250, 250, 250)
LIGHT: Colour = (255, 255, 255)
RED: Colour = (190, 40, 20)
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


def draw(image: UInt8[np.ndarray, "H W 3"], detections: Detections, inset: int | None = None) -> Image.Image:
    """A copy of the RGB image with each detection on it, the best on top.

    A box has its class's colour and a tag with name and score. Each edge carries its error bar, a band and a
    whisker to both sides of it, the wider the less sure: the interval that holds it at LEVEL where the
    detections are calibrated, which a line in the corner says, else one standard deviation. Sizes of lines
    and letters follow that of the image.

    With `inset`, one detection's number, a panel beside the image shows the distributions of its edges
    (`edge_panel`), and the others are but thin frames.

    Raises ValueError where the image is not of `detections.size`, or the distributions were not kept.
    """
    if image.shape[:2] != detections.size:
        given, expected = (f"{height}x{width}" for height, width in (image.shape[:2], detections.size))
        raise ValueError(
            f"the image is {given} but the boxes belong to one of {expected} (height x width); "
            "give the original image, upright"
        )
    if inset is not None:
        return _draw_inset(image, detections, inset)
    canvas, line = image.copy(), _line_width(detections.size)
    reach = _reach(detections)
    for i in reversed(range(len(detections))):
        _draw_box(canvas, detections[i], reach[i], line)
    picture = Image.fromarray(canvas)
    _draw_tags(
        picture, [(f"{one.name} {one.score:.2f}", colour(one.label), one.box_xyxy) for one in detections]
    )
    if detections.calibrated and len(detections):
        _draw_legend(picture, f"error bars: {LEVEL:.0%} interval of each edge")
    return picture


def _reach(detections: Detections) -> Float[np.ndarray, "M 4"]:
    """How far the error bars go to either side of each edge, in pixels."""
    if not detections.calibrated:
        return detections.edge_std
    half: np.ndarray = np.diff(detections.edge_interval(LEVEL))[..., 0] / 2
    return half


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
    _draw_tags(picture, [(text, own, box) for box, text, own in reversed(given) if text])
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


def _draw_box(canvas: np.ndarray, one: Detection, reach: Float[np.ndarray, " 4"], line: float) -> None:
    """Band, denser in its inner half, then frame, then whiskers; these have a dark seam on any ground."""
    own, seam = colour(one.label), line / 4
    for share in (1.0, 0.5):
        _fill(canvas, _ring(one.box_xyxy, tuple((reach * share).tolist())), own, opacity=0.2)
    _draw_frame(canvas, one.box_xyxy, own, line)
    bars = list(_whiskers(one.box_xyxy, reach.tolist(), line))
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


def _whiskers(box: Rectangle, reach: Sequence[float], line: float) -> Iterable[Rectangle]:
    """An error bar across the middle of each edge: a stem as far as `reach` on both sides, with end caps."""
    x1, y1, x2, y2 = box
    thin = line * 0.4
    for across, (low, high), middle in ((0, (x1, x2), (y1 + y2) / 2), (1, (y1, y2), (x1 + x2) / 2)):
        cap = min(line * 2.5, (y2 - y1, x2 - x1)[across] / 4)
        for edge, far in ((low, reach[across]), (high, reach[across + 2])):
            for start, end, half in (
                (edge - far, edge + far, thin),
                (edge - far - thin, edge - far + thin, cap),
                (edge + far - thin, edge + far + thin, cap),
            ):
                bar = (start, middle - half, end, middle + half)
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


def _draw_tags(picture: Image.Image, tags: Sequence[tuple[str, Colour, Rectangle]]) -> None:
    """A text at each box, the first ones on top: at the corner where it covers least of those before it."""
    taken = list[Rectangle]()
    for text, _, box in tags:
        places = list(_places(box, *_tag_size(text, picture.size), picture.size))
        both = overlaps.common(np.array(places)[:, None], np.array(taken).reshape(-1, 4))
        taken.append(places[overlaps.area(both).sum(1).argmin()])
    for (text, own, _), place in reversed(list(zip(tags, taken, strict=True))):
        _draw_tag(picture, text, own, place)


def _tag_size(text: str, size: tuple[int, int]) -> tuple[float, float]:
    """Width and height of a text's tag, the same height for all, on an image of (width, height)."""
    font, line = _font(size), _line_width(size)
    _, top, _, bottom = font.getbbox(TALL)
    return font.getlength(text) + 4 * line, bottom - top + 2 * line


def _draw_tag(picture: Image.Image, text: str, ground: Colour, place: Rectangle) -> None:
    """A text on its ground, which fills `place`."""
    pen, font, line = ImageDraw.Draw(picture), _font(picture.size), _line_width(picture.size)
    x1, y1, x2, y2 = place
    pen.rectangle((round(x1), round(y1), round(x2), round(y2)), fill=ground)
    bright = float(np.dot(ground, (0.299, 0.587, 0.114))) > 100  # where dark on it reads better than light
    at = (round(x1 + 2 * line), round(y1 + line - font.getbbox(TALL)[1]))
    pen.text(at, text, fill=DARK if bright else LIGHT, font=font)


def _places(box: Rectangle, width: float, height: float, size: tuple[int, int]) -> Iterable[Rectangle]:
    """Where a tag of a box may lie, the best first: above it, below it, inside, always in the image."""
    line = _line_width(size)
    left, top, right, bottom = _grown(box, line / 2)
    inside = max(top, 0.0) + line
    above = top - height if top >= height else inside
    below = bottom if bottom + height <= size[1] else bottom - line - height
    for y in (above, below, inside):
        for x in (left, right - width):
            x, y = max(0.0, min(x, size[0] - width)), max(0.0, min(y, size[1] - height))
            yield x, y, x + width, y + height


def _draw_legend(picture: Image.Image, text: str) -> None:
    """A line of text in the lower left corner, where the image has the room."""
    width, height = _tag_size(text, picture.size)
    if width <= picture.width / 2:
        _draw_tag(picture, text, DARK, (0.0, picture.height - height, width, float(picture.height)))


def _em(size: tuple[int, ...]) -> float:
    """The height of letters in pixels."""
    return max(12.0, hypot(*size) / 60)


@lru_cache
def _font(size: tuple[int, ...]) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_em(size))


# ── the distributions of one box ───────────────────────────────────────────────────────────────────────


def _draw_inset(image: np.ndarray, detections: Detections, index: int) -> Image.Image:
    """The image with one detection in full and the others as thin frames, and its panel beside it."""
    panel = edge_panel(detections, index, image.shape[0])
    canvas, line, one = image.copy(), _line_width(detections.size), detections[index]
    for other in reversed(list(detections)):
        _fill(canvas, _ring(other.box_xyxy, (line / 3,) * 4), colour(other.label))
    _draw_box(canvas, one, _reach(detections)[index], line)
    picture = Image.fromarray(canvas)
    _draw_tags(picture, [(f"{one.name} {one.score:.2f}", colour(one.label), one.box_xyxy)])
    whole = Image.new("RGB", (picture.width + panel.width, max(picture.height, panel.height)), PAPER)
    whole.paste(picture, (0, 0))
    whole.paste(panel, (picture.width, 0))
    return whole


def edge_panel(detections: Detections, index: int, height: int = 0) -> Image.Image:
    """The distributions of one detection's edges, one below the other, at least `height` pixels high.

    Pixels of the image go right, the mass a pixel up; a bar is a bin, as wide as half of the way to its
    neighbours on both sides. The line is the decoded edge, the shade its error bar as in `draw`, and red
    marks two modes where it has two. Raises ValueError where the detections do not have their distributions.
    """
    if detections.edges is None:
        raise ValueError(
            "these detections did not keep the distributions of their edges; "
            "ask for them: predict(..., edges=True)"
        )
    if not 0 <= index < len(detections):
        raise ValueError(f"inset {index}: expected the number of one of {len(detections)} detections, from 0")
    em, one, own = _em(detections.size), detections[index], detections[[index]]
    assert own.edges is not None
    width, height = round(19 * em), max(height, round(29 * em))
    canvas, texts = np.full((height, width, 3), PAPER, np.uint8), list[Text]()
    each = (height - 4.2 * em) / 4
    for edge in range(4):
        area = (em, 2.4 * em + edge * each, width - em, 2.4 * em + (edge + 1) * each)
        texts += _draw_edge(canvas, own, edge, area, em)
    shade = f"{LEVEL:.0%} interval" if own.calibrated else "±1 standard deviation"
    texts += [
        (em, 1.2 * em, "lm", f"{one.name} {one.score:.2f}", DARK),
        (em, height - em, "lm", f"shade: {shade}", GREY),
    ]
    panel, font = Image.fromarray(canvas), _font(detections.size)
    pen = ImageDraw.Draw(panel)
    for x, y, anchor, text, ink in texts:
        pen.text((round(x), round(y)), text, fill=ink, font=font, anchor=anchor)
    return panel


def _draw_edge(canvas: np.ndarray, one: Detections, edge: int, area: Rectangle, em: float) -> Iterable[Text]:
    """Bars, shade and line of one edge of a single detection; what is left to be written there."""
    assert one.edges is not None
    left, top, right, bottom = area
    top, bottom = top + 1.8 * em, bottom - 1.4 * em
    box, reach = float(one.boxes_xyxy[0, edge]), float(_reach(one)[0, edge])
    order = slice(None, None, -1 if edge < 2 else 1)  # so that positions rise
    at, mass = one.edges.positions[0, edge, order], one.edges.probs[0, edge, order]
    between = (at[1:] + at[:-1]) / 2
    starts = np.concatenate([[2 * at[0] - between[0]], between])
    ends = np.concatenate([between, [2 * at[-1] - between[-1]]])
    seen = mass > SHOWN_MASS
    low, high = min(starts[seen].min(), box - reach), max(ends[seen].max(), box + reach)
    wide = max(ends[seen].max() - starts[seen].min(), 1.0)
    low, high = max(low, box - 4 * wide), min(high, box + 4 * wide)  # though the shade may reach further
    scale = (right - left) / ((high - low) * 1.04)

    def x(pixel: float) -> float:
        return float(min(max(left + (pixel - low) * scale, left), right))

    ink = colour(int(one.labels[0]))
    deep: Colour = (ink[0] * 3 // 4, ink[1] * 3 // 4, ink[2] * 3 // 4)
    heights = mass / np.maximum(ends - starts, 1e-9)
    heights = heights / heights.max() * (bottom - top)
    _fill(canvas, [(x(box - reach), top, x(box + reach), bottom)], ink, opacity=0.3)
    bars = zip(starts.tolist(), ends.tolist(), heights.tolist(), strict=True)
    _fill(canvas, [(x(a), bottom - up, x(b), bottom) for a, b, up in bars], deep)
    thin = em / 14
    _fill(canvas, [(left, bottom, right, bottom + thin)], GREY)
    _fill(canvas, [(x(box) - thin, top - 0.3 * em, x(box) + thin, bottom)], DARK)
    modes = one.edges.modes()[0, edge]
    yield left, top - 1.1 * em, "lm", f"{EDGES[edge]} {box:.1f} ± {reach:.1f}", DARK
    if not np.isnan(modes).any():
        _fill(canvas, [(x(m) - thin, bottom, x(m) + thin, bottom + 0.4 * em) for m in modes.tolist()], RED)
        yield right, top - 1.1 * em, "rm", " or ".join(f"{m:.0f}" for m in sorted(modes.tolist())), RED
    for tick in _ticks(low, high):
        _fill(canvas, [(x(tick) - thin / 2, bottom, x(tick) + thin / 2, bottom + 0.25 * em)], GREY)
        yield x(tick), bottom + 0.85 * em, "mm", f"{tick:g}", GREY


def _ticks(low: float, high: float) -> list[float]:
    """Two to six round numbers between `low` and `high`, none so near the ends that its digits stick out."""
    largest = (high - low) / 2.6
    power = 10.0 ** floor(log10(largest))
    step = max(power * m for m in (1, 2, 5) if power * m <= largest)
    margin = (high - low) * 0.06
    first, last = ceil((low + margin) / step), floor((high - margin) / step)
    return [round(k * step, 9) for k in range(first, last + 1)]
