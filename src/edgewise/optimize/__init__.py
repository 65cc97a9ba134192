"""The fastest engine for a detector on this machine: chosen, checked against it, and said."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from edgewise.device import cpu_cores, gpu_multiplies_bf16, multiplies_bf16, resolve_device
from edgewise.extras import MissingExtra
from edgewise.optimize.check import TOLERANCES, Check, Differs
from edgewise.optimize.cuda import CudaEngine
from edgewise.optimize.detector import OptimizedDetector
from edgewise.optimize.engines import Engine, Fast, Order, PixelPredictor, TorchEngine
from edgewise.optimize.openvino import OpenVinoEngine, cached, converted, default_cache, forget
from edgewise.sizes import Size, check_size, pair
from edgewise.spelling import unknown

if TYPE_CHECKING:
    from edgewise.api import Detector
    from edgewise.predict.sources import Source

__all__ = [
    "CudaEngine",
    "Differs",
    "Engine",
    "EngineName",
    "Fast",
    "OpenVinoEngine",
    "OptimizedDetector",
    "PixelPredictor",
    "TorchEngine",
    "converted",
    "default_cache",
    "optimize",
]

EngineName = Literal["openvino", "torch"]
ENGINES: dict[str, tuple[EngineName, ...]] = {  # by device, the fastest first
    "cpu": ("openvino", "torch"),
    "cuda": ("torch",),
}


def optimize(
    detector: "Detector",
    device: str = "cpu",
    *,
    engine: EngineName | None = None,
    precision: Fast | None = None,
    size: Size | None = None,
    threads: int | None = None,
    cache: str | Path | None = None,
    images: "Source | None" = None,
) -> OptimizedDetector:
    """See `Detector.optimize`."""
    where = _device(device)
    _check_words(where, engine, precision, threads, cache)
    own = detector.config.size if size is None else check_size(pair(size))
    folder = default_cache() if cache is None else Path(cache)
    order = Order(detector, where, own, threads or cpu_cores(), folder)
    check = Check(detector, own, images)
    half = _half(where)
    passed_over: list[str] = []
    for name in ENGINES[where.type] if engine is None else (engine,):
        for kind in _kinds(precision, half):
            try:
                made, likeness = _made(name, kind, order, check)
            except MissingExtra as error:
                if engine is not None:
                    raise
                passed_over.append(f"{error.name} is not installed (pip install 'edgewise[{name}]')")
                break
            except Differs as error:
                if engine is not None and precision is not None:
                    raise
                passed_over.append(str(error))
                continue
            why = _why(precision, half, kind, where)
            ways = [f"{made.name} in {kind} ({why}) on {_on(name, order)}"]
            ways += [one for one in (made.note,) if one] + passed_over
            return OptimizedDetector(detector, own, made, kind, "; ".join(ways), likeness)
    raise Differs("no engine says what this detector says: " + "; ".join(passed_over))


def _device(name: str) -> torch.device:
    """ValueError for one that is not there, or that nothing here is for."""
    found = resolve_device(name)
    if found.type not in ENGINES:
        raise ValueError(f"device {name!r}: optimize is for 'cpu' and 'cuda'")
    return found


def _check_words(
    where: torch.device,
    engine: str | None,
    precision: str | None,
    threads: int | None,
    cache: str | Path | None,
) -> None:
    """ValueError for wishes that cannot be on this device."""
    known = list(ENGINES["cpu"])
    if engine is not None and engine not in known:
        raise ValueError(unknown(engine, known, "engine"))
    if engine is not None and engine not in ENGINES[where.type]:
        raise ValueError(f"engine {engine!r} is for the CPU; on a GPU leave engine out")
    if precision is not None and precision not in TOLERANCES:
        raise ValueError(unknown(precision, list(TOLERANCES), "precision"))
    if threads is not None and threads < 1:
        raise ValueError(f"threads {threads}: expected at least one")
    if where.type != "cpu":
        for name, given in (("threads", threads), ("cache", cache)):
            if given is not None:
                raise ValueError(f"{name} {given}: that is for the CPU; on a GPU leave {name} out")
    elif precision == "fp16":
        raise ValueError("precision 'fp16' is for GPUs; leave precision out, or ask for 'bf16' or 'fp32'")
    elif precision == "bf16" and not multiplies_bf16():
        raise ValueError(
            "precision 'bf16': this processor has neither AVX512_BF16 nor AMX, so it would be slower than "
            "fp32; leave precision out, or ask for 'fp32'"
        )


def _half(where: torch.device) -> Fast | None:
    """The precision of 16 bits to take on this device; None where there is none that pays."""
    if where.type == "cpu":
        return "bf16" if multiplies_bf16() else None
    return "bf16" if gpu_multiplies_bf16(where) else "fp16"


def _kinds(precision: Fast | None, half: Fast | None) -> tuple[Fast, ...]:
    if precision is not None:
        return (precision,)
    return ("fp32",) if half is None else (half, "fp32")


def _why(precision: Fast | None, half: Fast | None, kind: Fast, where: torch.device) -> str:
    if precision is not None:
        return "as asked"
    if kind == "fp32" and half is not None:
        return f"{half} is out of tolerance"
    chip = "processor" if where.type == "cpu" else "GPU"
    return f"this {chip} multiplies it" if kind == "bf16" else f"this {chip} does not multiply bf16"


def _on(name: EngineName, order: Order) -> str:
    """What computes: a GPU by name, or so many threads of the CPU."""
    if order.device.type != "cpu":
        return f"{order.device} ({torch.cuda.get_device_name(order.device)})"
    count = min(order.threads, torch.get_num_threads()) if name == "torch" else order.threads
    return f"{count} thread{'s' * (count > 1)}"


def _made(name: EngineName, kind: Fast, order: Order, check: Check) -> tuple[Engine, str]:
    """An engine that says what the detector says, and how near that is. MissingExtra or Differs otherwise."""
    if order.device.type != "cpu":
        made: Engine = CudaEngine(order.detector.model, kind, order.device)
        return made, check(made, kind)
    if name == "torch":
        if order.threads < torch.get_num_threads():
            torch.set_num_threads(order.threads)
        made = TorchEngine(order.detector.model, kind)
        return made, check(made, kind)
    made, kept = cached(order, kind)
    try:
        return made, check(made, kind)
    except Differs:
        if kept is None:
            raise
        forget(kept)  # it was in the cache: maybe that was damaged, not the conversion
        made, _ = cached(order, kind)
        return made, check(made, kind)
