"""What the benchmarks of speed share: a clock with laps, turns taken by variants, the machine, plots."""

import json
import multiprocessing as mp
import os
import resource
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import torch

from edgewise.cli.provenance import provenance
from edgewise.device import multiplies_bf16

RESULTS = Path(__file__).parent / "results/speed"
KEYS = ("wall_s", "cpu_s")
Answer = TypeVar("Answer")
PRECISIONS: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16") if multiplies_bf16() else ("fp32",)
PEERS = ("transformers", "pillow", "numpy", "scipy", "onnxruntime", "openvino", "pycocotools", "hotcoco")


class Clock:
    """Seconds of each named part since the part before: on the wall and of this process' processors."""

    def __init__(self) -> None:
        self.laps: dict[str, dict[str, float]] = {}
        self._last = self._now()

    def lap(self, part: str) -> None:
        """The time since the last lap, or since the start, was for `part`."""
        now = self._now()
        spent = self.laps.setdefault(part, dict.fromkeys(KEYS, 0.0))
        for key, before, after in zip(spent, self._last, now, strict=True):
            spent[key] += after - before
        self._last = now

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


def highest_mb() -> float:
    """Most memory of this program; what getrusage tells counts the process that started it, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))


def resident_mb() -> float:
    """Memory of this program now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def fresh(work: Callable[..., Answer], *given: Any) -> Answer:
    """What `work` says in a process of its own, whose memory is that of nothing else."""
    with ProcessPoolExecutor(1, mp.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


Run = Callable[[Clock], None]


def once(work: Callable[[], Any], part: str) -> Run:
    """A variant of one part, which is one call of `work`."""

    def run(clock: Clock) -> None:
        work()
        clock.lap(part)

    return run


def alternated(variants: Mapping[str, Run], repeats: int, warm: int = 1) -> dict[str, dict[str, Any]]:
    """Variant → {part → summary}, `total` among the parts, from turns in which each variant has one run.

    So what else the machine does meets all of them alike. The order turns too. `warm` turns do not count.
    """
    names = list(variants)
    laps: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in names}
    for turn in range(warm + repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            clock = Clock()
            variants[name](clock)
            total = {key: sum(one[key] for one in clock.laps.values()) for key in KEYS}
            if turn >= warm:
                laps[name].append(clock.laps | {"total": total})
    return {
        name: {part: {key: summary([run[part][key] for run in runs]) for key in KEYS} for part in runs[0]}
        for name, runs in laps.items()
    }


def medians(parts: Mapping[str, Any]) -> dict[str, float]:
    """The whole of a variant of `alternated`, on the wall and of the processors."""
    return {key: parts["total"][key]["median"] for key in KEYS}


def times_faster(slow: Mapping[str, Any], fast: Mapping[str, Any]) -> dict[str, float]:
    """Of two variants of `alternated`, by their medians."""
    return {key: medians(slow)[key] / medians(fast)[key] for key in KEYS}


def walls(results: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """Variant → {count → seconds} for `curves`, of results by count with `parts` from `alternated`."""
    rows: dict[str, dict[int, float]] = {}
    for count, one in results.items():
        for name, parts in one["parts"].items():
            rows.setdefault(name, {})[count] = medians(parts)["wall_s"]
    return rows


def summary(values: list[float]) -> dict[str, float]:
    """Median, quartiles and least."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(median), "q25": float(low), "q75": float(high), "least": min(values)}


def facts() -> dict[str, Any]:
    """Commit, versions, processor, threads, and how busy the machine is with other things."""
    installed = {one.metadata["Name"].lower() for one in metadata.distributions()}
    return provenance() | {
        "date": date.today().isoformat(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "by default: waiting threads spin"),
        "bf16": multiplies_bf16(),
        "load": [round(one, 2) for one in os.getloadavg()],
        **{name: metadata.version(name) for name in PEERS if name in installed},
    }


def write(result: Mapping[str, Any], out: Path) -> None:
    """The numbers as JSON at `out`, whose folder is made."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out}")


def stacked_bars(rows: Mapping[str, Mapping[str, float]], title: str, unit: str, path: Path) -> None:
    """A bar for each row, divided into its parts."""
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    figure, axes = plt.subplots(figsize=(8, 1.4 + 0.5 * len(rows)), layout="constrained")
    left = np.zeros(len(rows))
    for part in parts:
        values = np.array([row.get(part, 0.0) for row in rows.values()])
        axes.barh(list(rows), values, left=left, label=part)
        left += values
    for row, total in enumerate(left):
        axes.annotate(f"{total:.3g}", (total, row), (4, 0), textcoords="offset points", va="center")
    axes.set(title=title, xlabel=unit, xlim=(0, 1.1 * max(left)))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(ncols=len(parts), loc="outside lower center", frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def curves(rows: Mapping[str, Mapping[int, float]], title: str, xlabel: str, ylabel: str, path: Path) -> None:
    """A line for each row, both axes logarithmic."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, values in rows.items():
        axes.plot(list(values), list(values.values()), "o-", label=name)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, xscale="log", yscale="log")
    ticks = sorted({one for values in rows.values() for one in values})
    axes.set_xticks(ticks, [str(one) for one in ticks])
    axes.xaxis.minorticks_off()
    for each in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        each("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
