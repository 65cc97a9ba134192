"""Where tensors live, and in which precision."""

import torch
from jaxtyping import Float
from torch import Tensor


def resolve_device(name: str) -> torch.device:
    """The named device; `auto` is cuda where there is one, else mps, else cpu.

    Raises ValueError, naming what is at hand, for a device this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError):
        known = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
        raise ValueError(
            f"device {name!r} is not at hand; expected auto or one of {', '.join(known)}"
        ) from None


def at_least_float32(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Half precision as float32; float32 and float64 as they are: for probabilities, boxes and losses."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
