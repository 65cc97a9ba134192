"""Where tensors live, and in which precision."""

import os

import torch
from jaxtyping import Float
from torch import Tensor


def resolve_device(name: str) -> torch.device:
    """The named device; `auto` is cuda where there is one, else mps, else cpu.

    Where torchrun has started several processes, `cuda` is a GPU of its own for each. Raises ValueError,
    naming what is at hand, for a device this machine does not have.
    """
    own = "cuda" if local_rank() is None else f"cuda:{local_rank()}"
    if name == "auto" and torch.cuda.is_available():
        return torch.device(own)
    if name == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name == "cuda":
        name = own
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError):
        gpus = torch.cuda.device_count()
        known = ["cpu"] + [f"cuda ({gpus})"] * (gpus > 0) + ["mps"] * torch.backends.mps.is_available()
        raise ValueError(
            f"device {name!r} is not at hand; expected auto or one of {', '.join(known)}"
        ) from None


def local_rank() -> int | None:
    """This process' number on its machine, where torchrun (or `train.distributed.launch`) started it."""
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return int(os.environ["LOCAL_RANK"])
    return None


def at_least_float32(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Half precision as float32; float32 and float64 as they are: for probabilities, boxes and losses."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
