"""How far each stage of a detector is from what this machine can do, and where the rest of its time goes.

    python benchmarks/roofline.py s
    python benchmarks/roofline.py n --side 320 --repeats 3 --out runs/roofline.json

Of the fast form in torch (`model.fast`), one image, in float32 and bfloat16, on one thread and on all cores.
A stage could take max(FLOPs / peak, bytes / bandwidth). The FLOPs are counted by torch; the bytes are those
of its weights, of what it reads from other stages and of what they read from it, each once. Peak is the
fastest of some convolutions in that precision, bandwidth that of copying and adding what no cache holds, both
measured in turns with the stages. Efficiency is that time over the measured one; above one, caches held what
the bytes count. The rest is divided by torch's profiler, whose own time is in "between operations".
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import cyclopts
import matplotlib.pyplot as plt
import numpy as np
import torch
from peer import our_model
from speed import PRECISIONS, RESULTS, Clock, Run, alternated, facts, write
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_flop_count

from edgewise.device import cpu_cores
from edgewise.model.counts import flops as torch_flops
from edgewise.model.fast import FastForm
from edgewise.recipe import counted

STAGES = {  # a stage begins where one of its modules is called, and ends where the next one begins
    "stem": ["backbone.stem"],
    **{f"backbone {i + 1}": [f"backbone.stages.{i}"] for i in range(4)},
    "projections": ["encoder"],
    "map attention": ["encoder.encoder.0"],
    "fusion": ["encoder.lateral_convs.*"],
    "choosing queries": ["decoder"],
    "attention among queries": ["decoder.decoder.layers.*.self_attn"],
    "deformable attention": ["decoder.decoder.layers.*.cross_attn"],
    "feed-forward": ["decoder.decoder.layers.*.gateway"],
    "boxes and scores": [f"decoder.{name}" for name in ("query_pos_head", "pre_bbox_head", "d*_head.*")],
}
FIRST = next(iter(STAGES))
PRODUCTS = ("conv", "linear", "mm", "scaled_dot_product")  # in the names of operations that have FLOPs
PARTS = ("at the roof", "products, beyond it", "other operations", "between operations")
COLOURS = ("#1f5fa8", "#8fb8de", "#e0a84a", "#c9c9c9")
LOOKS = {"fp32": ("o", "#7a5195"), "bf16": ("s", "#d1432b")}
SHAPES = ((64, 3, 80), (128, 3, 80), (256, 3, 40), (512, 3, 20), (256, 1, 80), (1024, 1, 20))
LARGE = 2**26  # numbers of an array: 256 MiB
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}


# ── what there is to do ────────────────────────────────────────────────────────────────────────────────


@contextmanager
def watched(form: FastForm, begin: Callable[[str], None]) -> Iterator[None]:
    """Calls `begin` with the name of each stage that begins. The first begins by itself, with the pixels."""
    with ExitStack() as hooks:
        for stage, patterns in STAGES.items():
            for path, module in form.model.named_modules():
                if any(_fits(path, one) for one in patterns):
                    hook = module.register_forward_pre_hook(lambda *_, stage=stage: begin(stage))
                    hooks.callback(hook.remove)
        yield


def _fits(path: str, pattern: str) -> bool:
    """As file names do, part by part."""
    own, wanted = path.split("."), pattern.split(".")
    return len(own) == len(wanted) and all(map(fnmatchcase, own, wanted))


class Work(TorchDispatchMode):
    """Bytes that each stage cannot but move: what comes from outside, and what is read outside."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = FIRST
        self._home: dict[int, str] = {}  # memory → the stage that filled it
        self._reads: dict[tuple[int, str], int] = defaultdict(int)
        self._kept: list[Tensor] = []  # or memory would be used again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {_memory(one): one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        made = [one for one in tree_leaves(out) if isinstance(one, Tensor)]
        if not made or any(_memory(one) not in given for one in made):  # else a view, which moves nothing
            for one in given.values():
                self.read(one)
        for one in made:
            if _memory(one) not in given:
                self._home[_memory(one)] = self.stage
                self._kept.append(one)
        return out

    def read(self, tensor: Tensor) -> None:
        """By the stage of now."""
        key = (_memory(tensor), self.stage)
        size = min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
        self._reads[key] = max(self._reads[key], size)

    @property
    def bytes(self) -> dict[str, int]:
        """By stage."""
        moved: dict[str, int] = defaultdict(int)
        written: dict[int, int] = defaultdict(int)
        for (memory, stage), size in self._reads.items():
            if self._home.get(memory) != stage:
                moved[stage] += size
                written[memory] = max(written[memory], size)
        for memory, size in written.items():
            if memory in self._home:
                moved[self._home[memory]] += size
        return dict(moved)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _conv_flops(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return int(conv_flop_count(x, weight, out_shape))


def _linear_flops(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return int(2 * math.prod(x) * weight[0])


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def work(form: FastForm, pixels: Tensor) -> dict[str, tuple[float, float]]:
    """FLOPs and bytes of each stage."""
    own = {  # what torch's counter has not heard of
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        torch.ops.mkldnn._convolution_pointwise: _conv_flops,
        torch.ops.mkldnn._linear_pointwise: _linear_flops,
    }
    flops: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    with FlopCounterMode(display=False, custom_mapping=own) as counter, Work() as moved:

        def begin(stage: str) -> None:
            flops[moved.stage] += counter.get_total_flops() - sum(flops.values())
            moved.stage = stage

        with watched(form, begin):
            output = form(pixels)
        begin("the host")
        last = output.layers[-1]
        for one in (last.logits, last.boxes, last.edge_logits, output.initial.boxes):
            moved.read(one)
    found = moved.bytes
    return {stage: (flops[stage], float(found[stage])) for stage in STAGES}


# ── how long it takes ──────────────────────────────────────────────────────────────────────────────────


class Laps:
    """A clock whose laps are stages."""

    def __init__(self) -> None:
        self.clock, self.stage = Clock(), FIRST

    def begin(self, stage: str) -> None:
        self.clock.lap(self.stage)
        self.stage = stage

    def run(self, form: FastForm, pixels: Tensor) -> Run:
        """One forward pass of a form that is watched."""

        def timed(clock: Clock) -> None:
            self.clock, self.stage = clock, FIRST
            form(pixels)
            clock.lap(self.stage)

        return timed


def convolutions(kind: torch.dtype) -> tuple[Run, dict[str, float]]:
    """Convolutions as the fast form has them, and the FLOPs of each."""
    rng, made, flops = torch.Generator().manual_seed(0), {}, {}
    for channels, kernel, side in SHAPES:
        x = torch.randn(1, channels, side, side, generator=rng)
        weight = torch.randn(channels, channels, kernel, kernel, generator=rng)
        name = f"{kernel}x{kernel}, {channels} channels, {side}x{side}"
        made[name] = [one.to(kind).contiguous(memory_format=torch.channels_last) for one in (x, weight)]
        flops[name] = 2.0 * channels**2 * kernel**2 * side**2

    @torch.inference_mode()
    def run(clock: Clock) -> None:
        for name, (x, weight) in made.items():
            pad = weight.shape[-1] // 2
            how = ([pad, pad], [1, 1], [1, 1], 1, "none", [], "")
            clock.lap("between")
            torch.ops.mkldnn._convolution_pointwise(x, weight, None, *how)
            clock.lap(name)

    return run, flops


def memory() -> tuple[Run, dict[str, float]]:
    """Copying and adding, and the bytes of each."""
    a, b, c = (torch.ones(LARGE) for _ in range(3))

    def run(clock: Clock) -> None:
        b.copy_(a)
        clock.lap("copy")
        torch.add(a, b, out=c)
        clock.lap("add")

    return run, {"copy": 8.0 * LARGE, "add": 12.0 * LARGE}


def fastest(parts: Mapping[str, Any], amounts: Mapping[str, float]) -> tuple[float, str]:
    """The most a second, and of what."""
    return max((amount / parts[name]["wall_s"]["least"], name) for name, amount in amounts.items())


def divided(form: FastForm, pixels: Tensor, repeats: int) -> dict[str, dict[str, Any]]:
    """Of each stage's time the shares of products, of other operations and between them, and the longest."""
    mark = "stage "

    def begin(stage: str) -> None:
        with record_function(mark + stage):
            pass

    with watched(form, begin), profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(repeats):
            begin(FIRST)
            form(pixels)
            begin("the host")
    spent: dict[str, dict[str, float]] = {stage: defaultdict(float) for stage in (*STAGES, "the host")}
    whole: dict[str, float] = defaultdict(float)
    stage, since = "the host", 0.0
    for event in sorted(seen.events(), key=lambda one: one.time_range.start):
        if event.name.startswith(mark):
            whole[stage] += event.time_range.start - since
            stage, since = event.name.removeprefix(mark), event.time_range.end
        else:
            spent[stage][event.name] += event.self_cpu_time_total
    return {stage: _shares(spent[stage], whole[stage]) for stage in STAGES}


def _shares(spent: Mapping[str, float], whole: float) -> dict[str, Any]:
    products = sum(us for name, us in spent.items() if any(one in name for one in PRODUCTS))
    other = sum(spent.values()) - products
    longest = sorted(spent, key=lambda name: -spent[name])[:5]
    return {
        "products": products / whole,
        "other": other / whole,
        "between": max(0.0, 1 - (products + other) / whole),
        "longest": {name: round(spent[name] / whole, 3) for name in longest},
    }


# ── what follows ───────────────────────────────────────────────────────────────────────────────────────


def stage_row(
    flops: float, moved: float, seconds: float, shares: Mapping[str, Any], peak: float, bandwidth: float
) -> dict[str, Any]:
    """A stage against its roof; its time by `PARTS`, in ms."""
    ms, roof = 1e3 * seconds, 1e3 * max(flops / peak, moved / bandwidth)
    reached = min(roof, ms)
    beyond = min(max(0.0, shares["products"] * ms - reached), ms - reached)
    rest, kinds = ms - reached - beyond, shares["other"] + shares["between"]
    other = rest * shares["other"] / kinds if kinds else 0.0
    return {
        "gflop": flops / 1e9,
        "mb": moved / 1e6,
        "flop_per_byte": flops / moved,
        "bound_by": "FLOPs" if flops / peak > moved / bandwidth else "bytes",
        "ms": ms,
        "roof_ms": roof,
        "efficiency": roof / ms,
        "gflop_per_s": flops / seconds / 1e9,
        "parts_ms": dict(zip(PARTS, (reached, beyond, other, rest - other), strict=True)),
        "longest": shares["longest"],
    }


def summed(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All stages one after the other."""
    total = {key: sum(one[key] for one in stages.values()) for key in ("gflop", "mb", "ms", "roof_ms")}
    parts = {part: sum(one["parts_ms"][part] for one in stages.values()) for part in PARTS}
    return total | {"efficiency": total["roof_ms"] / total["ms"], "parts_ms": parts}


def measured(forms: Mapping[str, FastForm], pixels: Tensor, threads: int, repeats: int) -> dict[str, Any]:
    """Peaks, bandwidth and stages, on so many threads."""
    torch.set_num_threads(threads)
    laps, amounts, runs = Laps(), {}, {}
    for kind in forms:
        runs[f"peak {kind}"], amounts[kind] = convolutions(KINDS[kind])
    runs["bandwidth"], moved = memory()
    with ExitStack() as hooks:
        for kind, form in forms.items():
            hooks.enter_context(watched(form, laps.begin))
            runs[kind] = laps.run(form, pixels)
        times = alternated(runs, repeats, warm=2)
    bandwidth, by = fastest(times["bandwidth"], moved)
    found: dict[str, Any] = {
        "bandwidth": {"gb_per_s": bandwidth / 1e9, "of": by},
        "peak": {},
        "precisions": {},
    }
    for kind, form in forms.items():
        peak, of = fastest(times[f"peak {kind}"], amounts[kind])
        needed, shares = work(form, pixels), divided(form, pixels, repeats)
        stages = {
            stage: stage_row(
                *needed[stage], times[kind][stage]["wall_s"]["median"], shares[stage], peak, bandwidth
            )
            for stage in STAGES
        }
        found["peak"][kind] = {"gflop_per_s": peak / 1e9, "of": of}
        found["precisions"][kind] = {"stages": stages, "total": summed(stages)}
    return found


# ── what is shown ──────────────────────────────────────────────────────────────────────────────────────

COLUMNS = (
    "",
    "GFLOP",
    "MB",
    "FLOP/byte",
    "ms",
    "roof, ms",
    "bound by",
    "efficiency",
    *(f"{one}, ms" for one in PARTS[1:]),
)


def page(result: Mapping[str, Any], drawn: str) -> str:
    """All numbers as Markdown; `drawn` is the picture's file."""
    told = result["facts"]
    lines = [
        f"# Roofline of size {result['model']} at {result['side']}x{result['side']}",
        "",
        f"{told['processor']}, torch {told['torch']}, commit {told['commit']}; load {told['load'][0]} before "
        f"and {result['load_after'][0]} after. Medians of {result['repeats']} turns. What the words mean: "
        "`benchmarks/roofline.py`.",
        "",
        f"![Each stage against the roof, and where its time goes]({drawn})",
    ]
    for threads, one in result["threads"].items():
        lines += ["", f"## {counted(int(threads), 'thread')}", ""]
        lines += [
            f"- peak in {kind}: {peak['gflop_per_s']:,.0f} GFLOP/s ({peak['of']})"
            for kind, peak in one["peak"].items()
        ]
        lines += [f"- bandwidth: {one['bandwidth']['gb_per_s']:.1f} GB/s ({one['bandwidth']['of']})"]
        for kind, found in one["precisions"].items():
            lines += ["", f"### {kind}", "", _line(COLUMNS), _line(["---", *["--:"] * (len(COLUMNS) - 1)])]
            lines += [_line(_cells(stage, row)) for stage, row in found["stages"].items()]
            lines += [_line(_cells("**all**", found["total"]))]
    return "\n".join([*lines, ""])


def _cells(stage: str, row: Mapping[str, Any]) -> list[str]:
    per_byte = f"{row['flop_per_byte']:.0f}" if "flop_per_byte" in row else ""
    return [
        stage,
        f"{row['gflop']:.2f}",
        f"{row['mb']:.1f}",
        per_byte,
        f"{row['ms']:.2f}",
        f"{row['roof_ms']:.2f}",
        row.get("bound_by", ""),
        f"{row['efficiency']:.0%}",
        *(f"{row['parts_ms'][part]:.2f}" for part in PARTS[1:]),
    ]


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def picture(result: Mapping[str, Any], path: Path) -> None:
    """A row for each number of threads: stages below their roofs, and their times divided."""
    rows = result["threads"]
    figure, axes = plt.subplots(
        len(rows), 2, figsize=(14, 0.9 + 6.2 * len(rows)), layout="constrained", squeeze=False
    )
    for (roof, bars), (threads, one) in zip(axes, rows.items(), strict=True):
        _draw_roof(roof, one, counted(int(threads), "thread"))
        _draw_bars(bars, one["precisions"])
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS]
    figure.legend(handles, PARTS, ncols=len(PARTS), loc="outside lower right", frameon=False)
    figure.suptitle(f"Size {result['model']} at {result['side']}x{result['side']}", x=0.01, ha="left")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_roof(axes: Any, one: Mapping[str, Any], title: str) -> None:
    bandwidth = one["bandwidth"]["gb_per_s"]
    every = [row for found in one["precisions"].values() for row in found["stages"].values()]
    low = 0.5 * min(row["flop_per_byte"] for row in every)
    high = 2 * max(row["flop_per_byte"] for row in every)
    x = np.geomspace(low, high, 400)
    for kind, found in one["precisions"].items():
        (marker, colour), peak = LOOKS[kind], one["peak"][kind]["gflop_per_s"]
        axes.plot(x, np.minimum(peak, bandwidth * x), color=colour, linewidth=1.6)
        axes.annotate(
            f"{kind}: {peak:,.0f} GFLOP/s",
            (high, peak),
            (-4, 4),
            textcoords="offset points",
            ha="right",
            color=colour,
        )
        for number, row in enumerate(found["stages"].values(), 1):
            place = (row["flop_per_byte"], row["gflop_per_s"])
            axes.plot(*place, marker, color=colour, markersize=13, alpha=0.85, markeredgecolor="white")
            axes.annotate(str(number), place, ha="center", va="center", color="white", fontsize=8)
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="FLOPs a byte", ylabel="GFLOP/s")
    ticks = [step * 10**power for power in range(5) for step in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(shown, [str(tick) for tick in shown])
    axes.xaxis.minorticks_off()
    axes.set_title(f"{title}, {bandwidth:.1f} GB/s; numbers are those of the stages", loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_bars(axes: Any, precisions: Mapping[str, Any]) -> None:
    """A bar for each stage and precision."""
    thick = 0.8 / len(precisions)
    longest = max(row["ms"] for found in precisions.values() for row in found["stages"].values())
    for place, (kind, found) in enumerate(precisions.items()):
        at = np.arange(len(STAGES)) + (place - (len(precisions) - 1) / 2) * thick
        left = np.zeros(len(STAGES))
        for part, colour in zip(PARTS, COLOURS, strict=True):
            ms = np.array([row["parts_ms"][part] for row in found["stages"].values()])
            axes.barh(at, ms, 0.92 * thick, left=left, color=colour)
            left += ms
        for y, end, row in zip(at, left, found["stages"].values(), strict=True):
            text = f"{kind}: {end:.1f} ms, {row['efficiency']:.0%} of the roof"
            axes.annotate(text, (end, y), (4, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(range(len(STAGES)), [f"{name}  {i}" for i, name in enumerate(STAGES, 1)])
    axes.invert_yaxis()
    totals = [f"{kind} {one['total']['ms']:.0f} ms" for kind, one in precisions.items()]
    axes.set_title(f"where the time goes; in all {', '.join(totals)}", loc="left")
    axes.set(xlim=(0, 1.35 * longest), xlabel="milliseconds, medians")
    axes.spines[["top", "right"]].set_visible(False)


def main(
    size: str = "s",
    *,
    side: int = 640,
    threads: tuple[int, ...] = (),
    repeats: int = 15,
    out: Path = RESULTS / "roofline.json",
) -> None:
    """SIZE is n, s, m, l or x; THREADS are one and all cores."""
    counts = threads or tuple(dict.fromkeys((1, cpu_cores())))
    forms = {kind: FastForm(our_model(size), KINDS[kind]) for kind in PRECISIONS}
    pixels = torch.randint(
        256, (1, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    counted_here = sum(flops for flops, _ in work(forms["fp32"], pixels).values()) / 1e9
    counted_by_torch = torch_flops(our_model(size).fused(), (side, side))
    assert math.isclose(counted_here, counted_by_torch), "an operation with FLOPs has a new name"
    result: dict[str, Any] = {"facts": facts(), "model": size, "side": side, "repeats": repeats}
    result["threads"] = {str(count): measured(forms, pixels, count, repeats) for count in counts}
    result["load_after"] = facts()["load"]
    write(result, out)
    text = page(result, f"{out.stem}.png")
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    picture(result, out.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    cyclopts.run(main)
