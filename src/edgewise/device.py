"""Where tensors live."""

import torch


def resolve_device(name: str) -> torch.device:
    """The named device; `auto` is cuda where there is one, else mps, else cpu.

    Raises ValueError, naming what is at hand, for a device this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError):
        known = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
        raise ValueError(
            f"device {name!r} is not at hand; expected auto or one of {', '.join(known)}"
        ) from None
