"""Joining the processes of a run, and starting several on one machine: torchrun's own machinery."""

import logging
import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from edgewise.device import local_rank
from edgewise.model import DFine
from edgewise.processes import ALONE, Processes

T = TypeVar("T")
N = TypeVar("N", int, float)

RESTARTS = 3  # of all processes after one died, each from the last checkpoint


class Group(Processes):
    """Several processes that torch.distributed has joined."""

    def sums(self, numbers: Sequence[N]) -> tuple[N, ...]:
        return self._reduced(numbers, "SUM")

    def largest(self, number: int) -> int:
        return self._reduced([number], "MAX")[0]

    def _reduced(self, numbers: Sequence[N], how: str) -> tuple[N, ...]:
        whole = all(isinstance(one, int) for one in numbers)
        packed = torch.tensor(numbers, dtype=torch.int64 if whole else torch.float64)
        dist.all_reduce(packed, getattr(dist.ReduceOp, how))
        return tuple(packed.tolist())

    @torch.no_grad()
    def add(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        packed = torch.cat([one.flatten() for one in tensors])
        dist.all_reduce(packed)
        for one, total in zip(tensors, packed.split([one.numel() for one in tensors]), strict=True):
            one.copy_(total.view_as(one))

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        if tensors:
            self.add(tensors)
            torch._foreach_div_(list(tensors), self.count)

    def gathered(self, value: T) -> list[T]:
        values: list[Any] | None = [None] * self.count if self.main else None
        dist.gather_object(value, values)
        return values or []

    def told(self, value: T | None) -> T:
        packed = [value]
        dist.broadcast_object_list(packed)
        return packed[0]  # type: ignore[return-value]  # the main process gives one


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes of this run, as torchrun describes them in the environment; alone without it.

    Tensors on CUDA devices travel by NCCL (gloo where torch has none, as on Windows), all else by gloo.
    Without an OMP_NUM_THREADS each process takes its share of the machine's cores. Within another `joined` it
    is the same group.
    """
    if local_rank() is None or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    if dist.is_initialized():
        yield Group(dist.get_rank(), dist.get_world_size())
        return
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // here))
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    if gpus and here <= torch.cuda.device_count():
        torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    yield Group(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()  # not after an error: it may wait for processes that are gone


def parallel(model: DFine, processes: Processes) -> DistributedDataParallel | None:
    """`model` as several processes train it: a backward pass leaves the mean of their gradients; None alone.

    Every parameter that trains must get a gradient in every step. Batch norms on CUDA devices are replaced in
    place by those that see the images of all processes; elsewhere torch has none.
    """
    if processes.count == 1:
        return None
    if next(model.parameters()).device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch 2.13, at the only name that 2.6 knows
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def main_process() -> bool:
    """Whether this one speaks and writes files, as far as the environment says."""
    return local_rank() is None or os.environ["RANK"] == "0"


def restarted() -> bool:
    """Whether these processes replace others of which one died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launch(count: int, function: Callable[..., T], *arguments: Any) -> T:
    """What `function(*arguments)` returns in the main one of `count` new processes on this machine.

    Function, arguments and result are pickled; the processes are spawned, so this works in a notebook. When
    one dies or torch fails in it (RuntimeError: a device, memory, another process), all start again,
    `RESTARTS` times; then this is a RuntimeError. Any other error would come again and is raised here as it
    was there, with its traceback as a note. So is KeyboardInterrupt after SIGINT or SIGTERM.
    """
    if local_rank() is not None:
        raise ValueError(
            f"{count} processes were asked for within one of several that torchrun has started; leave it out"
        )
    # Else processes that start again may find the addresses of the dead in the store (torch 2.13).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    if sys.platform == "win32":
        os.environ.setdefault("USE_LIBUV", "0")  # torch's wheels have none there
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=RESTARTS,
        start_method="spawn",
    )
    quiet = _quiet("torch", "torch.distributed")
    with tempfile.TemporaryDirectory() as folder, quiet, _signals_as_before():
        try:
            results: dict[int, T] = elastic_launch(config, _run)(Path(folder), function, arguments)
        except SignalException:
            raise KeyboardInterrupt from None
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise RuntimeError(
                f"gave up after {RESTARTS} restarts; at last process {rank} failed: "
                f"{failure.message if failure.exitcode > 0 else f'killed by signal {-failure.exitcode}'}"
            ) from None
        for path in sorted(Path(folder).glob("error-*")):
            raise pickle.loads(path.read_bytes())
    return results[0]


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Without torch's own account of processes that ended: what is worth saying is raised."""
    handlers = [handler for name in loggers for handler in logging.getLogger(name).handlers]
    before = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in zip(handlers, before, strict=True):
            handler.setLevel(level)


@contextmanager
def _signals_as_before() -> Iterator[None]:
    """Torch handles signals while its processes run, and would go on to: Ctrl-C is ours again after them."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
        known = [getattr(signal, one) for one in names if hasattr(signal, one)]
        before = {one: signal.getsignal(one) for one in known}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(folder: Path, function: Callable[..., T], arguments: tuple[Any, ...]) -> T | None:
    """`function` in one process.

    An error that would come again is left in `folder`; torch starts all again even so, and they end at once.
    """
    if any(folder.glob("error-*")):
        return None
    try:
        return function(*arguments)
    except RuntimeError:
        raise
    except BaseException as error:
        rank = int(os.environ["RANK"])
        error.add_note(f"in process {rank}:\n{traceback.format_exc()}")
        part = folder / f"part-{rank}"
        part.write_bytes(pickle.dumps(error))
        part.rename(folder / f"error-{rank:05}")
        raise
