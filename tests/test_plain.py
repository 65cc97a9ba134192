"""Dataclasses from plain values, strictly."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from edgewise.plain import from_plain, versioned


@dataclass(frozen=True)
class Inner:
    row: tuple[float, ...]
    pair: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Outer:
    name: Literal["a", "b"]
    count: int
    share: float
    sure: bool = True
    inner: Inner | None = None
    words: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count {self.count}: expected none below 0")


GIVEN = Outer("a", 3, 0.5, False, Inner((1.0, 2.5), (3, 4)), {"torch": "2.13"})
PLAIN: dict[str, Any] = json.loads(json.dumps(asdict(GIVEN)))


def test_there_and_back() -> None:
    assert from_plain(Outer, PLAIN, "file") == GIVEN
    assert from_plain(Outer, {"name": "b", "count": 0, "share": 1}, "file") == Outer("b", 0, 1.0)
    assert from_plain(Outer, PLAIN | {"inner": None}, "file").inner is None
    assert isinstance(from_plain(Outer, PLAIN | {"share": 1}, "file").share, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], "file: expected values by name, found list"),
        (PLAIN | {"nane": "a"}, "file: unknown key nane; did you mean name?"),
        ({"name": "a", "share": 0.5}, "file: count is missing"),
        (PLAIN | {"name": "c"}, "file: name: expected one of a, b, found 'c'"),
        (PLAIN | {"count": 3.0}, "file: count: expected int, found '3.0'"),
        (PLAIN | {"count": True}, "file: count: expected int, found 'True'"),
        (PLAIN | {"share": "0.5"}, "file: share: expected float, found '0.5'"),
        (PLAIN | {"share": None}, "file: share: expected float, found 'None'"),
        (PLAIN | {"inner": {"row": [1, "x"]}}, "file: inner: row: expected float, found 'x'"),
        (
            PLAIN | {"inner": {"row": [], "pair": [1]}},
            "file: inner: pair: expected tuple[int, int], found '[1]'",
        ),
        (PLAIN | {"words": {"torch": 2}}, "file: words.torch: expected str, found '2'"),
        (PLAIN | {"words": []}, "file: words: expected dict[str, str], found '[]'"),
        (PLAIN | {"count": -1}, "file: count -1: expected none below 0"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(values: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_plain(Outer, values, "file")
    assert str(caught.value) == message


def test_a_text_says_its_version() -> None:
    assert versioned('{"version": 2, "a": 1}', 2, "file", "save it") == {"version": 2, "a": 1}
    for text in ("{", "[1]", "{}", b"\xff"):
        with pytest.raises(
            ValueError, match=r"^file: not JSON with a version: .*; the file was altered, save "
        ):
            versioned(text, 2, "file", "save it")
    for version, latest, reads in ((3, 2, "1 to 2"), (0, 1, "1"), ('"1"', 1, "1")):
        with pytest.raises(
            ValueError, match=f", but this edgewise reads {reads}; update it with pip install"
        ):
            versioned(f'{{"version": {version}}}', latest, "file", "save it")
