"""What an engine is, the one of torch alone on the CPU, and the predictor of any."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8

from edgewise.allocator import MIB, keep_freed_memory
from edgewise.detections import Geometry
from edgewise.model.dfine import DFine
from edgewise.model.fast import FastForm
from edgewise.predict.network import host
from edgewise.predict.predictor import Predictor, Raw, Ready
from edgewise.preprocess import resize

if TYPE_CHECKING:
    from edgewise.api import Detector

Fast = Literal["bf16", "fp16", "fp32"]
Pixels = UInt8[np.ndarray, "B H W 3"]
KEPT = 256 * MIB  # holds the maps of eight images of size s
DTYPES: dict[Fast, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Order:
    """What an engine is made for."""

    detector: "Detector"
    device: torch.device
    size: tuple[int, int]
    threads: int
    cache: Path


class Engine:
    """What computes: pixels of the model's size to what `decode` reads of each image.

    `name` is with its version; `note` what else there is to say; `device` where it computes.
    """

    name: str
    note: str = ""
    device: str = "cpu"

    def __call__(self, pixels: Pixels) -> list[Raw]:
        raise NotImplementedError


class TorchEngine(Engine):
    """torch alone, on as many threads as this process has then: `model.fast.FastForm`.

    From then on this process keeps up to `KEPT` bytes that it frees.
    """

    def __init__(self, model: DFine, precision: Fast) -> None:
        keep_freed_memory(KEPT)
        self.name = f"torch {torch.__version__.split('+')[0]}"
        self._model = FastForm(model, DTYPES[precision])

    def __call__(self, pixels: Pixels) -> list[Raw]:
        return host(self._model(torch.from_numpy(pixels)))


class PixelPredictor(Predictor):
    """Images to Detections by an engine that takes pixels as they are; see `Predictor`."""

    def __init__(self, engine: Engine, **settings: Any) -> None:
        super().__init__(**settings)
        self._engine = engine

    @property
    def reads_ahead(self) -> bool:
        return self._engine.device != "cpu"

    def prepare(self, image: UInt8[np.ndarray, "H W 3"]) -> tuple[np.ndarray, Geometry]:
        geometry = Geometry(original_size=(image.shape[0], image.shape[1]), model_size=self.size)
        return resize(image, self.size), geometry

    def forward(self, ready: Sequence[Ready]) -> list[Raw]:
        return self._engine(np.stack([image for image, _, _ in ready]))
