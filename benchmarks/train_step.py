"""A training step, against the same model in `transformers` with its own loss: time by part, peak memory.

    python benchmarks/train_step.py n s --threads 2
    python benchmarks/train_step.py n --threads 1 --repeats 3 --out runs/train_step.json

Both have the same weights, pictures and boxes, number of denoising queries, clipping and AdamW; transformers
computes in float32, Edgewise in float32 and in bfloat16. They take turns, each step after one that is not
counted, each with its own memory allocator: Edgewise keeps what a step frees, which a process of
transformers by itself does not. Peak memory is that of three steps in a process of its own, over what the
process had before its model was made.
"""

import json
from pathlib import Path
from typing import Any

import cyclopts
import torch
from peer import allocator, drawn, our_model, second, their_labels, their_matching, their_model
from speed import RESULTS, Clock, Run, alternated, facts, fresh, highest_mb, stacked_bars, times_faster, write
from torch import nn

from edgewise.classes import COCO
from edgewise.config import TrainConfig
from edgewise.recipe import counted
from edgewise.structures import Batch
from edgewise.train import step
from edgewise.train.learner import Learner, placed, training_form

THEIRS = "transformers float32"
VARIANTS = (THEIRS, "edgewise float32", "edgewise bfloat16")


def ours(size: str, precision: str, batch: Batch) -> Run:
    """A step of Edgewise; what `descend` does is told apart where it calls for matches and losses."""
    config = TrainConfig().updated({"precision": precision, "device": "cpu"})
    model = placed(our_model(size), torch.device("cpu"))
    training_form(model, config)
    learner = Learner.of(model, config, COCO)
    match, losses = step.match, step.detection_losses

    def run(clock: Clock) -> None:
        def matched(*given: Any) -> Any:
            clock.lap("forward")
            found = match(*given)
            clock.lap("matching")
            return found

        def lost(*given: Any) -> Any:
            found = losses(*given)
            clock.lap("losses")
            return found

        step.match, step.detection_losses = matched, lost
        try:
            found = step.descend(learner, batch, 0)
        finally:
            step.match, step.detection_losses = match, losses
        assert found.taken, found
        clock.lap("backward")
        learner.optimizer.step()
        clock.lap("optimizer")

    return run


def theirs(size: str, batch: Batch) -> Run:
    """A step of transformers."""
    model, labels, config = their_model(size), their_labels(batch), TrainConfig().optimizer
    optimizer = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=config.weight_decay)
    loss = model.loss_function

    def run(clock: Clock) -> None:
        def lost(*args: Any, **kwargs: Any) -> Any:
            clock.lap("forward")
            with their_matching(clock):
                found = loss(*args, **kwargs)
            clock.lap("losses")
            return found

        model.loss_function = lost
        out = model(pixel_values=batch.images, labels=labels)
        optimizer.zero_grad()
        out.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        clock.lap("backward")
        optimizer.step()
        clock.lap("optimizer")

    return run


def made(variant: str, size: str, batch: Batch) -> Run:
    return theirs(size, batch) if variant == THEIRS else ours(size, variant.split()[1], batch)


def peak(variant: str, size: str, images: int, boxes: int, side: int, threads: int) -> float:
    """MB that three steps of this very process take, at most."""
    torch.set_num_threads(threads)
    batch = drawn(images, boxes, side)
    if variant == THEIRS:
        from transformers import DFineForObjectDetection  # noqa: F401
    torch.ones(64, 64) @ torch.ones(64, 64)
    before = highest_mb()
    run = made(variant, size, batch)
    with allocator(variant != THEIRS):
        for _ in range(3):
            run(Clock())
    return highest_mb() - before


def main(
    *sizes: str,
    images: int = 4,
    boxes: int = 20,
    side: int = 640,
    threads: int = 2,
    repeats: int = 7,
    out: Path = RESULTS / "train_step.json",
) -> None:
    """SIZES in turn: n, s, m, l, x."""
    torch.set_num_threads(threads)
    batch = drawn(images, boxes, side)
    result: dict[str, Any] = {"facts": facts(), "images": images, "boxes": boxes, "side": side, "sizes": {}}
    bars = {}
    for size in sizes:
        memory = {variant: fresh(peak, variant, size, images, boxes, side, threads) for variant in VARIANTS}
        turns = {variant: second(made(variant, size, batch), variant != THEIRS) for variant in VARIANTS}
        times = alternated(turns, repeats)
        result["sizes"][size] = {
            variant: {
                "parts": times[variant],
                "peak_mb": round(memory[variant]),
                "times_faster": times_faster(times[THEIRS], times[variant]),
                "share_of_memory": memory[variant] / memory[THEIRS],
            }
            for variant in VARIANTS
        }
        for variant in VARIANTS:
            print(
                size,
                variant,
                json.dumps({k: v for k, v in result["sizes"][size][variant].items() if k != "parts"}),
            )
            parts = {part: one["wall_s"]["median"] for part, one in times[variant].items() if part != "total"}
            bars[f"{size}, {variant}, {memory[variant] / 1e3:.1f} GB"] = parts
    result["load_after"] = facts()["load"]
    write(result, out)
    title = (
        f"A training step: {images} images of {side}x{side}, {boxes} boxes each, {counted(threads, 'thread')}"
    )
    stacked_bars(bars, title, "seconds, medians", out.with_suffix(".png"))


if __name__ == "__main__":
    cyclopts.run(main)
