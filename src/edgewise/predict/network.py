"""The predictor of a torch model."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from edgewise.detections import Detections
from edgewise.predict.pieces import Pieces
from edgewise.predict.predictor import Predictor, Raw, Ready
from edgewise.structures import ModelOutput


class NetworkPredictor(Predictor):
    """A model with what turns images into its input and its output into Detections; see `Predictor`.

    `model` maps images [B, 3, H, W] in [0, 1] to ModelOutput. It runs where its parameters are and in
    their precision, in evaluation mode, and is left in the mode it was in. A batch too large for a GPU's
    memory goes through it in pieces, which is warned of; MemoryError where not one image fits.
    """

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(**settings)
        self.model = model
        self._pieces = Pieces()

    @property
    def reads_ahead(self) -> bool:
        return next(self.model.parameters()).device.type != "cpu"

    def forward(self, ready: Sequence[Ready]) -> list[Raw]:
        return self._pieces(lambda part: host(self.output(part)), ready)

    def predict_layers(self, images: Sequence[np.ndarray]) -> list[tuple[Detections, ...]]:
        """Of each of such arrays what every decoder layer says, whatever the score, with edges.

        The last as `predict_arrays`; those before it raw, without calibration. An inference form that has no
        scores but the last layer's gives that alone.
        """
        return self._pieces(self._layers, self.ready(images))

    def _layers(self, ready: Sequence[Ready]) -> list[tuple[Detections, ...]]:
        every, raw = self.least(0.0), copy.copy(self)
        raw.calibration = None
        *before, last = each_layer(self.output(ready))
        found = [raw.decoded(one, ready, every, edges=True) for one in before]
        return list(zip(*found, self.decoded(last, ready, every, edges=True), strict=True))

    def output(self, ready: Sequence[Ready]) -> ModelOutput:
        """All that the model says of one batch."""
        with torch.inference_mode(), evaluating(self.model):
            output: ModelOutput = self.model(self.batch(ready))
        return output

    def batch(self, ready: Sequence[Ready]) -> Float[Tensor, "B 3 H W"]:
        """Images as the model wants them: where its weights are, in their precision."""
        weight = next(self.model.parameters())
        return torch.from_numpy(np.stack([image for image, _, _ in ready])).to(weight.device, weight.dtype)


def answers(output: ModelOutput) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `decode` reads: logits, boxes, edge_logits of the last layer, initial_boxes."""
    last = output.layers[-1]
    return last.logits, last.boxes, last.edge_logits, output.initial.boxes


def host(output: ModelOutput) -> list[Raw]:
    """The `answers` for each image; float32, or float64."""
    wide = (one if one.dtype == torch.float64 else one.float() for one in answers(output))
    return list(zip(*(one.cpu().numpy() for one in wide), strict=True))


def each_layer(output: ModelOutput) -> list[list[Raw]]:
    """What `host` gives after each of the layers that ran."""
    return [host(replace(output, layers=output.layers[: i + 1])) for i in range(len(output.layers))]


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
