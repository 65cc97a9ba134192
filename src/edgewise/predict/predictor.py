"""From images of any kind to Detections, a batch at a time, whatever finds them. No torch."""

import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from edgewise.calibration import Calibration
from edgewise.decode import decode
from edgewise.detections import Detections, Geometry
from edgewise.predict.sources import ImageLike, Source, check_array, expand, load
from edgewise.preprocess import preprocess
from edgewise.sizes import check_size
from edgewise.thresholds import Thresholds

Scores = Float[np.ndarray, " C"]
Threshold = float | Scores | str  # one for all classes, one a class, or "auto"
Ready = tuple[np.ndarray, Geometry, Path | np.ndarray | None]  # model input, the way back, where it came from
Raw = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # of one image what `decode` reads, in its order


class Predictor(ABC):
    """What turns images into a model's input and its output into Detections; `forward` runs the model.

    `size` is (height, width) of its input, `values` W(n) in sides of the initial box
    (`edgewise.bins.bin_values`), `thresholds` what the threshold "auto" stands for, in scores as they come
    out; `calibration` makes error bars, and maybe scores, keep their word. `tells_edges`: whether the
    distributions of edges can be asked for. `reads_ahead`: whether the next batch is read while this one is
    computed; on the CPU that would take the cores that the model needs.
    """

    tells_edges = True

    @property
    def reads_ahead(self) -> bool:
        return False

    def __init__(
        self,
        *,
        size: tuple[int, int],
        class_names: tuple[str, ...],
        values: Float[np.ndarray, " n"],
        category_ids: tuple[int, ...] | None = None,
        thresholds: Thresholds | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.size = check_size(size)
        self.class_names = class_names
        self.category_ids = category_ids
        self.values = values
        self.thresholds = thresholds
        self.calibration = calibration

    @abstractmethod
    def forward(self, ready: Sequence[Ready]) -> list[Raw]:
        """What the model says of each image of one batch, on the host, as `decoded` takes it."""

    def detect(
        self, ready: Sequence[Ready], threshold: Scores, max_detections: int, edges: bool
    ) -> list[Detections]:
        """What is found in one batch of at least one image."""
        return self.decoded(self.forward(ready), ready, threshold, max_detections, edges)

    def prepare(self, image: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, Geometry]:
        """Model input of an image, and the way back to its pixels."""
        return preprocess(image, self.size)

    def predict(
        self,
        source: Source,
        threshold: Threshold = 0.5,
        *,
        batch: int = 8,
        stream: bool = False,
        max_detections: int = 300,
        edges: bool = False,
    ) -> Detections | list[Detections] | Iterator[Detections]:
        """Detections of one image, a list of them for many, or a generator of them with `stream`.

        What may be a `source`, and what of it is many, is said by `edgewise.predict.sources.expand`. Objects
        that score at least `threshold` are kept: one for all classes, one a class by label, or "auto", the
        predictor's own `thresholds`. With `edges`, each Detections keeps the distributions of its edges.
        The generator reads `batch` images when it needs them and holds no more than those; where it
        `reads_ahead`, twice as many. A Detections' `source` is the path of a file, else the image. Bad
        arguments fail here, a bad file in its turn.
        """
        least = self.least(threshold)
        if batch < 1:
            raise ValueError(f"batch {batch}: expected at least one image")
        images, many = expand(source)
        found = self._stream(images, batch, least, max_detections, edges)
        if stream:
            return found
        if not many:
            return next(found)
        if len(images) > batch and sys.stderr.isatty() and find_spec("rich"):
            from rich.console import Console
            from rich.progress import track

            console = Console(stderr=True)
            return list(track(found, "predict", total=len(images), console=console, transient=True))
        return list(found)

    def predict_arrays(
        self,
        images: Sequence[np.ndarray],
        threshold: Threshold = 0.0,
        max_detections: int = 300,
        *,
        edges: bool = False,
    ) -> list[Detections]:
        """Detections of RGB uint8 arrays [H, W, 3] in one forward pass. They do not keep their image."""
        ready = self.ready(images)
        return self.detect(ready, self.least(threshold), max_detections, edges) if ready else []

    def ready(self, images: Sequence[np.ndarray]) -> list[Ready]:
        """Such arrays as `detect` takes them."""
        return [(*self.prepare(check_array(image)), None) for image in images]

    def predict_layers(self, images: Sequence[np.ndarray]) -> list[tuple[Detections, ...]]:
        """Of each of such arrays what every decoder layer says that can be asked, whatever the score.

        All keep their edges; the last is as of `predict_arrays`, those before it raw, without calibration.
        """
        return [(one,) for one in self.predict_arrays(images, edges=True)]

    def _stream(
        self,
        images: list[ImageLike],
        batch: int,
        threshold: Scores,
        max_detections: int,
        edges: bool,
    ) -> Iterator[Detections]:
        parts = [images[start : start + batch] for start in range(0, len(images), batch)]
        detect = partial(self.detect, threshold=threshold, max_detections=max_detections, edges=edges)
        with closing(self._batches(parts)) as batches:
            # No name is given to a batch or its answers: they would live on while the next is read.
            yield from chain.from_iterable(map(detect, batches))

    def _batches(self, parts: Iterable[Sequence[ImageLike]]) -> Generator[list[Ready], None, None]:
        """Each part as `detect` takes it; where it `reads_ahead`, in a thread that is one part ahead."""
        if not self.reads_ahead:
            yield from map(self._read, parts)
            return
        coming: deque[Future[list[Ready]]] = deque()
        with ThreadPoolExecutor(1) as thread:
            for part in parts:
                coming.append(thread.submit(self._read, part))
                if len(coming) > 1:
                    yield coming.popleft().result()
            yield coming.popleft().result()

    def _read(self, images: Sequence[ImageLike]) -> list[Ready]:
        """Each image as model input. Side by side, as Pillow decodes and resizes without Python's lock."""

        def read(image: ImageLike) -> Ready:
            pixels, source = load(image)
            return *self.prepare(pixels), source

        with ThreadPoolExecutor() as pool:
            return list(pool.map(read, images))

    def least(self, threshold: Threshold) -> Scores:
        """What the scores must reach, by label. Raises ValueError for what is no threshold."""
        if isinstance(threshold, str):
            if threshold != "auto":
                raise ValueError(f"threshold {threshold!r}: expected a score in [0, 1] or 'auto'")
            if self.thresholds is None:
                raise ValueError(
                    "threshold 'auto': the checkpoint has no stored thresholds: it was not validated, or "
                    "found nothing right there. Give a number such as 0.5; find them with `edgewise evaluate "
                    "CHECKPOINT DATA --save-thresholds`; where that finds none either, train longer"
                )
            return self.thresholds.values
        least = np.asarray(threshold, np.float64)
        if not ((least >= 0) & (least <= 1)).all():
            raise ValueError(f"threshold {threshold}: expected a score in [0, 1]")
        if least.shape not in ((), (len(self.class_names),)):
            raise ValueError(
                f"threshold of shape {list(least.shape)}: expected one score, or one for each of "
                f"{len(self.class_names)} classes"
            )
        return np.broadcast_to(least, len(self.class_names))

    def decoded(
        self,
        rows: Iterable[Raw],
        ready: Sequence[Ready],
        threshold: Scores,
        max_detections: int = 300,
        edges: bool = False,
    ) -> list[Detections]:
        """What `forward` gave, as Detections."""
        return [
            decode(
                *row,
                geometry,
                values=self.values,
                class_names=self.class_names,
                category_ids=self.category_ids,
                threshold=threshold,
                max_detections=max_detections,
                source=source,
                calibration=self.calibration,
                edges=edges,
            )
            for row, (_, geometry, source) in zip(rows, ready, strict=True)
        ]
