"""What a misspelt name was meant to be. No torch."""

from collections.abc import Sequence
from difflib import get_close_matches


def unknown(name: str, known: Sequence[str], what: str = "name", deeper: Sequence[str] = ()) -> str:
    """«unknown WHAT NAME; did you mean …?», or the list of what is known when nothing is near.

    Near is what is spelt alike, or what the other abbreviates (lr, learning_rate). Of the dotted names in
    `deeper` the last part counts, and has to be nearer.
    """
    ends = {one.rpartition(".")[2]: one for one in reversed(deeper)}  # of equal ends the first
    near = _near(name, known, 0.75) or [ends[one] for one in _near(name, list(ends), 0.75)]
    near = near or _near(name, known, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown {what} {name}; {hint}"


def _near(name: str, known: Sequence[str], cutoff: float) -> list[str]:
    abbreviated = [one for one in known if one == _initials(name) or _initials(one) == name]
    return abbreviated or get_close_matches(name, known, n=1, cutoff=cutoff)


def _initials(name: str) -> str | None:
    """lr of learning_rate; None of a single word."""
    words = name.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else None
