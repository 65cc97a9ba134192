"""How the time of a detector grows: with the batch, the resolution, the queries, the layers, the processes.

    python benchmarks/scaling.py n s --threads 2
    python benchmarks/scaling.py n --threads 1 --repeats 3 --side 320 --out runs/scaling.json

Random weights, pixels to what is decoded, by torch alone and by OpenVINO, each in the precision that
`optimize("cpu")` takes here. One thing varies, the rest is as it comes: an image of SIDE, all queries and
layers. Of several processes each has its share of the threads, and all start at once; their time is that of
an image of all they did together.
"""

import multiprocessing as mp
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cyclopts
import torch
from inference import detector_of, noise, own_engines
from speed import PRECISIONS, RESULTS, Run, alternated, curves, facts, medians, once, write

from edgewise.api import Detector
from edgewise.optimize import Engine
from edgewise.recipe import counted

BATCHES, SIDES, QUERIES = (1, 2, 4, 8), (320, 480, 640, 800), (50, 100, 200, 300)
IMAGES = 6  # that a process has to do in a turn
Case = tuple[int, str]  # what varies, and the engine


def fastest(detector: Detector, threads: int) -> dict[str, Engine]:
    """torch and OpenVINO, in bf16 where the processor has it."""
    found = own_engines(detector, threads, PRECISIONS[-1:])
    return {name.split()[0]: engine for name, engine in found.items()}


def timed(engine: Engine, images: int, side: int) -> Run:
    return once(partial(engine, noise(images, side)), "engine")


def varied(axis: str, size: str, side: int, threads: int) -> dict[Case, Run]:
    """One axis but that of processes, each case a variant."""
    detector = detector_of(size, side)
    depth = detector.config.decoder.num_layers
    if axis == "batch":
        engines = fastest(detector, threads)
        return {(n, name): timed(one, n, side) for n in BATCHES for name, one in engines.items()}
    made: dict[int, Callable[[], Detector]] = {
        "side": {one: partial(detector_of, size, one) for one in SIDES},
        "queries": {one: partial(detector.at, queries=one) for one in QUERIES},
        "layers": {one: partial(detector.at, layers=one) for one in range(1, depth + 1)},
    }[axis]
    return {
        (value, name): timed(engine, 1, value if axis == "side" else side)
        for value, make in made.items()
        for name, engine in fastest(make(), threads).items()
    }


def worker(pipe: Connection, size: str, side: int, threads: int) -> None:
    """Says the names of its engines, and does IMAGES with one each time it is named; None ends it."""
    torch.set_num_threads(threads)
    engines, pixels = fastest(detector_of(size, side), threads), noise(1, side)
    pipe.send(list(engines))
    while (name := pipe.recv()) is not None:
        for _ in range(IMAGES):
            engines[name](pixels)
        pipe.send(name)


@contextmanager
def workers(count: int, size: str, side: int, threads: int) -> Iterator[dict[str, Run]]:
    """Engine → a turn of so many processes at once."""
    context = mp.get_context("spawn")
    processes, pipes = [], []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=worker, args=(theirs, size, side, threads), daemon=True)
            process.start()
            theirs.close()  # the worker alone has it: its end is an error here, and no waiting
            processes.append(process)
            pipes.append(ours)
        names, *_ = [pipe.recv() for pipe in pipes]
        yield {name: together(pipes, name) for name in names}
        for process, pipe in zip(processes, pipes, strict=True):
            pipe.send(None)
            process.join()
    finally:
        for process in processes:
            process.terminate()


def together(pipes: list[Connection], name: str) -> Run:
    def work() -> None:
        for pipe in pipes:
            pipe.send(name)
        for pipe in pipes:
            pipe.recv()

    return once(work, "engine")


def measured(axis: str, size: str, side: int, threads: int, repeats: int) -> dict[str, dict[int, float]]:
    """Engine → {value → seconds an image}."""
    with ExitStack() as stack:
        if axis == "processes":
            runs: dict[Case, Run] = {}
            for count in range(1, threads + 1):
                if threads % count == 0:
                    turns = stack.enter_context(workers(count, size, side, threads // count))
                    runs |= {(count, name): run for name, run in turns.items()}
        else:
            runs = varied(axis, size, side, threads)
        times = alternated({f"{value} {name}": run for (value, name), run in runs.items()}, repeats)
    found: dict[str, dict[int, float]] = {}
    for value, name in runs:
        images = {"batch": value, "processes": value * IMAGES}.get(axis, 1)
        found.setdefault(name, {})[value] = medians(times[f"{value} {name}"])["wall_s"] / images
    return found


AXES = ("batch", "side", "queries", "layers", "processes")


def main(
    *sizes: str, side: int = 640, threads: int = 2, repeats: int = 7, out: Path = RESULTS / "scaling.json"
) -> None:
    """SIZES in turn: n, s, m, l, x."""
    torch.set_num_threads(threads)
    result: dict[str, Any] = {"facts": facts(), "side": side, "repeats": repeats, "seconds_an_image": {}}
    rows: dict[str, dict[str, dict[int, float]]] = {axis: {} for axis in AXES}
    for size in sizes:
        result["seconds_an_image"][size] = {}
        for axis in AXES:
            found = measured(axis, size, side, threads, repeats)
            result["seconds_an_image"][size][axis] = found
            rows[axis] |= {f"{size}, {name}": values for name, values in found.items()}
            for name, values in found.items():
                said = ", ".join(f"{value}: {1e3 * one:.1f} ms" for value, one in values.items())
                print(f"{size}, {axis}, {name}: {said}", flush=True)
    result["load_after"] = facts()["load"]
    write(result, out)
    for axis, named in rows.items():
        title = f"One image by {axis}, {counted(threads, 'thread')}"
        named = {name: {x: 1e3 * y for x, y in values.items()} for name, values in named.items()}
        curves(named, title, axis, "milliseconds an image", out.with_name(f"{out.stem}_{axis}.png"))


if __name__ == "__main__":
    cyclopts.run(main)
