"""Words to values, and numbers to words."""

from collections.abc import Sequence
from typing import Any

import yaml

from edgewise.sizes import check_size
from edgewise.thresholds import Thresholds


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """«640» as a side, «480x640» (height x width) as a pair. ValueError says what is expected."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise ValueError(f"size {text!r}: expected one side such as 640, or HEIGHTxWIDTH such as 480x640")
    height, width = check_size((int(sides[0]), int(sides[-1])))
    return height if len(sides) == 1 else (height, width)


def parse_changes(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE words as settings; values are read as YAML."""
    changes = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--set {word}: expected KEY=VALUE, such as augment.crop=0.3")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"--set {word}: {value!r} is not a YAML value") from None
    return changes


def scores(numbers: dict[str, Any], *names: str) -> str:
    """«AP 0.512, AP50 –»: undefined numbers, those without a box to find, are a dash."""
    values = (numbers.get(name) for name in names)
    shown = ("–" if value is None else f"{value:.3f}" for value in values)
    return ", ".join(f"{name.upper()} {value}" for name, value in zip(names, shown, strict=True))


def describe(thresholds: Thresholds, class_names: Sequence[str]) -> str:
    """«0.57 for all, by class cat 0.56, dog –; found on 12 boxes of val»."""
    each = (
        f"{name} –" if one is None else f"{name} {one:.2f}"
        for name, one in zip(class_names, thresholds.by_class, strict=True)
    )
    return (
        f"score {thresholds.shared:.2f} for all, by class {', '.join(each)}; "
        f"found on {sum(thresholds.counts):,} boxes of {thresholds.split}"
    )
