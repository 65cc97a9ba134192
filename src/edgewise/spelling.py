"""What a misspelt name was meant to be. No torch."""

from difflib import get_close_matches


def unknown(name: str, known: list[str] | tuple[str, ...], what: str = "name") -> str:
    """«unknown WHAT NAME; did you mean …?», or the list of what is known when nothing is near."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown {what} {name}; {hint}"
