"""From images of any kind to Detections, a batch at a time."""

import copy
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from edgewise.calibration import Calibration
from edgewise.decode import decode
from edgewise.detections import Detections, Geometry
from edgewise.predict.sources import ImageLike, Source, check_array, expand, load
from edgewise.preprocess import preprocess
from edgewise.sizes import check_size
from edgewise.structures import ModelOutput
from edgewise.thresholds import Thresholds

Scores = Float[np.ndarray, " C"]
Threshold = float | Scores | str  # one for all classes, one a class, or "auto"
Ready = tuple[np.ndarray, Geometry, Path | np.ndarray | None]  # model input, the way back, where it came from


class Predictor:
    """A model with what turns images into its input and its output into Detections.

    `model` maps images [B, 3, H, W] in [0, 1] to ModelOutput. It runs where its parameters are and in
    their precision, in evaluation mode, and is left in the mode it was in. `size` is (height, width) of
    its input, `values` W(n) in sides of the initial box (`edgewise.bins.bin_values`), `thresholds` what
    the threshold "auto" stands for, in scores as they come out; `calibration` makes error bars, and maybe
    scores, keep their word.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        size: tuple[int, int],
        class_names: tuple[str, ...],
        values: Float[np.ndarray, " n"],
        category_ids: tuple[int, ...] | None = None,
        thresholds: Thresholds | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.model = model
        self.size = check_size(size)
        self.class_names = class_names
        self.category_ids = category_ids
        self.values = values
        self.thresholds = thresholds
        self.calibration = calibration

    def predict(
        self,
        source: Source,
        threshold: Threshold = 0.5,
        *,
        batch: int = 8,
        size: tuple[int, int] | None = None,
        stream: bool = False,
        max_detections: int = 300,
        edges: bool = False,
    ) -> Detections | list[Detections] | Iterator[Detections]:
        """Detections of one image, a list of them for many, or a generator of them with `stream`.

        What may be a `source`, and what of it is many, is said by `edgewise.predict.sources.expand`;
        `size` stands in for the predictor's own. Objects that score at least `threshold` are kept: one for
        all classes, one a class by label, or "auto", the predictor's own `thresholds`. With `edges`, each
        Detections keeps the distributions of its edges.
        The generator reads `batch` images when it needs them and holds no more than those. A Detections'
        `source` is the path of a file, else the image. Bad arguments fail here, a bad file in its turn.
        """
        least = self.least(threshold)
        if batch < 1:
            raise ValueError(f"batch {batch}: expected at least one image")
        size = self.size if size is None else check_size(size)
        images, many = expand(source)
        found = self._stream(images, batch, size, least, max_detections, edges)
        if stream:
            return found
        if not many:
            return next(found)
        if len(images) > batch and sys.stderr.isatty():
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
        ready: list[Ready] = [(*preprocess(check_array(image), self.size), None) for image in images]
        return self._detect(ready, self.least(threshold), max_detections, edges) if ready else []

    def predict_layers(self, images: Sequence[np.ndarray]) -> list[tuple[Detections, ...]]:
        """Of each of such arrays what every decoder layer says, whatever the score, with edges.

        The last as `predict_arrays`; those before it raw, without calibration. An inference form that has no
        scores but the last layer's gives that alone.
        """
        ready: list[Ready] = [(*preprocess(check_array(image), self.size), None) for image in images]
        if not ready:
            return []
        output, every, raw = self._forward(ready), self.least(0.0), copy.copy(self)
        raw.calibration = None
        layers = [replace(output, layers=output.layers[:i]) for i in range(1, len(output.layers))]
        before = [raw.decoded(one, ready, every, edges=True) for one in layers]
        return list(zip(*before, self.decoded(output, ready, every, edges=True), strict=True))

    def _stream(
        self,
        images: list[ImageLike],
        batch: int,
        size: tuple[int, int],
        threshold: Scores,
        max_detections: int,
        edges: bool,
    ) -> Iterator[Detections]:
        for start in range(0, len(images), batch):
            # No name is given to a batch or its answers: they would live on while the next is read.
            yield from self._detect(
                _read(images[start : start + batch], size), threshold, max_detections, edges
            )

    def least(self, threshold: Threshold) -> Scores:
        """What the scores must reach, by label. Raises ValueError for what is no threshold."""
        if isinstance(threshold, str):
            if threshold != "auto":
                raise ValueError(f"threshold {threshold!r}: expected a score in [0, 1] or 'auto'")
            if self.thresholds is None:
                raise ValueError(
                    "threshold 'auto': the checkpoint has no stored thresholds; evaluate it with "
                    "`edgewise evaluate CHECKPOINT DATA --save-thresholds`, or give a number such as 0.5"
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

    def _detect(
        self, ready: list[Ready], threshold: Scores, max_detections: int, edges: bool
    ) -> list[Detections]:
        return self.decoded(self._forward(ready), ready, threshold, max_detections, edges)

    def _forward(self, ready: Sequence[Ready]) -> ModelOutput:
        with torch.inference_mode(), evaluating(self.model):
            output: ModelOutput = self.model(self.batch(ready))
        return output

    def batch(self, ready: Sequence[Ready]) -> Float[Tensor, "B 3 H W"]:
        """Images as the model wants them: where its weights are, in their precision."""
        weight = next(self.model.parameters())
        return torch.from_numpy(np.stack([image for image, _, _ in ready])).to(weight.device, weight.dtype)

    def decoded(
        self,
        output: ModelOutput,
        ready: Sequence[Ready],
        threshold: Scores,
        max_detections: int = 300,
        edges: bool = False,
    ) -> list[Detections]:
        """What the last layer of `output` found in each image."""
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
            for row, (_, geometry, source) in zip(host(output), ready, strict=True)
        ]


def _read(images: Sequence[ImageLike], size: tuple[int, int]) -> list[Ready]:
    """Each image as model input. Side by side, as Pillow decodes and resizes without Python's lock."""

    def read(image: ImageLike) -> Ready:
        pixels, source = load(image)
        return *preprocess(pixels, size), source

    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, images))


def host(output: ModelOutput) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """What `decode` reads of each image: logits, boxes, edge_logits, initial_boxes; float32, or float64."""
    last = output.layers[-1]
    tensors = (last.logits, last.boxes, last.edge_logits, output.initial.boxes)
    wide = (one if one.dtype == torch.float64 else one.float() for one in tensors)
    return zip(*(one.cpu().numpy() for one in wide), strict=True)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; each of its modules is left in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
