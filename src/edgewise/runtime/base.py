"""What every detector does, whatever runs it: predict, evaluate, bench. No torch."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float

from edgewise.calibration import Calibration
from edgewise.detections import Detections
from edgewise.extras import require
from edgewise.predict.predictor import Predictor, Threshold
from edgewise.predict.sources import Source
from edgewise.sizes import Size
from edgewise.thresholds import Thresholds

if TYPE_CHECKING:
    from edgewise.data.open import Data
    from edgewise.evaluation.coco import Metrics
    from edgewise.evaluation.run import AnnotatedImages
    from edgewise.runtime.bench import Bench


B = TypeVar("B", bound="BaseDetector")


class BaseDetector(ABC):
    """A detector by what it answers.

    `class_names` go by label, `category_ids` too: the annotation file's own numbers. `thresholds` is what the
    threshold "auto" stands for, `calibration` what makes error bars and scores keep their word; `ref` is what
    `from_pretrained` was given.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] | None
    thresholds: Thresholds | None
    calibration: Calibration | None
    ref: str | Path | None = None

    @abstractmethod
    def predictor(self, size: Size | None = None) -> Predictor:
        """The path from images to Detections that `predict` and `evaluate` share."""

    @property
    @abstractmethod
    def backend(self) -> str:
        """What computes, its version, and where."""

    @property
    @abstractmethod
    def precision(self) -> str:
        """What it computes in: fp32, fp16, bf16 and their like."""

    @property
    def file_bytes(self) -> int | None:
        """Of what it was loaded from; None where that is no single file."""
        path = None if self.ref is None else Path(self.ref)
        return path.stat().st_size if path is not None and path.is_file() else None

    def predict(
        self,
        source: Source,
        threshold: Threshold = 0.5,
        *,
        batch: int = 8,
        size: Size | None = None,
        stream: bool = False,
        edges: bool = False,
    ) -> Any:
        """Detections of `source`: one for one image, a list for many, a generator with `stream=True`.

        `source`: a path, glob, folder or URL; a PIL image; RGB uint8 [H, W, 3]; a tensor [3, H, W] in
        [0, 1]; or a list of these. Objects scoring at least `threshold` are kept: one for all classes, one
        a class by label, or "auto", the checkpoint's own. Boxes are in pixels of the original, upright
        image. `size` overrides the trained one, in multiples of 32. With `edges`, each Detections keeps
        the distributions of its edges: `.edges`, `.plot(inset=0)`.
        """
        predictor = self.predictor(size)
        return predictor.predict(source, threshold=threshold, batch=batch, stream=stream, edges=edges)

    def predict_arrays(
        self,
        images: Sequence[np.ndarray],
        threshold: Threshold = 0.0,
        *,
        size: Size | None = None,
        edges: bool = False,
    ) -> list[Detections]:
        """Detections of RGB uint8 arrays [H, W, 3] in one forward pass. They do not keep their image."""
        return self.predictor(size).predict_arrays(images, threshold, edges=edges)

    def evaluate(
        self,
        data: "Data | AnnotatedImages",
        split: str = "val",
        *,
        batch: int = 8,
        size: Size | None = None,
        out: str | Path | None = None,
        progress: bool = False,
    ) -> "Metrics":
        """COCO metrics on a split of an annotated data set: `.ap`, `.ap50`, `.per_class`, `.to_dict()`.

        `data` is a folder or file in any known format, a list of records (docs/data.md), or a data set that
        is open already, whatever `split` says. With `out`, `metrics.json`, curves and a gallery of the worst
        images are written there. `.honesty` says whether error bars and scores keep their word, raw ones
        where the detector is not calibrated; its tables and diagrams are written too. It needs distributions:
        of an exported detector, head "raw".
        """
        require("hotcoco", "evaluate")
        from edgewise.evaluation.calibration.pairs import LayerWatch
        from edgewise.evaluation.calibration.run import measured
        from edgewise.evaluation.report import write_evaluation
        from edgewise.evaluation.run import evaluate

        dataset = opened(data, split)
        predictor = self.predictor(size)
        if not predictor.tells_edges:
            found = evaluate(dataset, predictor.predict_arrays, batch=batch, progress=progress)
            if out is not None:
                write_evaluation(dataset, found, out)
            return found.metrics
        layers = predictor.predict_layers
        watch = LayerWatch(dataset, layers, self.enough(dataset), self.uncalibrated().enough(dataset))
        found = evaluate(dataset, watch.predict, batch=batch, progress=progress, watch=watch.add)
        honesty = measured(watch.outcome(), watch.before(), self.calibration, dataset.class_names)
        if honesty is not None:
            found = replace(found, metrics=replace(found.metrics, honesty=honesty.to_dict()))
            if out is not None:
                honesty.write(out)
        if out is not None:
            write_evaluation(dataset, found, out)
        return found.metrics

    def bench(
        self,
        data: "Data | AnnotatedImages | None" = None,
        split: str = "val",
        *,
        size: Size | None = None,
        repeats: int = 20,
        out: str | Path | None = None,
    ) -> "Bench":
        """Latency, throughput, memory and file size, on `data` AP too: `print(detector.bench())`.

        `runtime.bench.bench` puts several detectors side by side. With `out`, bench.json, bench.md and
        bench.png are written there.
        """
        from edgewise.runtime.bench import bench

        found = bench([self], None if data is None else opened(data, split), size=size, repeats=repeats)
        if out is not None:
            found.write(out)
        return found

    def enough(self, dataset: "AnnotatedImages") -> Float[np.ndarray, " C"]:
        """What a score must reach by the label of a data set: its own `thresholds`, or 0.5 without.

        ValueError where the class names are not the same.
        """
        from edgewise.evaluation.run import labels_of

        least = self.predictor().least(0.5 if self.thresholds is None else "auto")
        return least[np.argsort(labels_of(self.class_names, dataset))]

    def uncalibrated(self: B) -> B:
        """The same detector as it was before any calibration, thresholds included; this one stays."""
        other = copy.copy(self)
        score = self.calibration.score if self.calibration else None
        if score is not None and self.thresholds is not None:
            other.thresholds = self.thresholds.mapped(score.undo)
        other.calibration = None
        return other


def opened(data: "Data | AnnotatedImages", split: str) -> "AnnotatedImages":
    """A split of an annotated data set, unless it is open already."""
    from edgewise.data.open import open_dataset
    from edgewise.evaluation.run import AnnotatedImages

    return data if isinstance(data, AnnotatedImages) else open_dataset(data, split)
