import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from edgewise.data.colours import PLAIN, Colours, draw_colours, mean_colour, recoloured


def picture() -> Image.Image:
    """Smooth colours away from the ends, so that nothing is clipped."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(90, 150, (40, 50, 3), np.uint8))


def changed(image: Image.Image, colours: Colours) -> np.ndarray:
    return np.asarray(recoloured(image, colours, mean_colour(np.asarray(image))))


@pytest.mark.parametrize(
    ("colours", "enhance"),
    [
        (Colours(brightness=1.1), lambda one: ImageEnhance.Brightness(one).enhance(1.1)),
        (Colours(contrast=1.4), lambda one: ImageEnhance.Contrast(one).enhance(1.4)),
        (Colours(saturation=0.6), lambda one: ImageEnhance.Color(one).enhance(0.6)),
        (
            Colours(brightness=0.9, contrast=0.7, saturation=1.3, contrast_last=True),
            lambda one: ImageEnhance.Contrast(
                ImageEnhance.Color(ImageEnhance.Brightness(one).enhance(0.9)).enhance(1.3)
            ).enhance(0.7),
        ),
        (
            Colours(brightness=0.9, contrast=0.7, saturation=1.3),
            lambda one: ImageEnhance.Color(
                ImageEnhance.Contrast(ImageEnhance.Brightness(one).enhance(0.9)).enhance(0.7)
            ).enhance(1.3),
        ),
        (Colours(channels=(2, 0, 1)), lambda one: Image.fromarray(np.asarray(one)[..., [2, 0, 1]])),
    ],
    ids=["brightness", "contrast", "saturation", "contrast last", "contrast first", "channels"],
)
def test_one_map_does_what_the_steps_do_one_by_one(colours: Colours, enhance: object) -> None:
    assert callable(enhance)
    found, expected = changed(picture(), colours), np.asarray(enhance(picture()))
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=4)  # each of its steps truncates


@pytest.mark.parametrize("turn", [-0.05, 0.03, 0.05])
def test_hue_turns_by_a_share_of_the_circle(turn: float) -> None:
    image = Image.new("RGB", (2, 2), (180, 110, 80))
    found = changed(image, Colours(hue=turn))[0, 0]
    before, after = (colorsys.rgb_to_hsv(*one)[0] for one in ((180, 110, 80), found.tolist()))
    assert (after - before - turn + 0.5) % 1 - 0.5 == pytest.approx(0, abs=0.008)
    assert found.mean() == pytest.approx((180 + 110 + 80) / 3, abs=1)


def test_grays_stay_gray_and_only_brightness_changes_a_flat_one() -> None:
    """Within 1/8."""
    gray = Image.new("RGB", (4, 4), (100, 100, 100))
    levels = []
    for seed in range(200):
        found = changed(gray, draw_colours(1.0, np.random.default_rng(seed)))
        assert (found == found[0, 0, 0]).all()
        levels.append(int(found[0, 0, 0]))
    assert 87 <= min(levels) <= 90
    assert 110 <= max(levels) <= 113


def test_colours_are_clipped() -> None:
    image = Image.fromarray(np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8))
    assert changed(image, Colours(contrast=1.5)).ravel().tolist() == [0] * 3 + [255] * 3


def test_chance_zero_is_plain_and_chance_one_never() -> None:
    assert all(draw_colours(0.0, np.random.default_rng(seed)) == PLAIN for seed in range(20))
    drawn = [draw_colours(1.0, np.random.default_rng(seed)) for seed in range(50)]
    for name in ("brightness", "contrast", "saturation", "hue"):
        assert len({getattr(one, name) for one in drawn}) == 50
    assert {one.contrast_last for one in drawn} == {True, False}
    assert len({one.channels for one in drawn}) == 6


def test_the_mean_colour_is_near_enough() -> None:
    image = np.asarray(picture().resize((700, 300)))
    np.testing.assert_allclose(mean_colour(image), image.mean((0, 1)), atol=1)
    assert mean_colour(image[:1, :1]).tolist() == image[0, 0].tolist()
