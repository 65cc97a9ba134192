"""Which point is recommended, when an image stops, and a profile of made-up layers counted by hand."""

import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edgewise.calibration import LEVELS
from edgewise.detections import Detections
from edgewise.edges import EdgeDistributions
from edgewise.evaluation.layers import (
    Point,
    Profile,
    exit_layers,
    exit_ms,
    limits,
    profile,
    recommended,
    verdict,
)
from edgewise.evaluation.layers_report import markdown, table, write_profile
from edgewise.predict.layers import Steps, Times
from tests.evaluation.fakes import NAMES, FakeDataset
from tests.test_detections import promise

WHOLE = Point(3.0, 300, 0.0, 0.6, 0.8, 0.7, 0.01, 20.0, 50.0, saved=0.0, lost=0.0, rank_correlation=0.3)


def point(lost: float, saved: float, exit: float = 0.0, layers: float = 2.0) -> Point:
    return replace(WHOLE, lost=lost, saved=saved, exit=exit, layers=layers, ap=0.6 - lost / 100)


# ── what is recommended ────────────────────────────────────────────────────────────────────────────


def test_the_greatest_saving_that_costs_little_enough() -> None:
    good = point(0.2, 0.3, exit=0.3)
    some = [point(-0.4, 0.2, exit=0.1), point(0.1, 0.25, exit=0.2), good, point(0.21, 0.5, exit=0.4)]
    assert recommended(some) is good
    assert recommended([point(0.0, 0.1)]) is not None  # at the rim
    assert recommended([point(0.0, 0.099), point(0.201, 0.9), point(nan, 0.9), WHOLE]) is None
    assert recommended([]) is None


def test_luck_is_not_recommended() -> None:
    """A point that loses little where a gentler one loses more."""
    early = point(0.3, 0.1, exit=0.1)
    assert recommended([early, point(0.1, 0.2, exit=0.2)]) is None
    assert recommended([point(0.1, 0.1, exit=0.1), point(0.1, 0.2, exit=0.2)]) is not None
    fewer_queries = replace(point(0.3, 0.2), layers=3.0, queries=200)
    both = replace(point(0.1, 0.4), layers=2.0, queries=200)
    layers_alone = replace(point(0.15, 0.3), layers=2.0)
    assert recommended([WHOLE, fewer_queries, both, layers_alone]) is layers_alone


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (
            [WHOLE, point(0.1, 0.25)],
            "detector.at(layers=2, queries=300) saves 25% of the decoder's time and loses 0.10 points of AP",
        ),
        (
            [point(0.1, 0.25, exit=0.33333)],
            "detector.at(exit=0.333) saves 25% of the decoder's time and loses 0.10 points of AP",
        ),
        (
            [point(0.1, 0.06, 0.1), point(0.15, 0.09, 0.2), point(0.3, 0.5, 0.3)],
            "not recommended: within 0.2 points of AP it saves 9.0% of the decoder's time at most, "
            "less than 10%",
        ),
        (
            [WHOLE, point(0.3, 0.5), point(0.1, -0.02, layers=3.0)],
            "not recommended: everything that saves time loses more than 0.2 points of AP",
        ),
        (
            [replace(point(0.0, 0.5), ap=0.0)],
            "not recommended: nothing was found, so there is nothing to lose",
        ),
        ([], "not recommended: there are too few layers to stop between"),
    ],
)
def test_verdicts(points: list[Point], text: str) -> None:
    assert verdict(points) == text


# ── when an image stops ────────────────────────────────────────────────────────────────────────────


def test_an_image_stops_at_the_first_small_change() -> None:
    changes = np.array([[0.5, 0.2], [0.1, 0.9], [0.2, 0.2], [0.0, 0.0]])
    assert exit_layers(changes, 0.2).tolist() == [4, 2, 4, 2]
    assert exit_layers(changes, 0.21).tolist() == [3, 2, 2, 2]
    assert exit_layers(changes, inf).tolist() == [2, 2, 2, 2]
    assert exit_layers(changes, 0.0).tolist() == [4, 4, 4, 4]


def test_limits_let_the_shares_leave() -> None:
    changes = np.random.default_rng(0).gamma(1.0, size=(400, 2))
    found = limits(changes)
    assert found == sorted(found)
    assert all(float(f"{one:.2g}") == one for one in found)
    left = [(exit_layers(changes, one) < 4).mean() for one in found]
    np.testing.assert_allclose(left, np.arange(1, 21) / 20, atol=0.05)
    assert left[-1] == 1
    assert limits(np.zeros((5, 1))) == [1e-6]
    assert limits(np.zeros((5, 0))) == []


def test_time_goes_with_the_layers_that_ran() -> None:
    times = Times(30.0, {}, first_exit=10.0, no_exit=18.0)
    assert exit_ms(times, np.array([2, 2, 6, 6]), 6) == 14
    assert exit_ms(times, np.array([3]), 6) == 12


# ── a profile by hand ──────────────────────────────────────────────────────────────────────────────

SHIFT = {1: 9.0, 2: 3.0, 3: 1.0}  # pixels that each layer's boxes are off, of boxes with sides of 40
TIMES = Times(30.0, {(layer, q): float(layer * q / 5) for layer in (1, 2, 3) for q in (5, 10)}, 4.5, 6.5)
DATA = FakeDataset([[(0, 10, 10, 40, 40)], [(1, 20, 10, 40, 40)], [(0, 5, 5, 40, 40)], []])


def found(boxes: Sequence[Sequence[float]], shift: float) -> Detections:
    rows = np.array(boxes, np.float64).reshape(-1, 5)
    corners = np.concatenate([rows[:, 1:3], rows[:, 1:3] + rows[:, 3:]], 1) + shift
    sides = np.full((len(rows), 4), 40.0)
    probs = np.tile(np.array([0.25, 0.5, 0.25]), (len(rows), 4, 1))
    edges = EdgeDistributions(probs, np.array([-0.1, 0.0, 0.1]), corners, sides)
    scores, labels = np.full(len(rows), 0.9), rows[:, 0].astype(np.int64)
    return Detections(corners, scores, labels, edges.std, DATA.size, NAMES, edges=edges)


def predict(images: list[np.ndarray]) -> list[dict[int, Steps]]:
    """Half the queries find the dogs alone. The later the image, the more its second layer changes."""
    results = []
    for image in images:
        index = int(image[0, 0, 0]) - 10
        boxes = DATA.boxes[index]
        dogs = [one for one in boxes if one[0] == 0]
        results.append(
            {
                queries: Steps(tuple(found(some, SHIFT[layer]) for layer in (1, 2, 3)), (0.1 * index, 0.01))
                for queries, some in ((10, boxes), (5, dogs))
            }
        )
    return results


@pytest.fixture(scope="module")
def made() -> Profile:
    return profile(DATA, predict, TIMES, np.array([0.5, 0.5]), batch=3, facts={"model": "made up"})


def test_cuts(made: Profile) -> None:
    by_cut = {(one.layers, one.queries): one for one in made.cuts}
    assert set(by_cut) == set(TIMES.decoder)
    # IoU of a square of 40 moved by 1, 3 and 9 pixels: 0.906, 0.748 and 0.430
    assert [round(by_cut[layer, 10].ap, 3) for layer in (1, 2, 3)] == [0.0, 0.5, 0.9]
    assert by_cut[3, 5].ap == pytest.approx(0.45)  # no cats
    two = by_cut[2, 10]
    assert two.lost == pytest.approx(40)
    assert two.saved == pytest.approx(1 / 3)
    assert (two.decoder_ms, two.whole_ms) == (4, 34)
    assert made.whole is by_cut[3, 10]
    assert made.images == 4
    assert all(np.isnan(one.coverage) for one in made.cuts)


def test_exits(made: Profile) -> None:
    assert len(made.exits) == 20
    assert [made.exits[0].exit, made.exits[-1].exit] == [0.016, 0.31]
    first, last = made.exits[0], made.exits[-1]
    assert first.layers == 2.75
    assert first.decoder_ms == 6
    assert last.layers == 2
    assert last.ap == pytest.approx(0.5)
    assert last.decoder_ms == 4.5
    assert last.saved == pytest.approx(0.25)


def test_calibrated_intervals_are_counted_after_each_layer() -> None:
    margins = tuple(min(9.0, 1 + level) for level in LEVELS)  # 1.9 spreads at 90 %
    calibration = promise(margins=(margins,) * 4, joint=margins)
    one = profile(DATA, predict, TIMES, np.array([0.5, 0.5]), calibration=calibration)
    held = {cut.layers: (cut.coverage, cut.joint_coverage) for cut in one.cuts if cut.queries == 10}
    assert held[3] == held[2] == (1.0, 1.0)  # 1.9 spreads are 5.4 pixels
    assert all(np.isnan(value) for value in held[1])  # no pairs
    assert "held" in markdown(one)
    slow = tuple(
        replace(cut, queries=300, decoder_ms=123.4, whole_ms=1234.5, lost=-12.34) for cut in one.cuts
    )
    console = Console(width=80, file=StringIO())
    console.print(table(slow, "cuts"))
    assert "…" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_two_layers_have_nothing_to_stop_between() -> None:
    times = Times(30.0, {(1, 10): 1.0, (2, 10): 2.0}, nan, nan)

    def two(images: list[np.ndarray]) -> list[dict[int, Steps]]:
        return [{10: Steps(one[10].detections[:2], one[10].changes[:1])} for one in predict(images)]

    assert profile(DATA, two, times, np.array([0.5, 0.5])).exits == ()


def test_files(made: Profile, tmp_path: Path) -> None:
    write_profile(made, tmp_path / "new")
    numbers = json.loads((tmp_path / "new/layers.json").read_text(encoding="utf-8"))
    assert numbers["model"] == "made up"
    assert numbers["recommended"] == {"cut": None, "exit": None}
    assert numbers["verdicts"]["dynamic exit"].startswith("not recommended")
    assert numbers["cuts"][0]["coverage"] is None
    assert len(numbers["exits"]) == len(made.exits)
    page = (tmp_path / "new/layers.md").read_text(encoding="utf-8")
    assert "| 3 | 10 | 0.900 |" in page
    assert "| 0.31 | 2.00 | 0.500 |" in page
    assert "held" not in page
    assert (tmp_path / "new/layers.png").stat().st_size > 10_000
    assert table(made.cuts, "cuts").row_count == 6
