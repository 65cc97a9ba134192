"""One update as values in, values out: a batch becomes loss terms, and they become gradients."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from edgewise.config import TrainConfig
from edgewise.losses import detection_losses, match
from edgewise.model import DFine
from edgewise.structures import Batch
from edgewise.train.denoising import denoising_matches, make_denoising, streams


def step_losses(
    model: DFine, batch: Batch, step: int, config: TrainConfig, values: Float[Tensor, " n"]
) -> dict[str, Float[Tensor, ""]]:
    """The weighted loss terms of a batch at a step, on the device of `values`, which are W(n)."""
    device = values.device
    places = range(batch.first, batch.first + len(batch.images))
    queries = make_denoising(
        batch.targets, model.config.num_classes, config.denoising, streams(config.seed, step, places)
    )
    positives = None if queries is None else denoising_matches(batch.targets, queries).to(device)
    batch = batch.to(device)
    with autocast(config, device)():
        output = model(batch.images, None if queries is None else queries.to(device))
    matching = match(output, batch.targets, config.loss.matching)
    return detection_losses(output, batch.targets, matching, values, config.loss, positives)


def autocast(config: TrainConfig, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """The precision of the forward pass, as a context to run it in."""
    wanted = config.precision
    if wanted == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        wanted = "bfloat16"
    return partial(torch.autocast, device.type, torch.bfloat16) if wanted == "bfloat16" else nullcontext
