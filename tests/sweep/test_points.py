"""What is turned, what is worth a measurement, and what is recommended: worked by hand."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.sweep.points import (
    Cut,
    front,
    numbers_of_queries,
    recommended,
    singles,
    sizes,
    worth_timing,
)
from tests.sweep.conftest import point

BASE = Cut("a", (640, 640), 2, 300)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ((640, 640), [(640, 640), (480, 480), (320, 320), (800, 800)]),
        ((320, 416), [(320, 416), (224, 288), (160, 224), (416, 544)]),
        ((64, 64), [(64, 64), (32, 32), (96, 96)]),  # 48 is nearer to 64
        ((32, 32), [(32, 32)]),
    ],
)
def test_sizes(own: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    assert sorted(sizes(own)) == sorted(expected)
    assert sizes(own)[0] == own


sides = st.integers(1, 60).map(lambda number: 32 * number)


@given(sides, sides)
def test_sizes_are_taken_by_a_model_and_keep_the_shape(height: int, width: int) -> None:
    for one in sizes((height, width)):
        assert not any(side % 32 for side in one)
        assert min(one) >= 32
        off = abs(one[1] / one[0] / (width / height) - 1)
        assert off <= 32 / min(one)  # half of a multiple on either side


def test_numbers_of_queries() -> None:
    assert numbers_of_queries(300) == [300, 200, 100, 50]
    assert numbers_of_queries(2) == [2, 1]


def test_singles_differ_in_one_thing() -> None:
    found = singles(BASE, [(640, 640), (320, 320)], [300, 100])
    assert found == [
        Cut("a", (320, 320), 2, 300),
        Cut("a", (640, 640), 1, 300),
        Cut("a", (640, 640), 2, 100),
    ]


def cuts() -> list[Cut]:
    every = product([(640, 640), (320, 320)], (2, 1), (300, 100))
    return [Cut("a", size, layers, queries) for size, layers, queries in every]


MS = {
    BASE: 100.0,
    Cut("a", (320, 320), 2, 300): 40.0,
    Cut("a", (640, 640), 1, 300): 80.0,
    Cut("a", (640, 640), 2, 100): 90.0,
}


def test_products_are_timed_that_may_be_on_the_front() -> None:
    """Estimated: 320 with one layer 32 ms, with 100 queries 36, with both 28.8; 640 with both 72."""
    ap = dict(zip(cuts(), (0.60, 0.59, 0.55, 0.54, 0.56, 0.56, 0.53, 0.52), strict=True))
    small = [Cut("a", (320, 320), layers, queries) for layers, queries in ((1, 100), (1, 300), (2, 100))]
    assert worth_timing(ap, MS, {"a": BASE}) == small  # 640 with both finds less than 320, which takes 40
    assert worth_timing(ap | {small[0]: 0.49}, MS, {"a": BASE}) == small[1:]  # hopeless
    nearly = MS | {Cut("a", (320, 320), 2, 300): 68.5}  # 5 % faster than 72 is no matter of course
    assert Cut("a", (640, 640), 1, 100) in worth_timing(
        ap | {cuts()[3]: 0.56, cuts()[5]: 0.55}, nearly, {"a": BASE}
    )


def test_what_one_checkpoint_does_better_is_not_tried_with_another() -> None:
    ap = dict.fromkeys(cuts(), 0.5)
    other = Cut("b", (640, 640), 3, 300)
    everything = worth_timing(ap | {other: 0.6}, MS | {other: 10.0}, {"a": BASE, "b": other})
    assert everything == []


def test_without_the_time_of_a_change_its_products_are_left_out() -> None:
    ap = dict.fromkeys(cuts(), 0.5)
    known = {cut: ms for cut, ms in MS.items() if cut.layers == 2}
    found = worth_timing(ap, known, {"a": BASE})
    assert found == [Cut("a", (320, 320), 2, 100)]


def test_the_front_and_what_is_recommended() -> None:
    slow, best, good, weak = point(90, 0.60), point(50, 0.60), point(30, 0.596), point(10, 0.5)
    behind, untimed, unknown = point(40, 0.55), point(None, 0.9), point(1, None)
    along = front([slow, best, behind, good, untimed, weak, unknown])
    assert along == [weak, good, best]
    assert recommended(along) is good
    assert recommended(front([best, weak])) is best
    assert front([untimed, unknown]) == []
    assert recommended([]) is None


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9))))
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    points = [point(ms, ap / 10) for ms, ap in pairs]
    along = [(one.ms, one.ap) for one in front(points)]
    unbeaten = {
        (ms, ap / 10)
        for ms, ap in pairs
        if not any(a >= ap and m <= ms and (m, a) != (ms, ap) for m, a in pairs)
    }
    assert along == sorted(unbeaten)
