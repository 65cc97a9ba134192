"""Captions stay within their picture, and end as they are given."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from edgewise.captions import MARGIN, captioned, fitted

FONT = ImageFont.load_default(15)
LONG = "3 missed, 2 false, 1 found: " + "a_rather_long_name_" * 5 + "000042.jpg"


def test_a_long_text_keeps_its_ends() -> None:
    shown = fitted(LONG, 300, FONT)
    assert FONT.getlength(shown) <= 300
    assert shown.startswith("3 missed, 2 fal")
    assert shown.endswith("000042.jpg")
    assert fitted("short", 300, FONT) == "short"


@pytest.mark.parametrize("text", ["short", LONG])
def test_the_line_is_below_and_within_the_picture(text: str) -> None:
    tile = np.asarray(captioned(Image.new("RGB", (240, 50), "red"), text))
    assert tile.shape == (78, 240, 3)
    assert (tile[:50] == (255, 0, 0)).all()
    columns = np.nonzero((tile[50:] < 128).all(-1).any(0))[0]
    assert len(columns)
    assert columns.max() < 240 - MARGIN
