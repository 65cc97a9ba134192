"""What a detector says after each decoder layer and with fewer queries, and how long that takes."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf, nan

import numpy as np
import torch
from torch import Tensor

from edgewise.detections import Detections
from edgewise.model import DFine
from edgewise.model.anytime import change
from edgewise.model.decoder import Decoder
from edgewise.predict.network import NetworkPredictor, each_layer
from edgewise.predict.predictor import Ready

Cut = tuple[int, int]  # layers, queries


@dataclass(frozen=True, eq=False)
class Steps:
    """One image with one number of queries: what each layer found, and how much each but the first changed.

    `changes` are those of `model.anytime.change`, in nats: what a dynamic exit compares with its limit.
    """

    detections: tuple[Detections, ...]
    changes: tuple[float, ...]


@dataclass(frozen=True)
class Times:
    """Milliseconds for one image, medians: backbone with encoder, and the decoder alone by its cut.

    `first_exit` and `no_exit` are the whole decoder with its check after every layer: where it stops as soon
    as it may, after the second, and where it never does. nan with fewer than three layers, where there is
    nothing to check.
    """

    maps: float
    decoder: dict[Cut, float]
    first_exit: float
    no_exit: float


class LayerPredictor:
    """A model in its inference form, run once an image for every number of queries, each layer decoded."""

    def __init__(
        self, predictor: NetworkPredictor, model: DFine, queries: Sequence[int] | None = None
    ) -> None:
        """`predictor` turns images into input and outputs into Detections; the model's own number of
        `queries`, two thirds, a third and a sixth of it by default.
        """
        own = model.config.decoder.num_queries
        queries = queries or [max(1, round(own * share)) for share in (1, 2 / 3, 1 / 3, 1 / 6)]
        self._predictor = predictor
        self._model = model.at(exit=0.0).fused("all")
        self._layers = model.config.decoder.num_layers
        self._decoders = {
            count: _cut(self._model.decoder, self._layers, count) for count in sorted({own, *queries})
        }

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[dict[int, Steps]]:
        """Of each RGB uint8 array [H, W, 3] its steps by number of queries; detections keep their edges."""
        ready = self._predictor.ready(images)
        maps = self._model.maps(self._predictor.batch(ready))
        found = {count: self._steps(decoder, maps, ready) for count, decoder in self._decoders.items()}
        return [{count: steps[image] for count, steps in found.items()} for image in range(len(ready))]

    def _steps(self, decoder: Decoder, maps: list[Tensor], ready: list[Ready]) -> list[Steps]:
        output, every = decoder(maps), self._predictor.least(0.0)
        found = [self._predictor.decoded(one, ready, every, edges=True) for one in each_layer(output)]
        changes = [change(*pair).tolist() for pair in pairwise(output.layers)]
        return [
            Steps(tuple(one[i] for one in found), tuple(one[i] for one in changes)) for i in range(len(ready))
        ]

    @torch.inference_mode()
    def times(self, image: np.ndarray, repeats: int) -> Times:
        """How long that image takes by itself.

        All variants take turns, `repeats` times, so that a busy moment of the machine hits them alike.
        """
        if repeats < 1:
            raise ValueError(f"repeats {repeats}: expected at least one")
        model, layers, most = self._model, self._layers, max(self._decoders)
        batch = self._predictor.batch(self._predictor.ready([image]))
        maps = model.maps(batch)
        cuts = [(layer, count) for count in self._decoders for layer in range(1, layers + 1)]
        runs: list[Callable[[], object]] = [partial(model.maps, batch)]
        runs += [partial(_cut(model.decoder, *cut, last=True), maps) for cut in cuts]
        if layers > 2:
            runs += [partial(_cut(model.decoder, layers, most, exit), maps) for exit in (inf, nan)]
        taken = np.array([[_milliseconds(run, batch.device) for run in runs] for _ in range(repeats + 1)])
        own, *rest = np.median(taken[1:], 0).tolist()  # the first turn warms up
        decoder = dict(zip(cuts, rest, strict=False))
        first, never = rest[len(cuts) :] or (nan, nan)
        return Times(own, decoder, first, never)


def _cut(decoder: Decoder, layers: int, queries: int, exit: float = 0.0, last: bool = False) -> Decoder:
    """A decoder that shares the tensors of another; `last`: with the heads of its last layer alone."""
    own = copy.deepcopy(decoder, {id(one): one for one in (*decoder.parameters(), *decoder.buffers())})
    own.cut(layers, queries, 0.0)
    own.config = own.config.model_copy(update={"exit": exit})  # unchecked: no change is less than nan
    if last:
        own.drop_training_parts(keep=1)
    return own


def _milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """On one CPU thread the thread's own time, which a busy machine hardly lengthens; else the wall's."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    _wait(device)
    start = clock()
    run()
    _wait(device)
    return (clock() - start) * 1000


def _wait(device: torch.device) -> None:
    """For a device that works on its own."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
