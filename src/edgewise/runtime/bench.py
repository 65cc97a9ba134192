"""What detectors cost and what they are worth, side by side, whatever runs them. No torch."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from edgewise.detections import Detections
from edgewise.extras import require
from edgewise.runtime.base import BaseDetector
from edgewise.runtime.detector import ExportedDetector
from edgewise.runtime.engines import is_exported
from edgewise.sizes import Size

if TYPE_CHECKING:
    from edgewise.evaluation.run import AnnotatedImages
    from edgewise.sample import Sample

LEVEL = 0.9  # of the intervals whose coverage is measured
SCORE = 0.5  # what is asked for when the whole way is timed
BATCHES = (1, 8)
WARM_UP = 3
COLUMNS = ("", "runs in", "precision", "AP", "covered", "engine ms", "whole ms", "images/s", "MB", "file MB")


@dataclass(frozen=True)
class Time:
    """Milliseconds: the median of all turns, and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Time":
        low, median, high = (1000 * np.quantile(seconds, (0.25, 0.5, 0.75))).tolist()
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.low:.1f} to {self.high:.1f})"


@dataclass(frozen=True)
class Row:
    """One detector.

    `engine` is one image's forward pass, its input made and its answer on the host; `whole` is from pixels in
    memory to Detections. `per_second` are images a second of the whole way, by images at a time. `ap` on the
    data, `coverage` the share of true edges in their 90 % intervals, of boxes found at IoU 0.5 with a score
    that is enough; None without data or calibration. `memory_mb` is the most a process of its own held that
    loads and predicts, `file_mb` what is on disk; None where there is no file.
    """

    name: str
    backend: str
    precision: str
    size: tuple[int, int]
    engine: Time
    whole: Time
    per_second: dict[int, float]
    ap: float | None
    coverage: float | None
    memory_mb: float | None
    file_mb: float | None

    @property
    def cells(self) -> tuple[str, ...]:
        """Its line of a table."""
        return (
            f"{self.name} {self.size[0]}x{self.size[1]}",
            self.backend,
            self.precision,
            _shown(self.ap, ".3f"),
            _shown(self.coverage, ".1%"),
            str(self.engine),
            str(self.whole),
            ", ".join(f"{rate:.1f} by {batch}" for batch, rate in self.per_second.items()),
            _shown(self.memory_mb, ".0f"),
            _shown(self.file_mb, ".1f"),
        )


@dataclass(frozen=True)
class Bench:
    """What was measured, and how."""

    rows: tuple[Row, ...]
    protocol: dict[str, Any]

    def __str__(self) -> str:
        """A table in Markdown, and the protocol below it."""
        lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells for row in self.rows)]
        table = [f"| {' | '.join(line)} |" for line in lines]
        return "\n".join([*table, "", *(f"- {name}: {value}" for name, value in self.protocol.items())])

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"protocol": self.protocol, "rows": [asdict(row) for row in self.rows]}

    def write(self, folder: str | Path) -> None:
        """bench.json, bench.md and bench.png. Needs the extra `evaluate`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bench.json").write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        (folder / "bench.md").write_text(f"{self}\n", encoding="utf-8")
        self.plot(folder / "bench.png")

    def plot(self, path: str | Path) -> None:
        """Milliseconds an image, the whole way and the engine alone; AP where it was measured."""
        height = 1.6 + 0.55 * len(self.rows)
        figure = require("matplotlib.figure", "evaluate").Figure(
            figsize=(9, height), dpi=140, layout="constrained"
        )
        axes, places = figure.subplots(), range(len(self.rows))
        names = [f"{row.name}\n{row.backend}, {row.precision}" for row in self.rows]
        engine, whole = ([getattr(row, which) for row in self.rows] for which in ("engine", "whole"))
        axes.barh(
            places, [one.median for one in whole], 0.62, color="#cfd8e3", label="whole way, with quartiles"
        )
        axes.barh(places, [one.median for one in engine], 0.26, color="#3b6ea5", label="engine alone")
        spread = [[one.median - one.low for one in whole], [one.high - one.median for one in whole]]
        middles = [one.median for one in whole]
        axes.errorbar(middles, places, xerr=spread, fmt="none", color="black", capsize=3, linewidth=1)
        for place, row in zip(places, self.rows, strict=True):
            text = f"{row.whole.median:.1f} ms" + ("" if row.ap is None else f", AP {row.ap:.3f}")
            end = max(row.whole.high, row.engine.median)
            axes.annotate(text, (end, place), (6, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(places, names, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.3 * max(one.high for one in (*whole, *engine)))
        axes.set_xlabel(f"milliseconds an image; medians of {self.protocol['repeats']} turns")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=8)
        figure.savefig(path)


def bench(
    detectors: Sequence[BaseDetector],
    dataset: "AnnotatedImages | None" = None,
    *,
    size: Size | None = None,
    repeats: int = 20,
    threads: int | None = None,
    progress: bool = False,
) -> Bench:
    """Measures the detectors on the first images of a data set, or on noise of 480x640; on a data set AP too.

    They take turns, in another order each time, so that a busy moment of the machine hits all alike.
    `threads` is what they were loaded with, for the record and for the processes that memory is measured in.
    ValueError for no detectors or no turns.
    """
    if not detectors or repeats < 1:
        raise ValueError(f"{len(detectors)} detectors, repeats {repeats}: expected at least one of each")
    images = first_images(dataset, max(BATCHES))
    loads = [load()]
    seconds = alternating([runs(one, images, size) for one in detectors], repeats)
    loads.append(load())
    names = names_of(detectors)
    rows = [
        _row(name, detector, taken, dataset, size, threads, progress)
        for name, detector, taken in zip(names, detectors, seconds, strict=True)
    ]
    protocol = {
        "threads": threads or "each engine's default",
        "warm-up": f"{WARM_UP} turns, and a run before each that counts",
        "repeats": repeats,
        "turns": "all detectors in each turn, in another order every time; medians, quartiles in brackets",
        "images": f"{len(images)} of {'the data' if dataset is not None else 'noise, 480x640'}; whole way: "
        f"pixels in memory to detections that score at least {SCORE}",
        "memory": "most held by a process of its own that loads and predicts 1 and 8 images",
        **machine(loads),
    }
    return Bench(tuple(rows), protocol)


def _row(
    name: str,
    detector: BaseDetector,
    taken: Mapping[str, list[float]],
    dataset: "AnnotatedImages | None",
    size: Size | None,
    threads: int | None,
    progress: bool,
) -> Row:
    ap, coverage = (None, None) if dataset is None else quality(detector, dataset, size, progress)
    ref = detector.ref
    return Row(
        name=name,
        backend=detector.backend,
        precision=detector.precision,
        size=detector.predictor(size).size,
        engine=Time.of(taken["engine"]),
        whole=Time.of(taken["1"]),
        per_second={batch: batch / float(np.median(taken[str(batch)])) for batch in BATCHES},
        ap=ap,
        coverage=coverage,
        memory_mb=None if ref is None else _memory(ref, size, threads),
        file_mb=None if detector.file_bytes is None else detector.file_bytes / 1e6,
    )


# ── time ───────────────────────────────────────────────────────────────────────────────────────────────


Runs = Mapping[str, Callable[[], object]]


def runs(
    detector: BaseDetector,
    images: Sequence[np.ndarray],
    size: Size | None,
    batches: Sequence[int] = BATCHES,
) -> Runs:
    """What is timed of a detector, by name: its `engine` alone, and the whole way for so many images."""
    predictor = detector.predictor(size)
    ready = predictor.ready(images[:1])
    whole = {str(batch): partial(predictor.predict_arrays, list(images[:batch]), SCORE) for batch in batches}
    return {"engine": partial(predictor.forward, ready), **whole}


def alternating(detectors: Sequence[Runs], repeats: int) -> list[dict[str, list[float]]]:
    """Seconds of each turn by detector and name."""
    *_, taken = turns(detectors, repeats)
    return taken


def turns(detectors: Sequence[Runs], repeats: int) -> Iterator[list[dict[str, list[float]]]]:
    """After each turn what `alternating` gives so far; the first turns, which warm up, do not count.

    Nor does one run before each: an engine may prepare itself anew for another number of images.
    """
    rng = np.random.default_rng(0)
    taken: list[dict[str, list[float]]] = [{name: [] for name in one} for one in detectors]
    for turn in range(-WARM_UP, repeats):
        for place in rng.permutation(len(detectors)).tolist():
            for name, run in detectors[place].items():
                run()
                start = perf_counter()
                run()
                if turn >= 0:
                    taken[place][name].append(perf_counter() - start)
        if turn >= 0:
            yield taken


def first_images(dataset: "AnnotatedImages | None", count: int) -> list[np.ndarray]:
    """As many as the largest batch, some twice where the data set has fewer."""
    if dataset is None:
        return list(np.random.default_rng(0).integers(0, 256, (count, 480, 640, 3), np.uint8))
    return [dataset[i % len(dataset)].image for i in range(count)]


def machine(loads: Sequence[str]) -> dict[str, str]:
    """What a protocol says of it; `loads` are those before and after."""
    return {
        "load": f"{loads[0]} before, {loads[1]} after (1 minute), {os.cpu_count()} cores",
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "edgewise": import_module("edgewise").__version__,
    }


def load() -> str:
    """How busy the machine was in the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


# ── memory ─────────────────────────────────────────────────────────────────────────────────────────────


def _memory(ref: str | Path, size: Size | None, threads: int | None) -> float | None:
    """MB that a new process held at most which loads `ref` and predicts; None where that is not told."""
    program = f"from {__name__} import report_memory; report_memory()"
    asked = json.dumps({"ref": str(ref), "size": size, "threads": threads})
    told = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program, asked], capture_output=True, text=True, env=told)
    if done.returncode:
        raise RuntimeError(f"{ref}: cannot be run in a process of its own: {done.stderr.strip()[-300:]}")
    found: float | None = json.loads(done.stdout.splitlines()[-1])
    return found


def report_memory() -> None:
    """Prints the MB that this process held at most, once it has done what its last argument asks for."""
    asked = json.loads(sys.argv[-1])
    ref, size, threads = asked["ref"], asked["size"], asked["threads"]
    # An exported file needs no torch, and so shall not pay for it.
    kind = ExportedDetector if is_exported(ref) else import_module("edgewise").Detector
    detector: BaseDetector = kind.from_pretrained(ref, threads=threads, trust=True)  # as the caller does
    predictor = detector.predictor(tuple(size) if isinstance(size, list) else size)
    images = first_images(None, max(BATCHES))
    for batch in BATCHES:
        predictor.predict_arrays(images[:batch], SCORE)
    status = Path("/proc/self/status")  # of this program alone; elsewhere what started it may count
    if not status.exists():
        print("null")  # noqa: T201
        return
    (line,) = (one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
    print(int(line.split()[1]) * 1024 / 1e6)  # noqa: T201


# ── worth ──────────────────────────────────────────────────────────────────────────────────────────────


def quality(
    detector: BaseDetector, dataset: "AnnotatedImages", size: Size | None, progress: bool
) -> tuple[float, float | None]:
    """AP, and the coverage of the intervals where the detector is calibrated."""
    require("hotcoco", "evaluate")
    from edgewise.evaluation.run import evaluate

    predict = detector.predictor(size).predict_arrays
    if detector.calibration is None:
        return evaluate(dataset, predict, progress=progress).metrics.ap, None
    watch = _Coverage(dataset, detector.enough(dataset))
    return evaluate(dataset, predict, progress=progress, watch=watch.add).metrics.ap, watch.share


class _Coverage:
    """The share of true edges that lie in their intervals, image by image."""

    def __init__(self, dataset: "AnnotatedImages", enough: Float[np.ndarray, " C"]) -> None:
        from edgewise.evaluation.matching import truths

        self._truth = truths(dataset.annotations["annotations"])  # its labels are category ids
        self._dataset = dataset
        self._enough = dict(zip(dataset.category_ids, enough.tolist(), strict=True))
        self._inside: list[np.ndarray] = []

    def add(self, sample: "Sample", found: Detections) -> None:
        from edgewise.evaluation.matching import NO_TRUTH, match, to_xywh, to_xyxy
        from edgewise.evaluation.run import categories_of

        categories = categories_of(found.class_names, self._dataset)
        found = found.filter(np.array([self._enough[one] for one in categories.tolist()]))
        truth = self._truth.get(sample.image_id, NO_TRUTH)
        place = match(to_xywh(found.boxes_xyxy), categories[found.labels], truth)
        hit = ~np.append(truth.crowd, True)[place]  # -1 reads the appended
        true = to_xyxy(truth.boxes_xywh)[place[hit]]
        interval = found[hit].edge_interval(LEVEL)
        self._inside.append((interval[..., 0] <= true) & (true <= interval[..., 1]))

    @property
    def share(self) -> float | None:
        """None where nothing was found."""
        inside = np.concatenate(self._inside) if self._inside else np.zeros((0, 4))
        return float(inside.mean()) if len(inside) else None


def names_of(detectors: Sequence[BaseDetector]) -> list[str]:
    """The files' names, with their folders where two are the same."""
    whole = [repr(one) if one.ref is None else str(one.ref) for one in detectors]
    short = [repr(one) if one.ref is None else Path(one.ref).name for one in detectors]
    return [full if short.count(name) > 1 else name for full, name in zip(whole, short, strict=True)]


def _shown(value: float | None, how: str) -> str:
    return "–" if value is None or np.isnan(value) else format(value, how)
