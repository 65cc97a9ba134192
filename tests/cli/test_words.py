"""Words to values."""

from typing import Any

import pytest

from edgewise.cli.words import describe, parse_changes, parse_size
from edgewise.thresholds import Thresholds


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("640", 640), ("480x640", (480, 640)), ("64X96", (64, 96))],
)
def test_a_size_in_words(text: str | None, expected: int | tuple[int, int] | None) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "x", "64x", "64x64x64", "-64", "6.4", "64 x 64"])
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected one side such as 640, or HEIGHTxWIDTH"):
        parse_size(text)


def test_settings_in_words() -> None:
    words = ["augment.crop=0.3", "optimizer.lr=4e-4", "size=[64, 96]", "precision = float32", "batch=4"]
    changes: dict[str, Any] = parse_changes(words)
    assert changes == {
        "augment.crop": 0.3,
        "optimizer.lr": "4e-4",  # YAML 1.1 wants a dot in it; the settings read it all the same
        "size": [64, 96],
        "precision": "float32",
        "batch": 4,
    }
    assert parse_changes(["a==b"]) == {"a": "=b"}


def test_thresholds_in_words() -> None:
    found = Thresholds(split="val", shared=0.5, by_class=(0.456, None), counts=(1200, 0))
    assert describe(found, ("cat", "dog")) == (
        "score 0.50 for all, by class cat 0.46, dog –; found on 1,200 boxes of val"
    )
