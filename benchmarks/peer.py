"""The same model in `transformers`, as a black box: its weights, its labels, when it matches, its memory."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from speed import Clock, Run
from torch import Tensor, nn

from edgewise.allocator import keeping_freed_memory
from edgewise.checkpoint import Checkpoint
from edgewise.checkpoint.transformers import save_transformers
from edgewise.classes import COCO
from edgewise.model import DFine
from edgewise.presets import preset, trainable
from edgewise.structures import Batch, Targets


def drawn(images: int, boxes: int, side: int) -> Batch:
    """Noise with boxes of 3 to 28 % of its sides."""
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(images, boxes, 4, generator=generator)
    cxcywh = torch.cat([0.2 + 0.6 * places[..., :2], 0.03 + 0.25 * places[..., 2:]], -1)
    labels = torch.randint(len(COCO), (images, boxes), generator=generator)
    pixels = torch.rand(images, 3, side, side, generator=generator)
    return Batch(pixels, Targets.of(list(labels), list(cxcywh)), tuple(range(images)))


def our_model(size: str) -> DFine:
    """Random weights, the same each time."""
    torch.manual_seed(0)
    return DFine(trainable(preset(size, len(COCO)))).train()


def their_model(size: str) -> nn.Module:
    """`DFineForObjectDetection` with the weights of `our_model`."""
    from transformers import DFineForObjectDetection

    given = our_model(size)
    with tempfile.TemporaryDirectory() as folder:
        save_transformers(Checkpoint(given.config, given.state_dict(), COCO, tuple(range(len(COCO)))), folder)
        model: nn.Module = DFineForObjectDetection.from_pretrained(folder)
    return model.train()


def their_labels(batch: Batch) -> list[dict[str, Tensor]]:
    """The boxes of a batch as transformers wants them."""
    parts = [one.targets for one in batch.passes(len(batch.images))]
    return [{"class_labels": one.labels, "boxes": one.boxes} for one in parts]


@contextmanager
def their_matching(clock: Clock) -> Iterator[None]:
    """What their matchers take in here is a lap `matching`, what passes before each is one of `losses`."""
    modules = [module for name, module in sys.modules.items() if name.startswith("transformers.loss")]
    found = {one for module in modules for one in vars(module).values() if isinstance(one, type)}
    originals = {
        one: one.forward for one in found if "Matcher" in one.__name__ and "forward" in vars(one)
    }  # type → its own `forward`

    def timed(forward: Callable[..., Any]) -> Callable[..., Any]:
        def matched(*args: Any, **kwargs: Any) -> Any:
            clock.lap("losses")
            pairs = forward(*args, **kwargs)
            clock.lap("matching")
            return pairs

        return matched

    for one, forward in originals.items():
        one.forward = timed(forward)
    try:
        yield
    finally:
        for one, forward in originals.items():
            one.forward = forward


def allocator(ours: bool) -> AbstractContextManager[None]:
    """As a side's own training has it: Edgewise keeps what a step frees, a process by itself does not."""
    return keeping_freed_memory() if ours else nullcontext()


def second(run: Run, ours: bool) -> Run:
    """The second of two runs, with the side's own allocator."""

    def both(clock: Clock) -> None:
        with allocator(ours):
            run(Clock())
            clock.lap("first")
            del clock.laps["first"]
            run(clock)

    return both
