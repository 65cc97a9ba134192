"""Where the time of a training step goes, by kind of operation.

    OMP_NUM_THREADS=1 python benchmarks/profile_train_step.py n s --threads 1

The step of `train_step.py`, in bfloat16: an operation's own processor time as torch's profiler has it,
forward and backward, over steps that follow one that is not counted.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import cyclopts
import torch
from peer import allocator, drawn
from speed import RESULTS, Clock, facts, write
from train_step import made

KINDS = {
    "convolutions": ("convolution",),
    "norms": ("norm",),
    "linear layers": ("addmm", "aten::mm"),
    "self attention": ("bmm", "_softmax", "dot_product"),
    "sampling": ("grid_sampler",),
    "activations": ("threshold", "relu", "silu", "clamp"),
    "max pool": ("max_pool",),
    "copies and changes of type": ("copy_", "cat", "clone"),
    "sums and products, number by number": ("aten::mul", "aten::add", "aten::sum", "aten::sub", "aten::div"),
}


def kind(operation: str) -> str:
    return next((name for name, parts in KINDS.items() if any(one in operation for one in parts)), "others")


def main(
    *sizes: str, threads: int = 2, steps: int = 3, out: Path = RESULTS / "train_step_profile.json"
) -> None:
    """SIZES in turn: n, s, m, l, x."""
    torch.set_num_threads(threads)
    batch = drawn(4, 20, 640)
    result: dict[str, Any] = {"facts": facts(), "threads": threads, "sizes": {}}
    for size in sizes:
        run = made("edgewise bfloat16", size, batch)
        with allocator(ours=True):
            run(Clock())
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                for _ in range(steps):
                    run(Clock())
        spent: dict[str, float] = defaultdict(float)
        for one in profile.key_averages():
            spent[kind(one.key)] += one.self_cpu_time_total / 1e3 / steps
        ranked = dict(sorted(spent.items(), key=lambda one: -one[1]))
        result["sizes"][size] = ranked
        whole = sum(ranked.values())
        shares = ", ".join(f"{name} {ms / whole:.0%}" for name, ms in ranked.items())
        print(f"{size}, {whole:.0f} ms: {shares}", flush=True)
    write(result, out)


if __name__ == "__main__":
    cyclopts.run(main)
