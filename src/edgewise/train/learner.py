"""A model with all that its steps need, in the form and the precision it trains in."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from edgewise.config import TrainConfig
from edgewise.distributions import bin_values
from edgewise.model import DFine
from edgewise.processes import ALONE, Processes
from edgewise.train.distill import Teacher, load_teacher
from edgewise.train.distributed import parallel
from edgewise.train.optimizer import build_optimizer

SCALE = 2.0**16  # of a float16 loss, to begin with; torch's own


@dataclass(frozen=True)
class Learner:
    """What every step of a run shares.

    `values` are W(n), where the model lives; a `teacher` lives there too. Several `processes` have the same
    model each, wrapped as `parallel`.
    """

    model: DFine
    config: TrainConfig
    optimizer: AdamW
    scaler: torch.amp.GradScaler
    values: Float[Tensor, " n"]
    teacher: Teacher | None
    processes: Processes
    parallel: DistributedDataParallel | None

    @classmethod
    def of(
        cls,
        model: DFine,
        config: TrainConfig,
        class_names: Sequence[str],
        processes: Processes = ALONE,
        scale: float = SCALE,
    ) -> "Learner":
        """For a model that is where it will train, in `training_form`; `class_names` are those of its rows.

        Loads the teacher of `config.distill`, with the errors of `load_teacher`.
        """
        device, decoder = next(model.parameters()).device, model.config.decoder
        return cls(
            model,
            config,
            build_optimizer(model, config.optimizer),
            gradient_scaler(config, device, scale),
            bin_values(decoder.num_bins, decoder.a, decoder.c, device=device),
            load_teacher(config, class_names, device),
            processes,
            parallel(model, processes),
        )


def placed(model: DFine, device: torch.device) -> DFine:
    """`model` itself, moved to `device`, its convolutions in the form that is fastest there.

    Filters take the memory format of the maps. That is also what keeps gradients right: on a CPU torch 2.13
    gets them wrong at the batch norm of a single image whose map is in another format than its gradient.

    On one CPU thread torch gives 1x1 convolutions to oneDNN only if they are dilated, which for one pixel
    means nothing; its other way takes up to twice the time.
    """
    model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1):
            conv.dilation = (2, 2) if device.type == "cpu" else (1, 1)
    return model


def training_form(model: DFine, config: TrainConfig) -> None:
    """Training mode, but for the frozen parts: they keep weights and statistics, and have no gradients."""
    model.train()
    model.set_recompute(config.recompute)
    for name in config.freeze:
        part: nn.Module = getattr(model, name)
        part.eval().requires_grad_(False)
    if not config.denoising.queries and model.decoder.denoising_class_embed is not None:
        model.decoder.denoising_class_embed.requires_grad_(False)  # nothing looks it up


def precision(config: TrainConfig, device: torch.device) -> torch.dtype:
    """What the forward pass computes in: the best half precision a GPU has, or what was asked for.

    Weights, boxes, matching and losses are float32 in any case.
    """
    if config.precision != "auto":
        return getattr(torch, config.precision)  # type: ignore[no-any-return]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """The context to run a forward pass in."""
    dtype = precision(config, device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def gradient_scaler(config: TrainConfig, device: torch.device, scale: float = SCALE) -> torch.amp.GradScaler:
    """Keeps the gradients of a float16 forward within its range; in other precisions it does nothing."""
    return torch.amp.GradScaler(device.type, scale, enabled=precision(config, device) == torch.float16)
