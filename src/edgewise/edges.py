"""What an edge's distribution says, in numpy and in pixels of the original image. No torch.

An edge is left, top, right or bottom. Its distribution has N+1 masses at the offsets W(n) (Eq. 4 of arXiv
2410.13842), which count outwards in sides of the initial box: the chain rule to a pixel is that box's edge
plus or minus the offset times its width or height, and is exact.

The masses are read in two ways. At their bins: mean, std, entropy, modes, crps. Interpolated, half of a bin's
mass to either side and spread evenly up to the next bin: cdf, quantile, density, sample. The latter has no
steps inside; as bins grow wider outwards, its mean lies a little further out than the decoded edge.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

EDGES = ("left", "top", "right", "bottom")
OUTWARDS = np.array([-1, -1, 1, 1])  # the way a positive offset moves x or y, by edge
SHARE_OF_A_MODE = 0.1  # of the mass has to lie beyond a dip for a peak there to be a mode


def check_level(level: float) -> None:
    """ValueError for what is no probability between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level {level}: expected a number between 0 and 1, such as 0.9")


@dataclass(frozen=True, eq=False)
class EdgeDistributions:
    """The distributions of the four edges of M boxes.

    probs   [M, 4, N+1] masses of the bins; sum to 1
    values  [N+1] W(n) in sides of the initial box
    origin  [M, 4] edges of the initial box: x or y in pixels of the original image
    sides   [M, 4] its width, height, width, height in pixels, not negative
    """

    probs: Float[np.ndarray, "M 4 n"]
    values: Float[np.ndarray, " n"]
    origin: Float[np.ndarray, "M 4"]
    sides: Float[np.ndarray, "M 4"]

    @classmethod
    def of(
        cls,
        logits: Float[np.ndarray, "M 4 n"],
        values: Float[np.ndarray, " n"],
        origin: Float[np.ndarray, "M 4"],
        sides: Float[np.ndarray, "M 4"],
    ) -> "EdgeDistributions":
        """Those whose masses are the softmax of `logits`, in the precision of these."""
        masses = np.exp(logits - logits.max(-1, keepdims=True))
        return cls(masses / masses.sum(-1, keepdims=True), values.astype(logits.dtype), origin, sides)

    def __len__(self) -> int:
        return len(self.probs)

    def __getitem__(self, rows: slice | np.ndarray | list[int] | list[bool]) -> "EdgeDistributions":
        """Those of some boxes."""
        return replace(self, probs=self.probs[rows], origin=self.origin[rows], sides=self.sides[rows])

    def tempered(self, temperature: tuple[float, ...] | Float[np.ndarray, " 4"]) -> "EdgeDistributions":
        """The same with logits divided by each edge's temperature: above 1 less sure, below 1 surer."""
        logits = self._log_probs / np.asarray(temperature, self.probs.dtype)[:, None]
        return self.of(logits, self.values, self.origin, self.sides)

    def to_pixels(self, offsets: Float[np.ndarray, "M 4 *k"]) -> Float[np.ndarray, "M 4 *k"]:
        """Where edges lie that are moved by `offsets`, in sides of the initial box."""
        shape = self.sides.shape + (1,) * (offsets.ndim - 2)
        pixels: np.ndarray = self.origin.reshape(shape) + self._steps.reshape(shape) * offsets
        return pixels

    @property
    def positions(self) -> Float[np.ndarray, "M 4 n"]:
        """The pixel each bin stands for; for left and top edges they fall with n."""
        return self.to_pixels(self._values)

    # ── masses at their bins ───────────────────────────────────────────────────────────────────────────

    @property
    def mean(self) -> Float[np.ndarray, "M 4"]:
        """Σₙ W(n)·Pr(n) in pixels: the edges of the refined box (Eq. 2), in the order of boxes_xyxy."""
        return self.to_pixels(self._mean_offsets)

    @property
    def std(self) -> Float[np.ndarray, "M 4"]:
        """Standard deviations in pixels."""
        variance = (np.square(self.values - self._mean_offsets[..., None]) * self.probs).sum(-1)
        std: np.ndarray = np.sqrt(variance) * self.sides
        return std

    @property
    def entropy(self) -> Float[np.ndarray, "M 4"]:
        """-Σ p·log p in nats: 0 for a sure edge, log(N+1) for one that knows nothing. Blind to size."""
        entropy: np.ndarray = np.maximum(-(self.probs * self._log_probs).sum(-1), 0)
        return entropy

    def kl(self, earlier: "EdgeDistributions") -> Float[np.ndarray, "M 4"]:
        """KL(self ‖ earlier) in nats: what is lost by taking an earlier layer's distributions for these."""
        lost: np.ndarray = (self.probs * (self._log_probs - earlier._log_probs)).sum(-1).clip(min=0)
        return lost

    @property
    def end_mass(self) -> Float[np.ndarray, "M 4"]:
        """Mass in the two outer bins: how much the edge wants to leave what the bins can say."""
        mass: np.ndarray = self.probs[..., 0] + self.probs[..., -1]
        return mass

    def modes(self) -> Float[np.ndarray, "M 4 2"]:
        """The pixels of each edge's highest mode and of a second one, nan where there is none.

        Masses are smoothed over five bins first, as long training leaves them jagged. The second mode is the
        highest bin that a dip to less than half its height separates from the highest of all, where at least
        a tenth of the mass lies beyond that dip: a covered or cut edge, or a neighbour's.
        """
        smooth = _smoothed(self.probs)
        first, last = smooth.argmax(-1), smooth.shape[-1] - 1
        above, upper = _peak_beyond(smooth, self.probs, first)
        below, mirrored = _peak_beyond(smooth[..., ::-1], self.probs[..., ::-1], last - first)
        second = np.where(above >= below, upper, last - mirrored)
        where = np.take_along_axis(self.positions, np.stack([first, second], -1), -1)
        where[np.maximum(above, below) == 0, 1] = np.nan
        return where

    def crps(self, pixels: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
        """Continuous ranked probability score of edges that lie at `pixels`, in pixels; less is better.

        E|X - x| - ½·E|X - X'| of the masses, exact; |X - x| for a sure edge.
        """
        distance = (np.abs(self.positions - pixels[..., None]) * self.probs).sum(-1)
        inside = np.cumsum(self.probs, -1)[..., :-1]
        half_spread = (inside * (1 - inside) * np.diff(self.values)).sum(-1) * self.sides
        score: np.ndarray = distance - half_spread
        return score

    # ── interpolated ───────────────────────────────────────────────────────────────────────────────────

    def cdf(self, pixels: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
        """The mass at x or y up to `pixels`: 0 before the first bin, 1 from the last on."""
        below = _interpolated(self._outwards(pixels), self._values, self._levels)
        below = np.where(OUTWARDS > 0, below, 1 - below)
        ends = self.positions[..., [0, -1]]
        below = np.where(pixels >= ends.max(-1), 1, np.where(pixels < ends.min(-1), 0, below))
        mass: np.ndarray = below.astype(self.probs.dtype)
        return mass

    def quantile(self, level: float) -> Float[np.ndarray, "M 4"]:
        """Where the mass up to x or y is `level` in (0, 1), in pixels: `cdf` read the other way.

        Levels within half an end bin's mass of 0 or 1 lie at that bin. A level that a gap without mass has
        throughout lies in its middle.
        """
        check_level(level)
        outwards = np.where(OUTWARDS > 0, level, 1 - level).astype(self.probs.dtype)
        return self._at_levels(np.broadcast_to(outwards, self.sides.shape))

    def interval(self, level: float) -> Float[np.ndarray, "M 4 2"]:
        """Low and high end of the middle `level` of the mass, in pixels: raw, so a claim and no promise."""
        check_level(level)
        return np.stack([self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)], -1)

    def density(self, pixels: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
        """Mass a pixel at `pixels`; 0 beyond the end bins, where half of each one's mass stays put."""
        offsets, last = self._outwards(pixels), len(self.values) - 1
        above = (self.values <= offsets[..., None]).sum(-1)
        inside = (above > 0) & (offsets <= self.values[-1]) & (self.sides > 0)
        above = above.clip(1, last)
        levels = self._levels
        mass = _taken(levels, above) - _taken(levels, above - 1)
        width = np.diff(self.values)[above - 1] * np.where(inside, self.sides, 1)
        density: np.ndarray = np.where(inside, mass / width, 0)
        return density

    def sample(self, rng: np.random.Generator) -> Float[np.ndarray, "M 4"]:
        """One draw of every edge, in pixels."""
        return self._at_levels(rng.random(self.sides.shape).astype(self.probs.dtype))

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────

    def _at_levels(self, levels: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
        """Pixels from masses that are counted in the direction of the offsets."""
        return self.to_pixels(_interpolated(levels, self._levels, self._values))

    @property
    def _levels(self) -> Float[np.ndarray, "M 4 n"]:
        """The mass below each bin, half its own included; counted in the direction of the offsets."""
        levels: np.ndarray = np.cumsum(self.probs, -1) - self.probs / 2
        return levels

    @property
    def _values(self) -> Float[np.ndarray, "M 4 n"]:
        values: np.ndarray = np.broadcast_to(self.values, self.probs.shape)
        return values

    @property
    def _mean_offsets(self) -> Float[np.ndarray, "M 4"]:
        """Not a matrix product, whose rounding depends on how many boxes there are."""
        mean: np.ndarray = (self.probs * self.values).sum(-1)
        return mean

    @property
    def _log_probs(self) -> Float[np.ndarray, "M 4 n"]:
        """Finite, where a mass is too."""
        log: np.ndarray = np.log(np.maximum(self.probs, np.finfo(self.probs.dtype).tiny))
        return log

    @property
    def _steps(self) -> Float[np.ndarray, "M 4"]:
        """Pixels a unit of offset moves x or y."""
        steps: np.ndarray = self.sides * OUTWARDS.astype(self.sides.dtype)
        return steps

    def _outwards(self, pixels: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "M 4"]:
        """The offsets that lead to `pixels`."""
        offsets: np.ndarray = (pixels - self.origin) / np.where(self.sides > 0, self._steps, 1)
        return offsets


def _interpolated(
    x: Float[np.ndarray, "*b"], xs: Float[np.ndarray, "*b n"], ys: Float[np.ndarray, "*b n"]
) -> Float[np.ndarray, "*b"]:
    """`np.interp` along the last axis, every row with its own `xs`, which never fall; end values outside.

    Where `xs` stays at `x` for a while, the middle of what `ys` passes there.
    """
    first, last = (_between(x, xs, ys, passed) for passed in (xs < x[..., None], xs <= x[..., None]))
    values: np.ndarray = (first + last) / 2
    return values


def _between(
    x: Float[np.ndarray, "*b"],
    xs: Float[np.ndarray, "*b n"],
    ys: Float[np.ndarray, "*b n"],
    passed: Bool[np.ndarray, "*b n"],
) -> Float[np.ndarray, "*b"]:
    above = passed.sum(-1).clip(1, xs.shape[-1] - 1)
    low, high = _taken(xs, above - 1), _taken(xs, above)
    width = high - low
    share = np.where(width > 0, (x.clip(low, high) - low) / np.where(width > 0, width, 1), x > low)
    start, end = _taken(ys, above - 1), _taken(ys, above)
    values: np.ndarray = start + share.astype(ys.dtype) * (end - start)
    return values


def _taken(rows: Float[np.ndarray, "*b n"], index: Int[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """One value of each row."""
    taken: np.ndarray = np.take_along_axis(rows, index[..., None], -1)[..., 0]
    return taken


def _smoothed(probs: Float[np.ndarray, "*b n"]) -> Float[np.ndarray, "*b n"]:
    """Means over five neighbours, weighted 1, 4, 6, 4, 1; beyond the ends lies nothing."""
    count, wide = probs.shape[-1], np.pad(probs, [(0, 0)] * (probs.ndim - 1) + [(2, 2)])
    shifted = np.stack([wide[..., k : k + count] for k in range(5)], -1)
    mean: np.ndarray = (shifted * np.array([1, 4, 6, 4, 1], probs.dtype)).sum(-1) / 16
    return mean


def _peak_beyond(
    heights: Float[np.ndarray, "*b n"], probs: Float[np.ndarray, "*b n"], first: Int[np.ndarray, "*b"]
) -> tuple[Float[np.ndarray, "*b"], Int[np.ndarray, "*b"]]:
    """Height and bin of the second mode above each row's `first`; height 0 where there is none."""
    bins = np.arange(heights.shape[-1])
    seen = bins >= first[..., None]
    slope = np.where(seen, heights, np.inf)
    low = np.minimum.accumulate(slope, -1)  # on the way from the first mode
    dip = np.maximum.accumulate(np.where(seen & (slope == low), bins, 0), -1)
    beyond = 1 - np.take_along_axis(np.cumsum(probs, -1), dip, -1)
    peaks = np.where((heights > 2 * low) & (beyond >= SHARE_OF_A_MODE), heights, 0)
    place = peaks.argmax(-1)
    return _taken(peaks, place), place
