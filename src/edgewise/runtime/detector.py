"""The detector in an exported file; where torch is not installed, this is `edgewise.Detector`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from edgewise.artifact import IMAGES, SIZES
from edgewise.detections import Detections, Geometry
from edgewise.predict.predictor import Predictor, Raw, Ready, Scores
from edgewise.runtime.base import BaseDetector
from edgewise.runtime.engines import ENDINGS, Engine, is_exported, load_engine
from edgewise.sizes import Size, pair

D = TypeVar("D", bound="ExportedDetector")

# What only the other detector has.
OF_WEIGHTS = {"at", "audit", "calibrate", "checkpoint", "config", "export", "fit", "model", "profile_layers"}
OF_WEIGHTS |= {"optimize", "save", "save_pretrained", "select", "trace", "train"}


class ExportedDetector(BaseDetector):
    """An exported detector: predicts, evaluates, benches like the one it was made from.

    `engine` executes the file, `artifact` is what that says about itself. `thresholds` and `calibration` are
    those of the checkpoint. What needs weights (train, save, calibrate, …) is of the checkpoint alone.
    """

    def __init__(self, engine: Engine, classes: Sequence[str] | None = None) -> None:
        """ValueError for other `classes` than those that the file names itself."""
        self.engine, self.ref = engine, engine.path
        self.artifact = artifact = engine.artifact
        self.class_names, self.category_ids = artifact.class_names, artifact.category_ids
        self.thresholds, self.calibration = artifact.thresholds, artifact.calibration
        if classes is not None and tuple(classes) != self.class_names:
            raise ValueError(f"{self.ref}: its classes are {', '.join(self.class_names)}; leave out classes")

    @classmethod
    def from_pretrained(
        cls: type[D],
        ref: str | Path,
        classes: Sequence[str] | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        trust: bool = False,
    ) -> D:
        """The detector in an exported file, .onnx or .xml, at most `threads` of the CPU computing.

        With `trust` also .engine, which holds machine code that loading it runs. Raises what
        `runtime.engines.load_engine` raises, and ValueError for what is no exported file, and for other
        `classes` than those that the file names itself.
        """
        if not is_exported(ref):
            raise ValueError(
                f"{ref}: without torch only exported detectors are read, {ENDINGS}; export it "
                "with `edgewise export`, or install what reads weights: pip install edgewise"
            )
        return cls(load_engine(ref, device=device, threads=threads, trust=trust), classes)

    def __getattr__(self, name: str) -> Any:
        if name in OF_WEIGHTS:
            raise AttributeError(
                f"an exported detector has no {name}; it is of the checkpoint that this was made from"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        height, width = self.artifact.size
        return (
            f"ExportedDetector({str(self.engine.path)!r}, {len(self.class_names)} classes, {height}x{width})"
        )

    @property
    def backend(self) -> str:
        return f"{self.engine.name} {self.engine.device}"

    @property
    def precision(self) -> str:
        return self.artifact.precision

    @property
    def file_bytes(self) -> int:
        return self.engine.bytes

    def predictor(self, size: Size | None = None) -> "EnginePredictor":
        return EnginePredictor(self, None if size is None else pair(size))

    def uncalibrated(self: D) -> D:
        if self.calibration is not None and self.artifact.head == "detections":
            raise ValueError(
                f"{self.engine.path}: its calibration is part of the graph; export it with --head raw to "
                "have it without"
            )
        return super().uncalibrated()


class EnginePredictor(Predictor):
    """Images to Detections by an engine; see `Predictor`."""

    def __init__(self, detector: ExportedDetector, size: tuple[int, int] | None) -> None:
        """ValueError for a size that the file does not take."""
        artifact = detector.artifact
        self._engine, self._artifact = detector.engine, artifact
        self.tells_edges = artifact.head == "raw"
        super().__init__(
            size=artifact.size if size is None else size,
            class_names=detector.class_names,
            category_ids=detector.category_ids,
            values=artifact.values,
            thresholds=detector.thresholds,
            calibration=detector.calibration,
        )
        (height, width), own = self.size, artifact.size
        if self.size != own and not artifact.dynamic_size:
            raise ValueError(
                f"size {height}x{width}: {self._engine.path} takes {own[0]}x{own[1]} (height x width) "
                "alone; export it with a dynamic size, or with this one"
            )

    @property
    def reads_ahead(self) -> bool:
        return self._engine.device != "cpu"

    def prepare(self, image: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, Geometry]:
        if self._artifact.resize_inside:
            return image, Geometry(original_size=(image.shape[0], image.shape[1]), model_size=self.size)
        return super().prepare(image)

    def forward(self, ready: Sequence[Ready]) -> list[Raw]:
        if len({image.shape for image, _, _ in ready}) > 1:  # only where the file resizes
            return [row for one in ready for row in self.forward([one])]
        inputs = {IMAGES: np.stack([image for image, _, _ in ready])}
        if SIZES in self._artifact.inputs:
            inputs[SIZES] = np.array([geometry.original_size for _, geometry, _ in ready], np.int64)
        outputs = self._engine(inputs)
        a, b, c, d = (outputs[name] for name in self._artifact.outputs)
        return list(zip(a, b, c, d, strict=True))

    def decoded(
        self,
        rows: Iterable[Raw],
        ready: Sequence[Ready],
        threshold: Scores,
        max_detections: int = 300,
        edges: bool = False,
    ) -> list[Detections]:
        if self.tells_edges:
            return super().decoded(rows, ready, threshold, max_detections, edges)
        if edges:
            raise ValueError(
                f"{self._engine.path}: its head gives finished detections and no distributions of edges; "
                "export it with --head raw"
            )
        return [
            Detections(
                boxes_xyxy=boxes,
                scores=scores,
                labels=labels.astype(np.int64),  # ONNX Runtime calls them long long
                edge_std=edge_std,
                size=geometry.original_size,
                class_names=self.class_names,
                category_ids=self.category_ids,
                source=source,
                calibration=self.calibration,
            ).filter(threshold)[:max_detections]
            for (boxes, scores, labels, edge_std), (_, geometry, source) in zip(rows, ready, strict=True)
        ]
