"""Everything that changes over a run, as pure functions of the step (0-based, one per optimizer update)."""

import math
from dataclasses import dataclass

from edgewise.config import DenseConfig, ScheduleConfig, TrainConfig


@dataclass(frozen=True)
class Moment:
    """What holds during one step."""

    rate: float  # factor on every learning rate
    ema_decay: float
    strong: bool  # strong augmentation and multi-scale are on
    dense: bool  # mosaic, mixup and copy-blend are on


def total_steps(config: ScheduleConfig, steps_per_epoch: int) -> int:
    return config.epochs * steps_per_epoch


def is_strong(config: ScheduleConfig, epoch: int) -> bool:
    """The last `plain_epochs` see images as prediction will: one size, no crop, zoom or colour change."""
    return epoch < config.epochs - config.plain_epochs


def is_dense(config: DenseConfig, schedule: ScheduleConfig, epoch: int) -> bool:
    """From the share `begin` of the strong epochs up to the share `end` of them, if there is any of it."""
    if not max(config.mosaic, config.mixup, config.copy_blend):
        return False
    strong = schedule.epochs - schedule.plain_epochs
    return config.begin * strong <= epoch < config.end * strong


def rate(config: ScheduleConfig, step: int, steps: int) -> float:
    """Linear warm-up, full rate for the share `flat` of the run, then a cosine down to `final_lr`."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    start = config.flat * steps
    if step < start:
        return warm
    progress = (step - start) / max(1.0, steps - start)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return warm * (config.final_lr + (1 - config.final_lr) * cosine)


def ema_decay(config: ScheduleConfig, step: int) -> float:
    """Decay of the moving average at update t = step + 1: decay · (1 - exp(-t / warm-up)).

    Without the warm-up a short run's average would still be mostly its random start.
    """
    if not config.ema_warmup_steps:
        return config.ema_decay
    return config.ema_decay * (1 - math.exp(-(step + 1) / config.ema_warmup_steps))


def at(config: TrainConfig, step: int, steps_per_epoch: int) -> Moment:
    """All of it at one step."""
    schedule, epoch = config.schedule, step // steps_per_epoch
    return Moment(
        rate=rate(schedule, step, total_steps(schedule, steps_per_epoch)),
        ema_decay=ema_decay(schedule, step),
        strong=is_strong(schedule, epoch),
        dense=is_dense(config.dense, schedule, epoch),
    )
