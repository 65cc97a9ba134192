"""What an edge's distribution says, in numpy and in pixels of the original image. No torch.

An edge is left, top, right or bottom. Its distribution has N+1 masses at the offsets W(n) (Eq. 4 of arXiv
2410.13842), which count outwards in sides of the initial box: the chain rule to a pixel is that box's edge
plus or minus the offset times its width or height, and is exact.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

OUTWARDS = np.array([-1.0, -1.0, 1.0, 1.0])  # the way a positive offset moves x or y, by edge
SHARE_OF_A_MODE = 0.1  # of the mass, and a dip to half its height before it, make a peak a mode


@dataclass(frozen=True, eq=False)
class EdgeDistributions:
    """The distributions of the four edges of M boxes.

    probs   [M, 4, N+1] masses of the bins; sum to 1
    values  [N+1] W(n) in sides of the initial box
    origin  [M, 4] edges of the initial box: x or y in pixels of the original image
    sides   [M, 4] its width, height, width, height in pixels
    """

    probs: Float[np.ndarray, "M 4 n"]
    values: Float[np.ndarray, " n"]
    origin: Float[np.ndarray, "M 4"]
    sides: Float[np.ndarray, "M 4"]

    def __len__(self) -> int:
        return len(self.probs)

    def __getitem__(self, rows: slice | np.ndarray | list[int] | list[bool]) -> "EdgeDistributions":
        """Those of some boxes."""
        return replace(self, probs=self.probs[rows], origin=self.origin[rows], sides=self.sides[rows])

    def to_pixels(self, offsets: Float[np.ndarray, "M 4 *k"]) -> Float[np.ndarray, "M 4 *k"]:
        """Where edges lie that are moved by `offsets`, in sides of the initial box."""
        more = (1,) * (offsets.ndim - 2)
        step = (OUTWARDS * self.sides).reshape(*self.sides.shape, *more)
        pixels: np.ndarray = self.origin.reshape(*self.origin.shape, *more) + step * offsets
        return pixels

    @property
    def positions(self) -> Float[np.ndarray, "M 4 n"]:
        """The pixel each bin stands for; for left and top edges they fall with n."""
        return self.to_pixels(np.broadcast_to(self.values, self.probs.shape))

    @property
    def mean(self) -> Float[np.ndarray, "M 4"]:
        """Σₙ W(n)·Pr(n) in pixels: the edges of the refined box (Eq. 2), in the order of boxes_xyxy."""
        return self.to_pixels(self.probs @ self.values)

    @property
    def std(self) -> Float[np.ndarray, "M 4"]:
        """Standard deviations in pixels."""
        mean = self.probs @ self.values
        variance = (np.square(self.values - mean[..., None]) * self.probs).sum(-1)
        std: np.ndarray = np.sqrt(variance) * self.sides
        return std

    @property
    def entropy(self) -> Float[np.ndarray, "M 4"]:
        """-Σ p·log p in nats: 0 for a sure edge, log(N + 1) for one that knows nothing."""
        terms = self.probs * np.log(np.maximum(self.probs, np.finfo(self.probs.dtype).tiny))
        entropy: np.ndarray = -terms.sum(-1)
        return entropy

    @property
    def end_mass(self) -> Float[np.ndarray, "M 4"]:
        """Mass in the two outer bins: how much the edge wants to leave what the bins can say."""
        mass: np.ndarray = self.probs[..., 0] + self.probs[..., -1]
        return mass

    def cdf(self, pixels: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
        """The mass at x or y below `pixels`; linear between bins, half a bin's mass lying below it."""
        offsets = self._outwards(pixels)
        below = _interpolated(offsets, np.broadcast_to(self.values, self.probs.shape), self._levels)
        return np.where(OUTWARDS > 0, below, 1 - below)

    def quantile(self, level: float) -> Float[np.ndarray, "M 4"]:
        """Where the mass below x or y is `level` in (0, 1), in pixels: `cdf` read the other way."""
        if not 0 < level < 1:
            raise ValueError(f"level {level}: expected a number between 0 and 1, such as 0.9")
        wanted = np.broadcast_to(np.where(OUTWARDS > 0, level, 1 - level), self.sides.shape)
        values = np.broadcast_to(self.values, self.probs.shape)
        return self.to_pixels(_interpolated(wanted, self._levels, values))

    def modes(self) -> tuple[Int[np.ndarray, "M 4"], Float[np.ndarray, "M 4"]]:
        """How many modes an edge has, 1 or 2, and where the second lies in pixels (nan without one).

        The second is the highest bin, apart from the first one's slopes, that a dip to half its height
        separates from it and whose side of the dip holds a tenth of the mass: a covered or cut edge.
        """
        count = np.ones(self.sides.shape, np.int64)
        second = np.full(self.sides.shape, np.nan)
        positions = self.positions
        for box, edge in np.ndindex(self.sides.shape):
            found = _second_mode(self.probs[box, edge])
            if found is not None:
                count[box, edge], second[box, edge] = 2, positions[box, edge, found]
        return count, second

    def sample(self, rng: np.random.Generator) -> Float[np.ndarray, "M 4"]:
        """One draw of every edge, in pixels, from the interpolated distribution."""
        level = rng.random(self.sides.shape)
        values = np.broadcast_to(self.values, self.probs.shape)
        return self.to_pixels(_interpolated(level, self._levels, values))

    def crps(self, pixels: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
        """Continuous ranked probability score of edges that lie at `pixels`, in pixels; less is better.

        E|X - x| - ½·E|X - X'| of the discrete masses, exact.
        """
        offsets = self._outwards(pixels)
        distance = (np.abs(self.values - offsets[..., None]) * self.probs).sum(-1)
        between = np.cumsum(self.probs, -1)[..., :-1]
        half_spread = (between * (1 - between) * np.diff(self.values)).sum(-1)
        score: np.ndarray = (distance - half_spread) * self.sides
        return score

    @property
    def _levels(self) -> Float[np.ndarray, "M 4 n"]:
        """The mass below each bin, half its own included; counted in the direction of the offsets."""
        levels: np.ndarray = np.cumsum(self.probs, -1) - self.probs / 2
        return levels

    def _outwards(self, pixels: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
        """The offsets that lead to `pixels`."""
        sides = np.maximum(self.sides, np.finfo(self.sides.dtype).tiny)
        offsets: np.ndarray = (pixels - self.origin) * OUTWARDS / sides
        return offsets


def _interpolated(
    x: Float[np.ndarray, "*b"], xs: Float[np.ndarray, "*b n"], ys: Float[np.ndarray, "*b n"]
) -> Float[np.ndarray, "*b"]:
    """`np.interp` along the last axis, for every row its own rising `xs`; the end values outside."""
    above = (xs < x[..., None]).sum(-1).clip(1, xs.shape[-1] - 1)[..., None]
    low, high = (np.take_along_axis(xs, above - k, -1)[..., 0] for k in (1, 0))
    start, end = (np.take_along_axis(ys, above - k, -1)[..., 0] for k in (1, 0))
    width = np.maximum(high - low, np.finfo(np.float64).tiny)
    share = ((x - low) / width).clip(0, 1)
    values: np.ndarray = start + share * (end - start)
    return values


def _second_mode(p: Float[np.ndarray, " n"]) -> int | None:
    """The bin of the second mode of one edge, if it has one."""
    first = int(p.argmax())
    best: int | None = None
    for side in (range(first - 1, -1, -1), range(first + 1, len(p))):
        low, beyond = p[first], list(side)
        for i, bin_ in enumerate(beyond):
            low = min(low, p[bin_])
            if (
                p[bin_] > 2 * low
                and p[beyond[i:]].sum() >= SHARE_OF_A_MODE
                and (best is None or p[bin_] > p[best])
            ):
                best = bin_
    return best
