import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewise import distributions
from edgewise.bins import bin_values
from edgewise.boxes import cxcywh_to_xyxy
from edgewise.decode import decode, edge_distributions
from edgewise.detections import Geometry
from edgewise.edges import OUTWARDS, EdgeDistributions

VALUES = bin_values(32)
LEFT, TOP, RIGHT, BOTTOM = range(4)

seeds, sharpness = st.integers(0, 2**32 - 1), st.floats(0, 12)
levels = st.floats(0.001, 0.999)


def some(seed: int, sharp: float = 3.0, boxes: int = 3) -> EdgeDistributions:
    """Distributions from flat to nearly sure, around boxes anywhere."""
    rng = np.random.default_rng(seed)
    logits = sharp * rng.standard_normal((boxes, 4, 33))
    sides = np.tile(rng.uniform(1, 500, (boxes, 2)), 2)
    return EdgeDistributions.of(logits, VALUES, rng.uniform(-100, 2000, (boxes, 4)), sides)


def masses(edge: int = RIGHT, side: float = 1.0, **bins: float) -> EdgeDistributions:
    """One box at 0 whose other edges are sure; the bins of one edge as b16=0.5 and so on."""
    probs = np.zeros((1, 4, 33))
    probs[..., 16] = 1
    probs[0, edge] = 0
    for name, mass in bins.items():
        probs[0, edge, int(name[1:])] = mass
    return EdgeDistributions(probs, VALUES, np.zeros((1, 4)), np.full((1, 4), side))


def mirrored(edges: EdgeDistributions) -> EdgeDistributions:
    """The same in an image flipped both ways about 0: left and right, top and bottom change places."""
    swap = [RIGHT, BOTTOM, LEFT, TOP]
    return replace(
        edges, probs=edges.probs[:, swap], origin=-edges.origin[:, swap], sides=edges.sides[:, swap]
    )


def full(edges: EdgeDistributions, value: float) -> np.ndarray:
    return np.full(edges.sides.shape, value)


# ── worked by hand ─────────────────────────────────────────────────────────────────────────────────


def test_a_case_worked_by_hand() -> None:
    half = masses(RIGHT, 10.0, b1=0.5, b31=0.5)  # half at -a, half at +a: ±5 pixels
    assert half.mean[0, RIGHT] == pytest.approx(0, abs=1e-12)
    assert half.std[0, RIGHT] == pytest.approx(5)
    assert half.entropy[0, RIGHT] == pytest.approx(np.log(2))
    assert half.crps(full(half, 0.0))[0, RIGHT] == pytest.approx(5 - 10 / 4)
    assert half.quantile(0.25)[0, RIGHT] == pytest.approx(-5)
    assert half.quantile(0.75)[0, RIGHT] == pytest.approx(5)
    assert half.quantile(0.5)[0, RIGHT] == pytest.approx(0, abs=1e-12)  # the middle of the gap
    ends = masses(LEFT, 10.0, b0=0.2, b32=0.3, b16=0.5)
    np.testing.assert_allclose(ends.end_mass, [[0.5, 0, 0, 0]])
    assert ends.quantile(0.1)[0, LEFT] == -10.0  # a left edge lies furthest left in its last bin
    assert ends.cdf(full(ends, -10.0))[0, LEFT] == pytest.approx(0.15)
    assert ends.cdf(full(ends, -10.01))[0, LEFT] == 0
    assert ends.cdf(full(ends, 10.0))[0, LEFT] == 1


@pytest.mark.parametrize("edge", range(4))
def test_modes_worked_by_hand(edge: int) -> None:
    out = -1 if edge in (LEFT, TOP) else 1
    for bins, second in (
        ({"b10": 0.6, "b11": 0.4}, None),  # one mode, two bins wide
        ({"b10": 0.6, "b14": 0.4}, 14),
        ({"b10": 0.4, "b14": 0.6}, 10),
        ({"b10": 0.92, "b15": 0.08}, None),  # too little
        ({"b10": 0.88, "b15": 0.07, "b16": 0.05}, 15),  # together enough
        ({"b10": 0.5, "b13": 0.5}, None),  # no dip to half its height
        ({"b10": 0.2, "b12": 0.2, "b14": 0.2, "b16": 0.2, "b18": 0.2}, None),  # teeth
        ({"b4": 0.3, "b16": 0.5, "b28": 0.2}, 4),  # the higher of two
        ({"b16": 0.5, "b32": 0.5}, 32),
    ):
        first, where = np.moveaxis(masses(edge, 10.0, **bins).modes(), -1, 0)
        expected = np.nan if second is None else out * 10 * VALUES[second]
        np.testing.assert_allclose(where[0, edge], expected, err_msg=str(bins))
        assert np.isfinite(where).sum() == (second is not None)
        assert np.isfinite(first).all()
    best = masses(edge, 10.0, b10=0.4, b14=0.6).modes()[0, edge, 0]
    assert best == pytest.approx(out * 10 * VALUES[14])


def test_modes_one_by_one() -> None:
    """The same found by a loop that says it in other words."""

    def second(masses: np.ndarray) -> int | None:
        p = np.convolve(masses, np.array([1, 4, 6, 4, 1]) / 16, "same")
        first, found = int(p.argmax()), []
        for k in range(len(p)):
            way = range(min(first, k), max(first, k) + 1)
            low = min(p[i] for i in way)
            dips = [i for i in way if p[i] == low]
            beyond = masses[max(dips) + 1 :] if k > first else masses[: min(dips)]
            if p[k] > 2 * low and k != first and beyond.sum() >= 0.1:
                found.append(k)
        return max(found, key=lambda k: p[k]) if found else None

    edges = some(1, 2.0, 60)
    where = edges.modes()[..., 1]
    both = 0
    for box, edge in np.ndindex(where.shape):
        k = second(edges.probs[box, edge])
        both += k is not None
        np.testing.assert_allclose(where[box, edge], np.nan if k is None else edges.positions[box, edge, k])
    assert 20 < both < where.size


# ── the model's own words ──────────────────────────────────────────────────────────────────────────


@given(seeds, sharpness, st.tuples(st.integers(1, 4000), st.integers(1, 4000)))
def test_mean_is_the_decoded_edge(seed: int, sharp: float, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = sharp * torch.randn(5, 4, 33, generator=generator, dtype=torch.float64)
    initial = torch.rand(5, 4, generator=generator, dtype=torch.float64)
    values = distributions.bin_values(32, dtype=torch.float64)
    boxes = distributions.refined_boxes(initial, distributions.expected_offset(logits, values))
    height, width = size
    geometry = Geometry((height, width), (64, 64))
    edges = edge_distributions(logits.numpy(), initial.numpy(), geometry, VALUES)
    decoded = geometry.to_pixels(boxes.numpy())
    sound = (boxes[:, 2:] >= 0).all(1).numpy()  # crossed edges are decoded as a box without area
    np.testing.assert_allclose(edges.mean[sound], decoded[sound], rtol=1e-9, atol=1e-9 * max(size))
    pixels = torch.tensor([width, height, width, height])
    np.testing.assert_allclose(edges.origin, cxcywh_to_xyxy(initial) * pixels)


def test_masses_are_the_softmax_in_the_precision_of_the_model(generator: torch.Generator) -> None:
    for dtype in (torch.float32, torch.float64):
        logits = 3 * torch.randn(5, 4, 33, generator=generator, dtype=dtype)
        edges = EdgeDistributions.of(logits.numpy(), VALUES, np.zeros((5, 4)), np.ones((5, 4)))
        torch.testing.assert_close(torch.from_numpy(edges.probs), logits.softmax(-1))
        sides = np.ones((5, 4), logits.numpy().dtype)
        edges = EdgeDistributions.of(logits.numpy(), VALUES, sides, sides)
        answers = (
            edges.mean,
            edges.std,
            edges.entropy,
            edges.end_mass,
            edges.modes(),
            edges.crps(sides),
            edges.cdf(sides),
            edges.quantile(0.3),
            edges.interval(0.3),
            edges.density(sides),
            edges.sample(np.random.default_rng(0)),
            edges.tempered((2.0, 1.0, 1.0, 1.0)).probs,
        )
        assert {one.dtype for one in answers} == {sides.dtype}


@given(seeds, st.floats(0.1, 10))
def test_temperature_divides_logits(seed: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).standard_normal((2, 4, 33))
    four = (temperature, 1.0, 2.0, 0.5)
    ones = np.ones((2, 4))
    expected = EdgeDistributions.of(logits / np.array(four)[:, None], VALUES, ones, ones)
    tempered = EdgeDistributions.of(logits, VALUES, ones, ones).tempered(four)
    np.testing.assert_allclose(tempered.probs, expected.probs, rtol=1e-9)


PHOTOS = [(426, 640), (640, 424), (480, 640), (640, 427), (424, 640), (500, 333), (480, 640), (480, 640)]


def test_a_trained_models_recording_is_decoded_the_same(shared: Path) -> None:
    """Eight photographs by a trained detector with the same head: every layer's integral and boxes."""
    with np.load(shared / "data/fdr_real/atto_fdr_intermediates_8img.npz") as recorded:
        recording = dict(recorded)
    unit = Geometry((1, 1), (64, 64))
    for layer in range(3):
        logits = recording[f"corners_l{layer}"].reshape(-1, 4, 33)
        edges = edge_distributions(logits, recording["ref_points_initial"].reshape(-1, 4), unit, VALUES)
        offsets = (edges.probs * edges.values).sum(-1)
        scaled = recording[f"dist_l{layer}"].reshape(-1, 4)  # by the authors' reg_scale
        np.testing.assert_allclose(4 * offsets, scaled, rtol=0, atol=8e-7)
        boxes = unit.to_pixels(recording[f"box_l{layer}"].reshape(-1, 4))
        np.testing.assert_allclose(edges.mean, boxes, rtol=0, atol=2e-7)
    for i, (height, width) in enumerate(PHOTOS):
        found = decode(
            recording["logits"][i],
            recording["box_l2"][i],
            recording["corners_l2"][i].reshape(-1, 4, 33),
            recording["ref_points_initial"][i],
            Geometry((height, width), (64, 64)),
            values=VALUES,
            class_names=tuple(map(str, range(80))),
            edges=True,
        )
        np.testing.assert_array_equal(found.labels, recording["labels"][i])
        np.testing.assert_allclose(found.scores, recording["scores"][i], atol=1e-6)
        np.testing.assert_allclose(found.boxes_xyxy, recording["boxes"][i], atol=2e-4)
        assert found.edges is not None
        np.testing.assert_allclose(found.edges.mean, recording["boxes"][i], atol=3e-4)


# ── properties ─────────────────────────────────────────────────────────────────────────────────────


@given(seeds, sharpness, levels, levels)
def test_quantiles_rise_and_undo_the_cdf(seed: int, sharp: float, one: float, other: float) -> None:
    edges = some(seed, sharp)
    low, high = sorted((one, other))
    assert (edges.quantile(low) <= edges.quantile(high)).all()
    ends = np.sort(edges.probs[..., [0, -1]] / 2, -1)
    for level in (low, high):
        inside = (level > ends.max(-1)) & (level < 1 - ends.max(-1))
        np.testing.assert_allclose(edges.cdf(edges.quantile(level))[inside], level, atol=1e-7)


@given(seeds, sharpness, levels)
def test_an_interval_holds_its_mass_in_the_middle(seed: int, sharp: float, level: float) -> None:
    edges = some(seed, sharp)
    low, high = np.moveaxis(edges.interval(level), -1, 0)
    assert (low <= high).all()
    np.testing.assert_array_equal(low, edges.quantile((1 - level) / 2))
    middle = edges.quantile(0.5)
    assert ((low <= middle) & (middle <= high)).all()


@given(seeds, sharpness, st.floats(-5000, 5000), st.floats(0.01, 100))
def test_moves_and_grows_with_its_image(seed: int, sharp: float, by: float, factor: float) -> None:
    edges = some(seed, sharp)
    moved = replace(edges, origin=edges.origin * factor + by, sides=edges.sides * factor)
    scale = {"rtol": 1e-9, "atol": 1e-9 * (abs(by) + 3000 * factor)}
    at = edges.quantile(0.3)
    for position, same in (
        (edges.mean, moved.mean),
        (edges.quantile(0.2), moved.quantile(0.2)),
        (edges.modes(), moved.modes()),
        (edges.positions, moved.positions),
    ):
        np.testing.assert_allclose(same, position * factor + by, **scale)
    for length, same in ((edges.std, moved.std), (edges.crps(at), moved.crps(at * factor + by))):
        np.testing.assert_allclose(same, length * factor, **scale)
    for number, same in ((edges.entropy, moved.entropy), (edges.end_mass, moved.end_mass)):
        np.testing.assert_array_equal(same, number)


@given(seeds, sharpness, levels)
def test_left_mirrors_right_and_top_mirrors_bottom(seed: int, sharp: float, level: float) -> None:
    edges = some(seed, sharp)
    other, swap = mirrored(edges), [RIGHT, BOTTOM, LEFT, TOP]
    at = edges.origin + edges.sides * 0.07
    np.testing.assert_allclose(other.mean[:, swap], -edges.mean)
    np.testing.assert_allclose(other.std[:, swap], edges.std)
    np.testing.assert_allclose(other.quantile(1 - level)[:, swap], -edges.quantile(level), atol=1e-6)
    np.testing.assert_allclose(other.cdf(-at[:, swap])[:, swap], 1 - edges.cdf(at), atol=1e-9)
    np.testing.assert_allclose(other.density(-at[:, swap])[:, swap], edges.density(at), atol=1e-9)
    np.testing.assert_allclose(other.crps(-at[:, swap])[:, swap], edges.crps(at))
    np.testing.assert_allclose(other.modes()[:, swap, 1], -edges.modes()[..., 1])


@given(seeds, sharpness)
def test_entropy_lies_between_sure_and_flat(seed: int, sharp: float) -> None:
    entropy = some(seed, sharp).entropy
    assert ((entropy >= 0) & (entropy <= np.log(33) + 1e-9)).all()


def test_sure_and_flat_edges() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = np.eye(33)[np.array([[0, 7, 16, 32]])]
        sure = EdgeDistributions.of(
            np.where(one > 0, 1e4, -1e4), VALUES, full(masses(), 5.0), full(masses(), 2.0)
        )
        where = sure.positions[one > 0].reshape(1, 4)
        for point in (sure.mean, sure.quantile(0.5)):
            np.testing.assert_allclose(point, where)
        assert not sure.std.any()
        assert not sure.entropy.any()
        np.testing.assert_allclose(sure.crps(where + 3), 3)
        assert np.isnan(sure.modes()[..., 1]).all()
        flat = some(0, 0.0)
        np.testing.assert_allclose(flat.entropy, np.log(33))
        np.testing.assert_allclose(flat.mean, flat.origin)
        np.testing.assert_allclose(flat.quantile(0.5), flat.origin, atol=1e-9)


@given(seeds, sharpness, st.floats(-1.5, 1.5))
def test_crps_is_the_integral(seed: int, sharp: float, offset: float) -> None:
    """∫ (F(t) - [t ≥ x])² dt over the steps of the masses."""
    edges = some(seed, sharp, 1)
    x = edges.to_pixels(full(edges, offset))
    for edge in range(4):
        order = np.argsort(edges.positions[0, edge])
        at, mass = edges.positions[0, edge][order], edges.probs[0, edge][order]
        knots = np.sort(np.append(at, x[0, edge]))
        middles = (knots[1:] + knots[:-1]) / 2
        below = (mass * (at <= middles[:, None])).sum(1)
        integral = (np.square(below - (middles >= x[0, edge])) * np.diff(knots)).sum()
        assert edges.crps(x)[0, edge] == pytest.approx(integral, rel=1e-7, abs=1e-9)


@given(seeds, sharpness)
def test_the_density_integrates_to_the_cdf(seed: int, sharp: float) -> None:
    edges = some(seed, sharp, 1)
    fine = np.concatenate([np.linspace(a, b, 9)[:-1] for a, b in pairwise([-1.5, *VALUES, 1.5])])
    many = edges[np.zeros(len(fine) - 1, int)]  # one box at many places, none of them a bin
    at = many.to_pixels(np.tile((fine[1:] + fine[:-1])[:, None] / 2, 4))
    mass = many.density(at) * np.diff(fine)[:, None] * many.sides
    half_an_end = edges.probs[0, :, 0] / 2
    outwards = half_an_end * (fine[1:] > -1)[:, None] + np.cumsum(mass, 0) - mass / 2
    below = np.where(OUTWARDS > 0, outwards, 1 - outwards)
    inside = np.abs(fine[1:] + fine[:-1]) < 2
    np.testing.assert_allclose(many.cdf(at)[inside], below[inside], atol=1e-9)
    assert not many.density(at)[~inside].any()


@pytest.mark.parametrize("sharp", [0.0, 1.0, 4.0])
def test_draws_agree_with_quantiles_and_cdf(sharp: float) -> None:
    for edges in (some(5, sharp, 1), some(6, sharp, 1)):
        draws = edges[np.zeros(4000, int)].sample(np.random.default_rng(0))
        for level in (0.05, 0.3, 0.5, 0.9):
            at = edges.quantile(level)
            expected = edges.cdf(at)[0]  # not the level where an end bin holds more
            np.testing.assert_allclose((draws <= at + 1e-9).mean(0), expected, atol=0.035)
        ends = edges.positions[..., [0, -1]]
        assert ((draws >= ends.min(-1) - 1e-9) & (draws <= ends.max(-1) + 1e-9)).all()


def test_draws_of_bins_agree_with_mean_spread_and_crps() -> None:
    edges, rng = some(6, 2.0, 2), np.random.default_rng(0)
    at = edges.quantile(0.8)
    for box, edge in np.ndindex(2, 4):
        draws = rng.choice(edges.positions[box, edge], 20000, p=edges.probs[box, edge])
        side, std = edges.sides[box, edge], edges.std[box, edge]
        assert draws.mean() == pytest.approx(edges.mean[box, edge], abs=4 * std / 20000**0.5)
        assert draws.std() == pytest.approx(std, rel=0.05)
        score = abs(draws - at[box, edge]).mean() - abs(draws - rng.permutation(draws)).mean() / 2
        assert edges.crps(at)[box, edge] == pytest.approx(score, abs=0.02 * side)


def test_one_box_is_the_same_as_among_others() -> None:
    many = some(7, boxes=40)
    many = replace(many, **{k: getattr(many, k).astype(np.float32) for k in ("probs", "origin", "sides")})
    at = many.quantile(0.6)
    for i in (0, 17, 39):
        alone = many[[i]]
        for a, b in (
            (alone.mean, many.mean),
            (alone.std, many.std),
            (alone.quantile(0.9), many.quantile(0.9)),
            (alone.crps(at[[i]]), many.crps(at)),
        ):
            np.testing.assert_array_equal(a, b[[i]])


def test_parts() -> None:
    edges = some(0, boxes=5)
    for rows in (slice(1, 4), [1, 2, 3], np.array([False, True, True, True, False])):
        part = edges[rows]
        assert len(part) == 3
        np.testing.assert_array_equal(part.mean, edges.mean[1:4])
    nothing = edges[[]]
    assert len(nothing) == 0
    assert nothing.interval(0.9).shape == (0, 4, 2)
    assert nothing.crps(np.zeros((0, 4))).shape == (0, 4)
    assert nothing.modes().shape == (0, 4, 2)


def test_a_box_without_area_is_a_point() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        point = replace(some(0), sides=np.zeros((3, 4)))
        for where in (point.mean, point.quantile(0.1), point.sample(np.random.default_rng(0))):
            np.testing.assert_array_equal(where, point.origin)
        assert not point.std.any()
        np.testing.assert_array_equal(point.cdf(point.origin), 1)
        np.testing.assert_array_equal(point.cdf(point.origin - 1), 0)
        np.testing.assert_allclose(point.crps(point.origin + 2), 2)
        assert not point.density(point.origin).any()


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 90.0, float("nan")])
def test_a_level_is_between_0_and_1(level: float) -> None:
    for ask in (some(0).quantile, some(0).interval):
        with pytest.raises(ValueError, match=r"level .*: expected a number between 0 and 1, such as 0\.9"):
            ask(level)


def test_needs_no_torch_and_no_pydantic() -> None:
    code = "import sys, edgewise.edges; sys.exit(any(n in sys.modules for n in ('torch', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
