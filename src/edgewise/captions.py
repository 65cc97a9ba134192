"""A line of text below a picture, cut in its middle where it is too long."""

from PIL import Image, ImageDraw, ImageFont

from edgewise.draw import DARK, LIGHT

MARGIN = 2  # pixels beside the text


def captioned(picture: Image.Image, text: str, height: int = 28, size: int = 15) -> Image.Image:
    """The picture with a white line of `height` pixels below it; the text's font has `size`."""
    font = ImageFont.load_default(size)
    tile = Image.new("RGB", (picture.width, picture.height + height), LIGHT)
    tile.paste(picture)
    pen = ImageDraw.Draw(tile)
    spot = (MARGIN, picture.height + (height - size) // 2 - 1)
    pen.text(spot, fitted(text, picture.width - 2 * MARGIN, font), fill=DARK, font=font)
    return tile


def fitted(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, or as much of its two ends as `width` pixels hold: a file's name ends in what tells it."""
    shown, kept = text, len(text)
    while font.getlength(shown) > width and kept > 1:
        kept -= 1
        shown = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return shown
