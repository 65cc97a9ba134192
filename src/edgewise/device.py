"""Where tensors live, in which precision, and how many threads compute."""

import math
import os
from pathlib import Path

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


def multiplies_bf16() -> bool:
    """Whether this processor multiplies bfloat16 itself (AVX512_BF16 or AMX).

    torch computes in it with AVX-512 alone too, by way of float32, and more slowly than in that.
    """
    own = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return own and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def gpu_multiplies_bf16(device: torch.device) -> bool:
    """Whether this GPU multiplies bfloat16 itself: NVIDIA's since Ampere; torch imitates it on older ones."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def cpu_cores(root: Path = Path("/")) -> int:
    """How many threads of this process can compute side by side: at least one.

    As many as there are cores, not their hyperthreads, among the processors it may run on, and no more than
    the quota of its container allows, rounded up. `root` is where /proc and /sys lie.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for one in allowed:
        siblings = root / f"sys/devices/system/cpu/cpu{one}/topology/thread_siblings_list"
        cores.add(siblings.read_text().strip() if siblings.exists() else str(one))
    quota = _cpu_quota(root)
    return max(1, len(cores) if quota is None else min(len(cores), math.ceil(quota)))


def _cpu_quota(root: Path) -> float | None:
    """Processors' worth of time that control groups leave this process; None without a limit."""
    groups, limits = root / "sys/fs/cgroup", []
    listed = root / "proc/self/cgroup"
    lines = listed.read_text().splitlines() if listed.exists() else []
    for line in lines:
        _, kind, path = line.split(":", 2)
        if kind and "cpu" not in kind.split(","):
            continue
        top = groups / kind if kind else groups  # version 1 has a tree a kind
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(top):
                limits += [one for one in (_limit(folder),) if one is not None]
    return min(limits, default=None)


def _limit(folder: Path) -> float | None:
    """The limit of one control group, in either version's files."""
    new, old = folder / "cpu.max", folder / "cpu.cfs_quota_us"
    if new.exists():
        quota, period = new.read_text().split()
    elif old.exists():
        quota, period = old.read_text(), (folder / "cpu.cfs_period_us").read_text()
    else:
        return None
    return None if quota == "max" or int(quota) < 0 else int(quota) / int(period)
