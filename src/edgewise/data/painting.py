"""Soft-edged shapes on textured backgrounds: what `edgewise.data.scenes` is painted with.

Colours and images are float32 RGB in [0, 1]. A point (x, y) is in pixels, with pixel (row, column) centred
at (column + 0.5, row + 0.5).
"""

import colorsys
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageFilter

Colour = tuple[float, float, float]
Polygon = Float[np.ndarray, "V 2"]

# ── shapes ─────────────────────────────────────────────────────────────────────────────────────────

_LETTERS = {  # polygons in the unit square, y down
    "H": "0,0 .3,0 .3,.35 .7,.35 .7,0 1,0 1,1 .7,1 .7,.65 .3,.65 .3,1 0,1",
    "L": "0,0 .34,0 .34,.68 1,.68 1,1 0,1",
    "T": "0,0 1,0 1,.32 .67,.32 .67,1 .33,1 .33,.32 0,.32",
    "U": "0,0 .3,0 .3,.68 .7,.68 .7,0 1,0 1,1 0,1",
    "X": "0,0 .32,0 .5,.265 .68,0 1,0 .66,.5 1,1 .68,1 .5,.735 .32,1 0,1 .34,.5",
    "Z": "0,0 1,0 1,.3 .5,.7 1,.7 1,1 0,1 0,.7 .5,.3 0,.3",
}
_GLYPHS = tuple(
    np.array([point.split(",") for point in letter.split()], np.float64) for letter in _LETTERS.values()
)


def _ring(corners: int, radii: Sequence[float] = (1.0,)) -> np.ndarray:
    """Points around the origin, the first one on top, at the given radii in turn."""
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.asarray(np.stack([np.sin(angles), -np.cos(angles)], 1) * np.resize(radii, corners)[:, None])


def _turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """The points turned about the origin and stretched so that they just fill the unit square."""
    turn = np.deg2rad(degrees)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    low, high = points.min(0), points.max(0)
    return np.asarray((points - low) / (high - low))


def _glyph(rng: np.random.Generator) -> np.ndarray:
    return _turned(_GLYPHS[rng.integers(len(_GLYPHS))], rng.uniform(-12, 12))


SHAPES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "disc": lambda rng: _turned(_ring(32), 0.0),
    "box": lambda rng: _turned(_ring(4), 45 + rng.uniform(-12, 12) * rng.integers(2)),
    "triangle": lambda rng: _turned(_ring(3), rng.uniform(0, 360)),
    "star": lambda rng: _turned(_ring(10, (1.0, 0.48)), rng.uniform(0, 360)),
    "glyph": _glyph,
}
"""By class name: a random outline [V, 2] whose tight bounds are the unit square."""


def cut(polygon: Polygon, edge: int, at: float) -> Float[np.ndarray, "K 2"]:
    """What is left of the polygon inside of the line x = `at` (`edge` 0, 2) or y = `at` (`edge` 1, 3).

    `edge` says which side is cut away: left, top, right, bottom.
    """
    axis, inward = edge % 2, 1 if edge < 2 else -1
    kept = []
    for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        inside_a, inside_b = inward * (a[axis] - at) >= 0, inward * (b[axis] - at) >= 0
        if inside_a:
            kept.append(a)
        if inside_a != inside_b:
            kept.append(a + (b - a) * (at - a[axis]) / (b[axis] - a[axis]))
    return np.array(kept)


def signed_distance(
    polygon: Polygon, x: Float[np.ndarray, " w"], y: Float[np.ndarray, " h"]
) -> Float32[np.ndarray, "h w"]:
    """Distance of every grid point from the polygon's outline in pixels, positive inside."""
    a = polygon.astype(np.float32)
    ax, ay = a[:, 0, None, None], a[:, 1, None, None]  # [V, 1, 1]
    along = np.roll(a, -1, 0) - a
    ex, ey = along[:, 0, None, None], along[:, 1, None, None]
    px, py = x.astype(np.float32) - ax, y.astype(np.float32)[:, None] - ay  # [V, 1, w], [V, h, 1]
    length2 = ex**2 + ey**2
    t = np.clip(px * (ex / length2) + py * (ey / length2), 0, 1)  # [V, h, w]
    distance = np.sqrt(((px - t * ex) ** 2 + (py - t * ey) ** 2).min(0))
    crosses = (py >= 0) != (py >= ey)  # [V, h, 1]: this side passes the height of the row
    beyond = px < np.where(crosses, py * ex / np.where(ey == 0, 1, ey), -np.inf)  # [V, h, w]
    return np.asarray(np.where(np.logical_xor.reduce(beyond, 0), distance, -distance))


def soft_alpha(
    polygon: Polygon,
    box: Float[np.ndarray, " 4"],
    std: Float[np.ndarray, " 4"],
    x: Float[np.ndarray, " w"],
    y: Float[np.ndarray, " h"],
) -> Float32[np.ndarray, "h w"]:
    """Opacity of the shape on a grid: 0.5 on its outline, with a falloff like N(0, σ)'s across it.

    σ is that of the nearest edges of `box` (left, top, right, bottom; pixels), blended in between, so an
    edge is as blurred as its position is uncertain. An edge with σ = 0 is out of sight and has no say.
    """
    a = (2 * x - box[0] - box[2]) / (box[2] - box[0])  # -1 at the left edge, 1 at the right
    b = (2 * y - box[1] - box[3]) / (box[3] - box[1])
    shares = [np.clip(one, 0, 1.2) ** 4 for one in (-a, -b, a, b)]
    total, blend = np.float32(1e-6), np.float32(0)
    for edge, share in enumerate(shares):
        if std[edge] > 0:
            grid = share.astype(np.float32)
            grid = grid[None, :] if edge % 2 == 0 else grid[:, None]
            total, blend = total + grid, blend + grid * np.float32(np.log(std[edge]))
    steepness = np.exp(-blend / total)  # 1/σ
    z = np.clip(signed_distance(polygon, x, y) * steepness, -12, 12)
    return np.asarray(1 / (1 + np.exp(-1.702 * z)))  # within 0.01 of the normal distribution function


# ── colours and surfaces ───────────────────────────────────────────────────────────────────────────


def _mix(a: Colour, b: Colour, share: np.ndarray) -> np.ndarray:
    """[h, w, 3]: `a` where share is 0, `b` where it is 1."""
    first, second = np.array(a, np.float32), np.array(b, np.float32)
    return np.asarray(first + share[..., None].astype(np.float32) * (second - first))


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise [h, w] about 0..1: random values on a coarse grid, twice, the second finer and fainter."""
    height, width = size
    total = np.zeros(size, np.float32)
    for octave, weight in ((cells, 0.7), (3 * cells, 0.3)):
        grid = Image.fromarray(rng.random((octave, octave), np.float32))
        total += weight * np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
    return total


def _slope(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A plane [h, w] in a random direction, from -0.5 to 0.5 or less."""
    height, width = size
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.ogrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    return np.asarray(x * np.cos(angle) + y * np.sin(angle), np.float32)


def _stripes(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    waves = rng.uniform(5, 14) * _slope(rng, size) + 0.5 * _noise(rng, size, 3)
    return np.asarray(0.5 + 0.5 * np.tanh(2 * np.sin(2 * np.pi * waves)))


def _rings(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    cy, cx = rng.uniform(-0.3, 1.3, 2)
    y, x = np.ogrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    radius = np.hypot(x - cx, y - cy) + 0.05 * _noise(rng, size, 4)
    return np.asarray(0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(3, 9) * radius))


def _checks(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    cells = rng.uniform(3, 7)
    u, v = (np.sin(2 * np.pi * cells * _slope(rng, size)) for _ in range(2))
    return np.asarray(0.5 + 0.5 * np.tanh(3 * u * v))


_TEXTURES: tuple[Callable[[np.random.Generator, tuple[int, int]], np.ndarray], ...] = (
    lambda rng, size: _noise(rng, size, int(rng.integers(3, 9))),
    lambda rng, size: 0.5 + _slope(rng, size),
    _stripes,
    _rings,
    _checks,
)


def background(
    rng: np.random.Generator, size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "h w 3"], list[Colour]]:
    """A muted texture of the given (height, width), and the two colours it is made of."""
    hue, value = rng.random(), rng.uniform(0.3, 0.85)
    pair = [
        colorsys.hsv_to_rgb(hue + turn, rng.uniform(0.08, 0.4), np.clip(value + step, 0.15, 0.95))
        for turn, step in ((0.0, -0.08), (rng.uniform(-0.15, 0.15), 0.08))
    ]
    texture = _TEXTURES[rng.integers(len(_TEXTURES))](rng, size)
    cloud = 1 + 0.3 * (_noise(rng, size, 3) - 0.5) + 0.2 * _slope(rng, size)
    return np.asarray(_mix(pair[0], pair[1], texture) * cloud[..., None]), pair


def distinct_colour(rng: np.random.Generator, used: list[Colour]) -> Colour:
    """A vivid colour: the first of sixteen that is 0.45 from each in `used`, else the one farthest off."""
    options = [
        colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.5, 0.95), rng.uniform(0.35, 1.0)) for _ in range(16)
    ]
    return max(options, key=lambda one: min(0.45, *(math.dist(one, other) for other in used)))


def surface(rng: np.random.Generator, size: tuple[int, int], colour: Colour) -> Float32[np.ndarray, "h w 3"]:
    """The colour, shaded from one side; one in three is faintly striped."""
    shade = 1 + 0.35 * _slope(rng, size)
    if rng.random() < 1 / 3:
        shade *= 1 - 0.12 * (np.sin(2 * np.pi * rng.uniform(3, 8) * _slope(rng, size)) > 0)
    return np.asarray(np.array(colour, np.float32) * shade[..., None])


def photograph(rng: np.random.Generator, canvas: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """The canvas under its own light (±15 %), slightly out of focus (σ up to 0.5 px) and grainy."""
    height, width, _ = canvas.shape
    grain = rng.standard_normal((height, width, 1), np.float32) * rng.uniform(0, 0.02)
    exposed = canvas * rng.uniform(0.85, 1.15) + grain
    image = Image.fromarray((np.clip(exposed, 0, 1) * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.5))))
