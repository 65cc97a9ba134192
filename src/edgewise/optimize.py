"""The fastest engine for a detector on this machine: chosen, checked against it, and said."""

import copy
import hashlib
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from edgewise.artifact import parts
from edgewise.bins import bin_values
from edgewise.data.scenes import SceneDataset
from edgewise.detections import Detections, Geometry
from edgewise.device import cpu_cores, multiplies_bf16
from edgewise.export import workspace
from edgewise.export.compare import Tolerance, match
from edgewise.export.proof import fingerprint, versions
from edgewise.extras import MissingExtra, require
from edgewise.model.dfine import DFine
from edgewise.model.fast import FastForm, reading_pixels
from edgewise.predict.network import host
from edgewise.predict.predictor import Predictor, Raw, Ready
from edgewise.predict.sources import expand, load
from edgewise.preprocess import resize
from edgewise.runtime.base import BaseDetector
from edgewise.runtime.detector import OF_WEIGHTS
from edgewise.runtime.engines import LATENCY, UNPINNED, openvino_core
from edgewise.sizes import Size, check_size, pair
from edgewise.spelling import unknown

if TYPE_CHECKING:
    from edgewise.api import Detector
    from edgewise.predict.sources import Source

EngineName = Literal["openvino", "torch"]
Fast = Literal["bf16", "fp32"]
Pixels = UInt8[np.ndarray, "B H W 3"]
Graphs = tuple[Any, Any]  # of OpenVINO: pixels to maps, maps to what `decode` reads
ENGINES: tuple[EngineName, ...] = ("openvino", "torch")  # the fastest first

SCENES = 2  # that an engine is checked on
BEST = 20  # of an image's detections are compared
SHARE = 0.9  # of these have to be within the tolerance
TOLERANCES: dict[Fast, Tolerance] = {
    "fp32": Tolerance(),
    "bf16": Tolerance(box_px=4.0, edge_std_px=4.0, score=0.1),
}


class Differs(ValueError):
    """An engine that does not say what its detector says."""


class Engine:
    """What computes: pixels of the model's size to what `decode` reads of each image.

    `name` is with its version; `note` what else there is to say.
    """

    name: str
    note: str = ""

    def __call__(self, pixels: Pixels) -> list[Raw]:
        raise NotImplementedError


class TorchEngine(Engine):
    """torch alone, on as many threads as this process has then: `model.fast.FastForm`."""

    def __init__(self, model: DFine, precision: Fast) -> None:
        self.name = f"torch {torch.__version__.split('+')[0]}"
        self._model = FastForm(model, torch.bfloat16 if precision == "bf16" else torch.float32)

    def __call__(self, pixels: Pixels) -> list[Raw]:
        return host(self._model(torch.from_numpy(pixels)))


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


class OptimizedDetector(BaseDetector):
    """A detector as this machine runs it fastest: predicts, evaluates, benches like the one it was made from.

    `choice` says in one line what computes and why, `likeness` how near it is to that detector. Images are
    of one `size`, (height, width). What needs weights (train, save, calibrate, …) is of that detector alone.
    """

    def __init__(
        self,
        of: "Detector",
        size: tuple[int, int],
        engine: Engine,
        precision: Fast,
        choice: str,
        likeness: str,
    ) -> None:
        self.class_names, self.category_ids = of.class_names, of.category_ids
        self.thresholds, self.calibration = of.thresholds, of.calibration
        self.size, self.engine = size, engine
        self.choice, self.likeness = choice, likeness
        self._precision, self._decoder = precision, of.config.decoder
        self._name = of.config.name

    @property
    def backend(self) -> str:
        return f"{self.engine.name} cpu"

    @property
    def precision(self) -> str:
        return self._precision

    def predictor(self, size: Size | None = None) -> "PixelPredictor":
        """ValueError for another size than its own."""
        if size is not None and pair(size) != self.size:
            (height, width), (own_height, own_width) = pair(size), self.size
            raise ValueError(
                f"size {height}x{width}: this detector was optimized for {own_height}x{own_width} (height x "
                f"width) alone; optimize(size=({height}, {width})) makes another"
            )
        decoder = self._decoder
        return PixelPredictor(
            self.engine,
            size=self.size,
            class_names=self.class_names,
            category_ids=self.category_ids,
            values=bin_values(decoder.num_bins, decoder.a, decoder.c),
            thresholds=self.thresholds,
            calibration=self.calibration,
        )

    def __getattr__(self, name: str) -> Any:
        if name in OF_WEIGHTS:
            raise AttributeError(
                f"an optimized detector has no {name}; it is of the detector that this was made from"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        height, width = self.size
        return (
            f"OptimizedDetector({self._name!r}, {len(self.class_names)} classes, {height}x{width}, "
            f"{self.backend}, {self.precision})"
        )


class PixelPredictor(Predictor):
    """Images to Detections by an engine that takes pixels as they are; see `Predictor`."""

    def __init__(self, engine: Engine, **settings: Any) -> None:
        super().__init__(**settings)
        self._engine = engine

    def prepare(self, image: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, Geometry]:
        geometry = Geometry(original_size=(image.shape[0], image.shape[1]), model_size=self.size)
        return resize(image, self.size), geometry

    def forward(self, ready: Sequence[Ready]) -> list[Raw]:
        return self._engine(np.stack([image for image, _, _ in ready]))


# ── choosing ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Order:
    """What an engine is made for."""

    detector: "Detector"
    size: tuple[int, int]
    threads: int
    cache: Path


def optimize(
    detector: "Detector",
    *,
    engine: EngineName | None = None,
    precision: Fast | None = None,
    size: Size | None = None,
    threads: int | None = None,
    cache: str | Path | None = None,
    images: "Source | None" = None,
) -> OptimizedDetector:
    """See `Detector.optimize`."""
    _check_words(engine, precision, threads)
    own = detector.config.size if size is None else check_size(pair(size))
    cores = cpu_cores()
    order = _Order(detector, own, threads or cores, default_cache() if cache is None else Path(cache))
    check = _Check(detector, own, images)
    native = multiplies_bf16()
    passed_over: list[str] = []
    for name in ENGINES if engine is None else (engine,):
        for kind in _kinds(precision, native):
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
            why = _why(precision, native, kind)
            count = min(order.threads, torch.get_num_threads()) if name == "torch" else order.threads
            ways = [f"{made.name} in {kind} ({why}) on {count} thread{'s' * (count > 1)}"]
            ways += [one for one in (made.note,) if one] + passed_over
            return OptimizedDetector(detector, own, made, kind, "; ".join(ways), likeness)
    raise Differs("no engine says what this detector says: " + "; ".join(passed_over))


def _check_words(engine: str | None, precision: str | None, threads: int | None) -> None:
    if engine is not None and engine not in ENGINES:
        raise ValueError(unknown(engine, list(ENGINES), "engine"))
    if precision is not None and precision not in TOLERANCES:
        raise ValueError(unknown(precision, list(TOLERANCES), "precision"))
    if precision == "bf16" and not multiplies_bf16():
        raise ValueError(
            "precision 'bf16': this processor has neither AVX512_BF16 nor AMX, so it would be slower than "
            "fp32; leave precision out, or ask for 'fp32'"
        )
    if threads is not None and threads < 1:
        raise ValueError(f"threads {threads}: expected at least one")


def _kinds(precision: Fast | None, native: bool) -> tuple[Fast, ...]:
    if precision is not None:
        return (precision,)
    return ("bf16", "fp32") if native else ("fp32",)


def _why(precision: Fast | None, native: bool, kind: Fast) -> str:
    if precision is not None:
        return "as asked"
    if not native:
        return "this processor does not multiply bf16"
    return "this processor multiplies it" if kind == "bf16" else "bf16 is out of tolerance"


def _made(name: EngineName, kind: Fast, order: _Order, check: "_Check") -> tuple[Engine, str]:
    """An engine that says what the detector says, and how near that is. MissingExtra or Differs otherwise."""
    if name == "torch":
        if order.threads < torch.get_num_threads():
            torch.set_num_threads(order.threads)
        made: Engine = TorchEngine(order.detector.model, kind)
        return made, check(made, kind)
    made, kept = _openvino(order, kind)
    try:
        return made, check(made, kind)
    except Differs:
        if kept is None:
            raise
        forget(kept)  # it was in the cache: maybe that was damaged, not the conversion
        made, _ = _openvino(order, kind)
        return made, check(made, kind)


# ── OpenVINO and its cache ─────────────────────────────────────────────────────────────────────────────


def default_cache() -> Path:
    """Where converted detectors are kept: edgewise/ in $XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgewise"


def cached_paths(order: _Order) -> tuple[Path, Path]:
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


def _openvino(order: _Order, kind: Fast) -> tuple[OpenVinoEngine, tuple[Path, Path] | None]:
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
        output = self.decoder(list(maps))
        last = output.layers[-1]
        return last.logits, last.boxes, last.edge_logits, output.initial.boxes


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


# ── checking ───────────────────────────────────────────────────────────────────────────────────────────


class _Check:
    """Compares engines with the detector they are made of, on the same images."""

    def __init__(self, detector: "Detector", size: tuple[int, int], images: "Source | None") -> None:
        own = copy.copy(detector)
        own.model = copy.deepcopy(detector.model).cpu().float()
        self.predictor = own.predictor(size)
        if images is None:
            scenes = SceneDataset(SCENES, seed=0, split="val", size=(size[0] + 48, size[1] + 80))
            self.images = [scenes[i].image for i in range(SCENES)]
        else:
            self.images = [load(image)[0] for image in expand(images)[0]]
        self.expected = self.predictor.predict_arrays(self.images)

    def __call__(self, engine: Engine, kind: Fast) -> str:
        """How near it is. Raises Differs, with the numbers, where that is not near enough."""
        own, tolerance = self.predictor, TOLERANCES[kind]
        other = PixelPredictor(
            engine,
            size=own.size,
            class_names=own.class_names,
            category_ids=own.category_ids,
            values=own.values,
            thresholds=own.thresholds,
            calibration=own.calibration,
        )
        try:
            found = other.predict_arrays(self.images)
        except ValueError as error:  # logits that are no numbers
            raise Differs(f"{engine.name} in {kind}: {error}") from None
        pairs = zip(self.expected, found, strict=True)
        near = np.concatenate([_near(one, two, tolerance) for one, two in pairs])
        text = (
            f"of the {len(near)} best detections in {len(self.images)} images, {near.sum()} are within "
            f"{tolerance.box_px:g} px, {tolerance.score:g} of score, {tolerance.edge_std_px:g} px of edge_std"
        )
        if near.mean() < SHARE:
            raise Differs(f"{engine.name} in {kind} differs: {text}, {SHARE:.0%} are needed")
        return text


def _near(expected: Detections, found: Detections, tolerance: Tolerance) -> np.ndarray:
    """Of each of the best detections expected, whether it was found, within the tolerance."""
    best = expected[: min(BEST, len(expected))]
    own, other = match(best, found, tolerance)
    near = np.zeros(len(best), bool)
    near[own] = (
        (np.abs(best.boxes_xyxy[own] - found.boxes_xyxy[other]) <= tolerance.box_px).all(1)
        & (np.abs(best.scores[own] - found.scores[other]) <= tolerance.score)
        & (np.abs(best.edge_std[own] - found.edge_std[other]) <= tolerance.edge_std_px).all(1)
    )
    return near
