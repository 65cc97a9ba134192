"""Measuring: accuracy once for every cut, time by turns, in three steps from the base to the front."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from edgewise.api import Detector
from edgewise.data.open import Data
from edgewise.device import cpu_cores, multiplies_bf16
from edgewise.evaluation.coco import coco_metrics
from edgewise.evaluation.run import (
    NO_ROWS,
    AnnotatedImages,
    Part,
    categories_of,
    coco_rows,
    labels_of,
    looked_at,
)
from edgewise.extras import MissingExtra, require
from edgewise.optimize import Differs
from edgewise.predict.layers import LayerPredictor
from edgewise.runtime.base import BaseDetector, opened
from edgewise.runtime.bench import (
    SCORE,
    WARM_UP,
    Time,
    first_images,
    load,
    machine,
    names_of,
    quality,
    runs,
    turns,
)
from edgewise.sizes import Size, check_size, pair
from edgewise.sweep.points import (
    EAGER,
    SCALES,
    WAYS,
    Cut,
    Point,
    Setting,
    Way,
    numbers_of_queries,
    singles,
    sizes,
    worth_timing,
)
from edgewise.sweep.report import Sweep

IMAGES = 200  # that AP is measured on
ROUGH = 5  # turns that choose what is timed well
SEED = 0  # of the images drawn
Item = TypeVar("Item")


def sweep(
    detectors: Sequence[Detector],
    data: Data | AnnotatedImages,
    split: str = "val",
    *,
    size: Size | None = None,
    images: int = IMAGES,
    repeats: int = 20,
    threads: int | None = None,
    progress: bool = False,
) -> Sweep:
    """AP and CPU time of what the detectors can do without training, and which to take: docs/runtime.md.

    Resolutions are multiples of `size`, each detector's own by default. AP is that of at most `images` images
    of the split, drawn from a seed. `threads` compute, by default as many as there are cores for this
    process. Ctrl-C ends it early: what was measured comes back, and `stopped` says so.

    ValueError for no detectors, two of one name, other classes than those of the data, images without boxes.
    """
    if not detectors or min(images, repeats) < 1:
        raise ValueError(
            f"{len(detectors)} detectors, {images} images, repeats {repeats}: expected at least one of each"
        )
    require("hotcoco", "evaluate")
    dataset = opened(data, split)
    with TemporaryDirectory() as folder, _threads(threads or cpu_cores()) as count:
        run = _Run(detectors, Drawn(dataset, images), size, count, Path(folder), progress)
        loads, stopped = [load()], False
        try:
            run.all(repeats)
        except KeyboardInterrupt:
            stopped = True
        loads.append(load())
    protocol = {
        "images": f"{len(run.data)} of {len(dataset)}"
        + (f", drawn from seed {SEED}" if len(run.data) < len(dataset) else ""),
        "engines": ", ".join(run.engines) + f"; {count} of the CPU's threads",
        "AP": "of float32 from one pass for each resolution, in eager torch; of bf16 from the point itself",
        "time": f"of one image, pixels in memory to detections that score at least {SCORE}; medians of turns "
        "that all points take, in another order every time, quartiles in brackets",
        "repeats": f"{repeats}, after {WARM_UP} to warm up",
        **machine(loads),
    }
    return Sweep(run.points(), protocol, tuple(run.notes), stopped)


class Drawn(Part):
    """Some images of a data set, in its order: `count` at most, always the same."""

    def __init__(self, of: AnnotatedImages, count: int) -> None:
        """ValueError where they have no boxes to find."""
        order = np.random.default_rng(SEED).permutation(len(of))
        super().__init__(of, sorted(order[:count].tolist()))
        if all(one["iscrowd"] for one in self.annotations["annotations"]):
            raise ValueError(
                f"no boxes to find in {len(self)} of {len(of)} images; expected annotated ones: take more of "
                "them, or another split"
            )


@contextmanager
def _threads(count: int) -> Iterator[int]:
    """torch computes on so many meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)


class _Run:
    """What was found so far; it can be read at any time."""

    def __init__(
        self,
        detectors: Sequence[Detector],
        data: Drawn,
        size: Size | None,
        threads: int,
        folder: Path,
        progress: bool,
    ) -> None:
        names = names_of(detectors)
        if len(set(names)) < len(names):
            raise ValueError(f"{', '.join(names)}: expected each checkpoint once")
        for one in detectors:
            labels_of(one.class_names, data)
        self.data, self.notes = data, list[str]()
        self._threads, self._cache, self._progress = threads, folder, progress
        self._detectors = {name: _plain(one) for name, one in zip(names, detectors, strict=True)}
        self._bases = {
            name: Cut(
                name,
                one.config.size if size is None else check_size(pair(size)),
                one.config.decoder.num_layers,
                one.config.decoder.num_queries,
            )
            for name, one in self._detectors.items()
        }
        self._images = first_images(data, 2)
        self._ap: dict[Cut, float] = {}  # in float32
        self._own_ap: dict[Setting, float] = {}  # in bfloat16
        self._made: dict[Setting, BaseDetector] = {}
        self._seconds: dict[Setting, dict[str, list[float]]] = {}

    def all(self, repeats: int) -> None:
        """Every step."""
        bases = self._bases.values()
        ways = [one for one in WAYS if one.precision == "fp32" or multiplies_bf16()]
        if len(ways) < len(WAYS):
            self._note("this processor does not multiply bf16: float32 alone")
        self._make([Setting(base, way) for base in bases for way in ways])
        self._time(list(self._made), ROUGH)
        fastest = {base: self._fastest(base) for base in bases}
        self._accuracy()

        found = [
            Setting(cut, way)
            for base, way in fastest.items()
            for cut in singles(base, sizes(base.size), numbers_of_queries(base.queries))
        ]
        self._make(found)
        here = [Setting(base, way) for base, way in fastest.items()] + found
        self._time([one for one in here if one in self._made], ROUGH)

        ms = {one.cut: self._ms(one) for one in here if one in self._made}
        chosen = worth_timing(self._ap, ms, self._bases)
        self._make([Setting(cut, fastest[self._bases[cut.checkpoint]]) for cut in chosen])
        self._accuracy_in_bf16()
        self._time(list(self._made), repeats)

    def points(self) -> tuple[Point, ...]:
        """All that something is known of; cuts that were not timed are told in the base's way, eager."""
        timed = [self._point(one) for one in self._made if one in self._seconds]
        cuts = {one.setting.cut for one in timed}
        rest = [Point(Setting(cut, EAGER), ap, None, None) for cut, ap in self._ap.items() if cut not in cuts]
        return (*timed, *rest)

    @property
    def engines(self) -> list[str]:
        """What computed, with versions."""
        return list(dict.fromkeys(one.backend for one in self._made.values()))

    def _point(self, setting: Setting) -> Point:
        ap = self._ap if setting.way.precision == "fp32" else None
        taken = self._seconds[setting]
        return Point(
            setting,
            self._own_ap.get(setting) if ap is None else ap.get(setting.cut),
            Time.of(taken["engine"]),
            Time.of(taken["1"]),
        )

    # ── steps ──────────────────────────────────────────────────────────────────────────────────────

    def _accuracy(self) -> None:
        """Of all cuts: the maps of an image are computed once a resolution, each layer is read."""
        for place in range(len(SCALES)):
            for name, base in self._bases.items():
                for size in sizes(base.size)[place : place + 1]:
                    self._accuracy_at(name, size)

    def _accuracy_at(self, name: str, size: tuple[int, int]) -> None:
        detector, data = self._detectors[name], self.data
        counts = numbers_of_queries(self._bases[name].queries)
        steps = LayerPredictor(detector.predictor(size), detector.model, counts)
        categories, rows = categories_of(detector.class_names, data), defaultdict(list)
        doing = f"AP of {name} at {size[0]}x{size[1]}"
        for sample, found in looked_at(data, steps, doing, batch=1, progress=self._progress):
            for count in counts:
                for layer, detections in enumerate(found[count].detections, 1):
                    rows[layer, count].append(coco_rows(detections, sample.image_id, categories))
        for (layer, count), parts in rows.items():
            metrics = coco_metrics(data.annotations, np.concatenate([NO_ROWS, *parts]))
            self._ap[Cut(name, size, layer, count)] = metrics.ap

    def _accuracy_in_bf16(self) -> None:
        """Of each point itself: it is not exact."""
        settings = [one for one in self._made if one.way.precision == "bf16"]
        for one in self._track(settings, "AP in bf16"):
            self._own_ap[one], _ = quality(self._made[one], self.data, one.cut.size, progress=False)

    def _make(self, settings: Sequence[Setting]) -> None:
        """What cannot be had is noted."""
        for one in self._track(settings, "making engines"):
            try:
                self._made[one] = self._engine(one)
            except MissingExtra as error:
                self._note(f"{one.way.engine} is left out: {error}")
            except Differs as error:
                self._note(f"{one} is left out: {error}")

    def _engine(self, setting: Setting) -> BaseDetector:
        cut, way = setting.cut, setting.way
        detector = self._detectors[cut.checkpoint].at(cut.layers, cut.queries)
        if way.engine == "eager":
            return detector
        return detector.optimize(
            "cpu",
            engine=way.engine,
            precision=way.precision,
            size=cut.size,
            threads=self._threads,
            cache=self._cache,
            images=self._images,
        )

    def _time(self, settings: Sequence[Setting], repeats: int) -> None:
        made = [runs(self._made[one], self._images, one.cut.size, batches=(1,)) for one in settings]
        doing = f"timing {len(settings)} points"
        for taken in self._track(turns(made, repeats), doing, repeats):
            self._seconds |= zip(settings, taken, strict=True)

    # ── parts ──────────────────────────────────────────────────────────────────────────────────────

    def _ms(self, setting: Setting) -> float:
        return 1000 * float(np.median(self._seconds[setting]["1"]))

    def _fastest(self, base: Cut) -> Way:
        return min((one for one in self._made if one.cut == base), key=self._ms).way

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _track(self, items: Iterable[Item], doing: str, total: int | None = None) -> Iterable[Item]:
        console = Console(stderr=True)  # results alone go to stdout
        return track(items, doing, total, console=console, disable=not self._progress)


def _plain(detector: Detector) -> Detector:
    """On the CPU in float32, with scores as the model gives them, which makes no difference to AP."""
    found = copy.copy(detector.at(exit=0.0).uncalibrated())
    found.model, found.device = found.model.cpu().float(), torch.device("cpu")
    return found
