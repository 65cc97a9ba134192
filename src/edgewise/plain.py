"""Frozen dataclasses from the plain values of JSON, strictly; no torch and no pydantic.

What an exported file carries (calibration, thresholds, its metadata) is dataclasses that check themselves, so
that a small runtime reads it; pydantic, which reads a checkpoint's header, takes them as they are.
"""

import json
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgewise.spelling import unknown

D = TypeVar("D")


def versioned(text: str | bytes, latest: int, where: str, anew: str) -> dict[str, Any]:
    """The values of a JSON that says its version, from 1 to `latest`.

    ValueError, naming `where`, for other text, which the user shall `anew`, and for a later version.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        version = values["version"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"{where}: not JSON with a version: {text[:60]!r}; the file was altered, {anew} anew"
        ) from None
    if version not in range(1, latest + 1):
        reads = "1" if latest == 1 else f"1 to {latest}"
        raise ValueError(
            f"{where}: version {version!r}, but this edgewise reads {reads}; "
            "update it with pip install -U edgewise"
        )
    return values


def from_plain(kind: type[D], values: object, where: str) -> D:
    """A `kind`, a dataclass whose fields may be dataclasses too, from the values that `asdict` gives of it.

    ValueError, naming `where` and the key, for a key that is unknown or missing, a value of another type, or
    one that `kind` refuses.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected values by name, found {type(values).__name__}")
    assert is_dataclass(kind)
    known = {field.name: field for field in fields(kind)}
    for key in values:
        if key not in known:
            raise ValueError(f"{where}: {unknown(str(key), list(known), 'key')}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}: {name} is missing")
    hints = get_type_hints(kind)
    found = {key: _read(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    try:
        made: D = kind(**found)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return made


def _read(hint: Any, value: Any, where: str) -> Any:
    """`value` as its hint says: lists become tuples, whole numbers floats, dictionaries dataclasses."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):  # X | None, float | int
        return None if value is None and types.NoneType in inner else _read(inner[0], value, where)
    if is_dataclass(hint):
        return from_plain(hint, value, where)  # type: ignore[arg-type]
    if origin is Literal and value in inner:
        return value
    if origin is dict and isinstance(value, dict):
        return {key: _read(inner[1], one, f"{where}.{key}") for key, one in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(each) == len(value):
            return tuple(_read(one, item, where) for one, item in zip(each, value, strict=True))
    if hint is float and type(value) in (int, float):
        return float(value)
    if type(value) is hint:
        return value
    name = hint if inner else hint.__name__
    expected = f"one of {', '.join(map(str, inner))}" if origin is Literal else name
    raise ValueError(f"{where}: expected {expected}, found {str(value)[:60]!r}")


def differences(
    before: dict[str, Any], after: dict[str, Any], section: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(schedule.epochs, 50, 60) for every value that differs."""
    for key, old in before.items():
        new = after[key]
        if isinstance(old, dict):
            yield from differences(old, new, f"{section}{key}.")
        elif old != new:
            yield f"{section}{key}", old, new
