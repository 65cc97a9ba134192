"""OpenVINO: a detector as two graphs, and the cache of them."""

import hashlib
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.artifact import parts
from edgewise.export import workspace
from edgewise.export.proof import fingerprint, versions
from edgewise.extras import require
from edgewise.model.dfine import DFine
from edgewise.model.fast import reading_pixels
from edgewise.optimize.engines import Engine, Fast, Order, Pixels
from edgewise.predict.network import answers
from edgewise.predict.predictor import Raw
from edgewise.runtime.engines import LATENCY, UNPINNED, openvino_core

Graphs = tuple[Any, Any]  # pixels to maps, maps to what `decode` reads


class OpenVinoEngine(Engine):
    """OpenVINO, an image at a time: its graphs are of one shape, which is faster than one of any.

    `graphs` are what `converted` makes. In bf16 the maps are; the decoder is computed in float32: in bf16 it
    cost a quarter of a point of AP (benchmarks/worth.py), and OpenVINO has no way to keep parts of a graph.
    """

    def __init__(self, graphs: Graphs, precision: Fast, threads: int) -> None:
        openvino = require("openvino", "openvino")
        self.name = f"openvino {openvino.__version__.split('-')[0]}"
        core, hints = openvino_core(), ("bf16" if precision == "bf16" else "f32", "f32")
        settings = LATENCY | UNPINNED | {"INFERENCE_NUM_THREADS": threads}
        compiled = (
            core.compile_model(graph, "CPU", settings | {"INFERENCE_PRECISION_HINT": hint})
            for graph, hint in zip(graphs, hints, strict=True)
        )
        self._maps, self._decoder = (one.create_infer_request() for one in compiled)

    def __call__(self, pixels: Pixels) -> list[Raw]:
        rows = []
        for one in pixels:
            self._maps.infer([one[None]], share_inputs=True)
            maps = [output.data for output in self._maps.output_tensors]
            found = self._decoder.infer(maps, share_inputs=True)
            a, b, c, d = (found[i][0] for i in range(4))
            rows.append((a, b, c, d))
        return rows


def default_cache() -> Path:
    """Where converted detectors are kept: edgewise/ in $XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgewise"


def cached_paths(order: Order) -> tuple[Path, Path]:
    """The files of a conversion: their names say weights, size, and the versions that made it."""
    height, width = order.size
    made_by = sorted(versions("openvino").items())
    key = hashlib.sha256(repr((fingerprint(order.detector.checkpoint()), made_by)).encode()).hexdigest()
    name = f"{order.detector.config.name}-{height}x{width}-{key[:32]}"
    return order.cache / f"{name}-maps.xml", order.cache / f"{name}-decoder.xml"


def files(paths: Iterable[Path]) -> list[Path]:
    """All files of a conversion."""
    return [part for path in paths for part in parts(path)]


def forget(paths: Iterable[Path]) -> None:
    """Removes a conversion."""
    for one in files(paths):
        one.unlink(missing_ok=True)


def cached(order: Order, kind: Fast) -> tuple[OpenVinoEngine, tuple[Path, Path] | None]:
    """The engine, and the files it came from where these were in the cache."""
    openvino = require("openvino", "openvino")
    paths = cached_paths(order)
    if all(one.is_file() for one in files(paths)):
        try:
            maps, decoder = (openvino_core().read_model(path) for path in paths)
            return OpenVinoEngine((maps, decoder), kind, order.threads), paths
        except RuntimeError:  # damaged, which is all that can be said: it is made anew
            forget(paths)
    graphs, note = converted(order.detector.model, order.size), ""
    try:
        with workspace(paths[0]) as folder:
            made_here = [folder / path.name for path in paths]
            for graph, path in zip(graphs, made_here, strict=True):
                openvino.save_model(graph, path, compress_to_fp16=False)
            for one, name in zip(files(made_here), files(paths), strict=True):
                one.replace(name)
    except (OSError, RuntimeError) as error:
        note = f"not kept for the next time: {str(error).splitlines()[0]}"
    made = OpenVinoEngine(graphs, kind, order.threads)
    made.note = note
    return made, None


class _Maps(nn.Module):
    """The first graph."""

    def __init__(self, model: DFine) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.maps(pixels.permute(0, 3, 1, 2).float()))


class _Decoder(nn.Module):
    """The second graph."""

    def __init__(self, model: DFine) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        return answers(self.decoder(list(maps)))


def converted(model: DFine, size: tuple[int, int]) -> Graphs:
    """OpenVINO's graphs of a model: pixels uint8 [1, H, W, 3] to maps, and these to what `decode` reads.

    A model that stops early where it can runs all its layers here.
    """
    openvino = require("openvino", "openvino")
    if model.config.decoder.exit:
        model = model.at(exit=0.0)
    form = reading_pixels(model)
    pixels = torch.zeros(1, *size, 3, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the workings of torch.export and openvino
        maps = tuple(one.contiguous() for one in _Maps(form)(pixels))
        first = openvino.convert_model(torch.export.export(_Maps(form), (pixels,)))
        return first, openvino.convert_model(torch.export.export(_Decoder(form), maps))
