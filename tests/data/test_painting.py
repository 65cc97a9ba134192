import numpy as np
import pytest

from edgewise.data import painting
from edgewise.data.painting import SHAPES, cut, distinct_colour, signed_distance, soft_alpha

SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


@pytest.mark.parametrize("name", SHAPES)
def test_outlines_fill_the_unit_square(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        outline = SHAPES[name](rng)
        np.testing.assert_allclose([outline.min(0), outline.max(0)], [[0, 0], [1, 1]], atol=1e-12)


def test_outlines_are_a_draw() -> None:
    assert len({SHAPES["glyph"](np.random.default_rng(seed)).tobytes() for seed in range(20)}) > 10


@pytest.mark.parametrize(
    ("edge", "at", "low", "high"),
    [
        (0, 0.2, (0.2, 0), (1, 1)),
        (1, 0.2, (0, 0.2), (1, 1)),
        (2, 0.7, (0, 0), (0.7, 1)),
        (3, 0.7, (0, 0), (1, 0.7)),
    ],
)
def test_cut_takes_one_side_away(
    edge: int, at: float, low: tuple[float, float], high: tuple[float, float]
) -> None:
    left = cut(SQUARE, edge, at)
    np.testing.assert_allclose([left.min(0), left.max(0)], [low, high])


def test_cut_of_a_slope_ends_where_the_line_meets_it() -> None:
    triangle = np.array([[0.0, 0], [1, 0.5], [0, 1]])  # points right
    left = cut(triangle, 0, 0.5)
    np.testing.assert_allclose([left.min(0), left.max(0)], [[0.5, 0.25], [1, 0.75]])


def test_signed_distance_by_hand() -> None:
    x, y = np.array([-3.0, 5, 9, 13]), np.array([5.0, 14])
    expected = [[-3, 5, 1, -3], [-5, -4, -4, -5]]
    np.testing.assert_allclose(signed_distance(10 * SQUARE, x, y), expected, atol=1e-5)


def test_signed_distance_of_a_letter_is_negative_in_its_notch() -> None:
    letter = 10 * np.array(
        [[0.0, 0], [0.3, 0], [0.3, 0.7], [0.7, 0.7], [0.7, 0], [1, 0], [1, 1], [0, 1]]
    )  # U
    np.testing.assert_allclose(
        signed_distance(letter, np.array([1.0, 5]), np.array([5.0])), [[1, -2]], atol=1e-5
    )


GRID = np.arange(0, 140, 0.25)


def _alpha(std: list[float]) -> np.ndarray:
    """A box from 40 to 100, sampled on GRID in both directions."""
    return soft_alpha(40 + 60 * SQUARE, np.array([40.0, 40, 100, 100]), np.array(std), GRID, GRID)


def test_alpha_is_a_half_on_the_outline_whatever_the_softness() -> None:
    alpha = _alpha([0.5, 5.0, 2.0, 1.0])
    np.testing.assert_allclose(alpha[160:401, [160, 400]], 0.5, atol=1e-4)
    np.testing.assert_allclose(alpha[[160, 400], 160:401], 0.5, atol=1e-4)


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0, 5.0])
def test_falloff_across_an_edge_is_that_of_its_own_normal_distribution(std: float) -> None:
    others = [3.0, 1.5, 0.7]
    row = _alpha([std, *others])[280]
    offsets = np.arange(-3, 4) * std
    expected = [0.0013, 0.0228, 0.1587, 0.5, 0.8413, 0.9772, 0.9987]
    np.testing.assert_allclose(np.interp(40 + offsets, GRID, row), expected, atol=0.02)


def test_an_edge_out_of_sight_leaves_the_others_as_they_are() -> None:
    seen, unseen = _alpha([1.0, 4.0, 2.0, 2.0]), _alpha([0.0, 4.0, 2.0, 2.0])
    assert np.isfinite(unseen).all()
    np.testing.assert_allclose(unseen[80:240, 280], seen[80:240, 280], atol=1e-3)


def test_colours_keep_away_from_those_in_use() -> None:
    rng = np.random.default_rng(0)
    used = [(0.5, 0.5, 0.5), (0.1, 0.8, 0.1)]
    for _ in range(20):
        colour = distinct_colour(rng, used)
        assert min(np.linalg.norm(np.subtract(colour, other)) for other in used) > 0.44


@pytest.mark.parametrize("texture", range(len(painting._TEXTURES)))
def test_backgrounds_of_every_texture_are_muted_and_not_flat(
    texture: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting, "_TEXTURES", painting._TEXTURES[texture : texture + 1])
    canvas, colours = painting.background(np.random.default_rng(1), (96, 128))
    assert canvas.shape == (96, 128, 3)
    assert canvas.std() > 0.01
    for colour in colours:
        assert (max(colour) - min(colour)) / max(colour) <= 0.41
