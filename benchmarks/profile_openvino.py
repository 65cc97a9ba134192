"""Where OpenVINO's time goes in the two graphs that `optimize("cpu")` runs, by kind of operation.

    python benchmarks/profile_openvino.py n s x --threads 2

Maps in bf16 where the processor has it, the decoder in float32; random weights; medians of OpenVINO's
own counters.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from inference import detector_of
from speed import RESULTS, facts, write

from edgewise.device import multiplies_bf16
from edgewise.optimize import converted
from edgewise.runtime.engines import LATENCY, UNPINNED, openvino_core

MOST = 8  # kinds that are named, of each graph


def profiled(graph: Any, hint: str, inputs: list[np.ndarray], threads: int, repeats: int) -> Any:
    """Kind of operation → median milliseconds, the greatest first; and what the graph gives."""
    settings = LATENCY | UNPINNED | {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    request = (
        openvino_core().compile_model(graph, "CPU", settings | {"PERF_COUNT": True}).create_infer_request()
    )
    turns: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        request.infer(inputs)
        sums: dict[str, float] = defaultdict(float)
        for one in request.profiling_info:
            sums[one.node_type] += 1e3 * one.real_time.total_seconds()
        for kind, ms in sums.items():
            turns[kind].append(ms)
    medians = {kind: float(np.median(values)) for kind, values in turns.items()}
    ranked = dict(sorted(medians.items(), key=lambda one: -one[1]))
    return ranked, [output.data.copy() for output in request.output_tensors]


def main(
    *sizes: str, side: int = 640, threads: int = 2, repeats: int = 9, out: Path = RESULTS / "openvino.json"
) -> None:
    """SIZES in turn: n, s, m, l, x."""
    torch.set_num_threads(threads)
    result: dict[str, Any] = {"facts": facts(), "side": side, "sizes": {}}
    for size in sizes:
        inputs = [np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)]
        result["sizes"][size] = {}
        graphs = converted(detector_of(size, side).model, (side, side))
        hints = ("bf16" if multiplies_bf16() else "f32", "f32")
        for part, graph, hint in zip(("maps", "decoder"), graphs, hints, strict=True):
            kinds, inputs = profiled(graph, hint, inputs, threads, repeats)
            result["sizes"][size][part] = {"precision": hint, "ms": kinds}
            said = ", ".join(f"{kind} {ms:.1f}" for kind, ms in list(kinds.items())[:MOST])
            print(f"{size}, {part} in {hint}, {sum(kinds.values()):.1f} ms: {said}", flush=True)
    write(result, out)


if __name__ == "__main__":
    cyclopts.run(main)
