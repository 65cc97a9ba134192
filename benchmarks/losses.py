"""Matching and losses of a crowd, forward and backward, against those of `transformers`.

    python benchmarks/losses.py --threads 2
    python benchmarks/losses.py 20 100 --threads 1 --out runs/losses.json

Eight images of 5 to 1,000 boxes each, every decoder layer, denoising queries included. Each side is given the
outputs of its own model (size n, the same weights and pictures); gradients go as far as these outputs. Each
run follows one that is not counted, each side has the memory allocator of its training. Of more than 500
boxes an image only ours are measured: the other side takes minutes a turn.
"""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import cyclopts
import torch
from peer import drawn, our_model, second, their_labels, their_matching, their_model
from speed import RESULTS, Clock, Run, alternated, curves, facts, medians, times_faster, walls, write
from torch import Tensor

from edgewise.config import TrainConfig
from edgewise.distributions import bin_values
from edgewise.losses import detection_losses, match
from edgewise.recipe import counted
from edgewise.structures import Batch
from edgewise.train.denoising import denoising_matches, make_denoising, streams

COUNTS = (5, 20, 50, 100, 200, 500, 1000)
THEIR_MOST = 500
THEIRS, OURS = "transformers", "edgewise"


def leaves(value: Any, found: list[Tensor]) -> Any:
    """The same value cut from its graph; `found` collects the tensors in it that want gradients."""
    if isinstance(value, Tensor):
        cut = value.detach().requires_grad_(value.requires_grad)
        found += [cut] if cut.requires_grad else []
        return cut
    if isinstance(value, tuple | list):
        return type(value)(leaves(one, found) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: leaves(getattr(value, one.name), found) for one in fields(value)})
    return value


def backward(total: Tensor, found: list[Tensor], clock: Clock) -> None:
    """And the next run starts without gradients."""
    total.backward()
    clock.lap("backward")
    for one in found:
        one.grad = None


def ours(batch: Batch) -> Run:
    config, model = TrainConfig(), our_model("n")
    noise = streams(0, 0, range(len(batch.images)))
    queries = make_denoising(batch.targets, model.config.num_classes, config.denoising, noise)
    assert queries is not None
    positives = denoising_matches(batch.targets, queries)
    found: list[Tensor] = []
    output = leaves(model(batch.images, queries), found)
    decoder = model.config.decoder
    values = bin_values(decoder.num_bins, decoder.a, decoder.c)

    def run(clock: Clock) -> None:
        matching = match(output, batch.targets, config.loss.matching)
        clock.lap("matching")
        terms = detection_losses(output, batch.targets, matching, values, config.loss, positives)
        total = torch.stack(list(terms.values())).sum()
        clock.lap("losses")
        backward(total, found, clock)

    return run


def theirs(batch: Batch) -> Run:
    model, found = their_model("n"), []
    loss, given = model.loss_function, {}

    def caught(*args: Any, **kwargs: Any) -> Any:
        given["args"] = leaves(args, found)
        given["kwargs"] = {name: leaves(one, found) for name, one in kwargs.items()}
        return loss(*args, **kwargs)

    model.loss_function = caught
    model(pixel_values=batch.images, labels=their_labels(batch))

    def run(clock: Clock) -> None:
        with their_matching(clock):
            total = loss(*given["args"], **given["kwargs"])[0]
        clock.lap("losses")
        backward(total, found, clock)

    return run


def main(
    *counts: int, images: int = 8, threads: int = 2, repeats: int = 7, out: Path = RESULTS / "losses.json"
) -> None:
    """COUNTS are boxes an image, by default from 5 to 1,000."""
    torch.set_num_threads(threads)
    result: dict[str, Any] = {"facts": facts(), "images": images, "boxes": {}}
    for count in counts or COUNTS:
        batch = drawn(images, count, 320)
        runs = {OURS: second(ours(batch), ours=True)}
        if count <= THEIR_MOST:
            runs = {THEIRS: second(theirs(batch), ours=False)} | runs
        times = alternated(runs, repeats)
        result["boxes"][count] = {"parts": times}
        said = ", ".join(f"{name} {medians(one)}" for name, one in times.items())
        if THEIRS in times:
            ratios = times_faster(times[THEIRS], times[OURS])
            result["boxes"][count]["times_faster"] = ratios
            said += f", times faster {ratios}"
        print(f"{count} boxes: {said}", flush=True)
    result["load_after"] = facts()["load"]
    write(result, out)
    title = f"Matching and losses with their gradients: {images} images, {counted(threads, 'thread')}"
    curves(walls(result["boxes"]), title, "boxes an image", "seconds, medians", out.with_suffix(".png"))


if __name__ == "__main__":
    cyclopts.run(main)
