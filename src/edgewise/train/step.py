"""One update as values in, values out: a batch becomes gradients, or the names of what is not finite."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass
from functools import reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor, nn

from edgewise.config import TrainConfig
from edgewise.losses import Matching, Normalizers, detection_losses, match
from edgewise.losses.teaching import Lesson, lesson, teaching_losses
from edgewise.model.recompute import statistics_kept
from edgewise.processes import Processes
from edgewise.structures import Batch, DecoderOutput, DenoisingQueries, Matches, ModelOutput
from edgewise.train.denoising import denoising_matches, make_denoising, streams
from edgewise.train.distill import Teacher
from edgewise.train.learner import Learner, autocast


@dataclass(frozen=True)
class Descent:
    """What the forward and backward passes of one update found; the gradients are in the parameters.

    `faults` says what is not finite; without any the step may be taken, unless it is an `overflow`: in
    float16 a gradient too large for the present scale, which is usual while the scale is being found.
    """

    losses: dict[str, float]  # weighted, those of all passes summed
    grad_norm: float  # before clipping; not a number where the losses are not finite
    faults: tuple[str, ...] = ()
    overflow: bool = False
    scale: float = 1.0  # of the loss, where something is not finite

    @property
    def taken(self) -> bool:
        """Whether the step may be taken."""
        return not self.faults and not self.overflow


def descend(learner: Learner, batch: Batch, step: int) -> Descent:
    """Forward, match, losses, backward and clipping, in `accumulate` passes; no weight changes.

    The batch norms' statistics change, and so does the scale. Of several processes each has its part of the
    step in `batch`; all find the gradients and the numbers of the whole step.
    """
    model, optimizer, scaler = learner.model, learner.optimizer, learner.scaler
    processes = learner.processes
    optimizer.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    faults: list[str] = []
    for losses, output, matching in pass_losses(learner, batch, step):
        watched = {name: one.detach().sum() for name, one in _tensors(output).items()}
        numbers = _numbers(losses | watched)  # one transfer to the host
        for name in losses:
            sums[name] = sums.get(name, 0.0) + numbers[name]
        faults += [f"{name} is {value}" for name, value in numbers.items() if not math.isfinite(value)]
        faults += [f"a cost of matching {name} is not finite" for name in matching.undefined]
        if faults and processes.count == 1:
            break
        # The mean over processes, which is what a parallel backward makes, becomes their sum.
        scaler.scale(processes.count * torch.stack(list(losses.values())).sum()).backward()
    sums, faults = _agreed(sums, faults, processes)
    if faults:
        return Descent(sums, math.nan, tuple(faults), scale=scaler.get_scale())
    scaler.unscale_(optimizer)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norm = float(torch.nn.utils.clip_grad_norm_(trained, learner.config.optimizer.clip_norm))
    if math.isfinite(norm):
        scaler.update()
        return Descent(sums, norm)
    scale = scaler.get_scale()
    scaler.update()  # lowers it
    if scale > 1:  # 1 where there is no scaling
        return Descent(sums, norm, overflow=True, scale=scale)
    return Descent(sums, norm, (f"the gradient's norm is {norm}",), scale=scale)


def pass_losses(
    learner: Learner, batch: Batch, step: int
) -> Iterator[tuple[dict[str, Float[Tensor, ""]], ModelOutput, Matching]]:
    """The weighted loss terms of each pass with their graph, and what they were made from.

    Their sum over the passes is the loss of the whole batch: terms are divided by counts of all passes. How
    many queries are matched is known only after all forwards, so more than one pass takes them twice, first
    without gradients and for the counts alone. So it is over processes, whose counts are added up.
    """
    model, config, values = learner.model, learner.config, learner.values
    processes, parallel = learner.processes, learner.parallel
    most, classes = processes.largest(max(batch.targets.counts)), model.config.num_classes
    passes = [
        _Pass.of(part, most, classes, step, config, values.device) for part in batch.passes(config.accumulate)
    ]
    counts = None
    if len(passes) > 1:
        with torch.no_grad(), statistics_kept(model):
            own = reduce(add, (one.counts(*one.forward(model, config)) for one in passes))
        counts = _of_all(own, processes)
    for one in passes:
        with nullcontext() if parallel is None or one is passes[-1] else parallel.no_sync():
            output, matching = one.forward(parallel or model, config)
            counts = counts or _of_all(one.counts(output, matching), processes)
            terms = detection_losses(
                output, one.batch.targets, matching, values, config.loss, one.positives, counts
            )
            if learner.teacher is not None:
                taught = one.lesson(learner.teacher, config)
                terms |= teaching_losses(output, taught, matching, values, config.distill, counts)
            yield terms, output, matching


def _of_all(counts: Normalizers, processes: Processes) -> Normalizers:
    return Normalizers(*processes.sums(astuple(counts)))


def _agreed(
    sums: dict[str, float], faults: list[str], processes: Processes
) -> tuple[dict[str, float], list[str]]:
    """The loss terms of all processes, and the faults of all: a step that one cannot take, none takes."""
    *totals, bad = processes.sums([*sums.values(), float(bool(faults))])
    if bad:
        every = processes.told(processes.gathered(faults))
        faults = list(dict.fromkeys(fault for part in every for fault in part))
    return dict(zip(sums, totals, strict=True)), faults


def named(faults: Sequence[str], shown: int = 4) -> str:
    """The first few faults in a row, and how many more there are."""
    more = f" and {len(faults) - shown} more" if len(faults) > shown else ""
    return ", ".join(faults[:shown]) + more


@dataclass(frozen=True)
class _Pass:
    """A part of a batch with its noised boxes, on the device of the model."""

    batch: Batch
    queries: DenoisingQueries | None
    positives: Matches | None

    @classmethod
    def of(
        cls, batch: Batch, most: int, num_classes: int, step: int, config: TrainConfig, device: torch.device
    ) -> "_Pass":
        """`most` is the greatest number of boxes an image of the step has."""
        noise = streams(config.seed, step, range(batch.first, batch.first + len(batch.images)))
        queries = make_denoising(batch.targets, num_classes, config.denoising, noise, most)
        if queries is None:
            return cls(batch.to(device), None, None)
        positives = denoising_matches(batch.targets, queries)
        return cls(batch.to(device), queries.to(device), positives.to(device))

    def forward(self, model: nn.Module, config: TrainConfig) -> tuple[ModelOutput, Matching]:
        images = self.batch.images
        with autocast(config, images.device):
            output = model(images, self.queries)
        return output, match(output, self.batch.targets, config.loss.matching)

    def lesson(self, teacher: Teacher, config: TrainConfig) -> Lesson:
        images = self.batch.images
        with autocast(config, images.device):
            said = teacher.output(images)
        return lesson(said, self.batch.targets, teacher.values, config.loss.matching)

    def counts(self, output: ModelOutput, matching: Matching) -> Normalizers:
        return Normalizers.of(output, self.batch.targets, matching, self.positives)


def _tensors(output: ModelOutput) -> dict[str, Tensor]:
    """All that the model returned, by name: logits/0, boxes/dn/1, …"""
    kinds: list[tuple[str, DecoderOutput | None]] = [("", output), ("dn/", output.denoising)]
    found = {"logits/encoder": output.encoder.logits, "boxes/encoder": output.encoder.boxes}
    for prefix, one in kinds:
        if one is None:
            continue
        for i, layer in enumerate(one.layers):
            found[f"logits/{prefix}{i}"] = layer.logits
            found[f"boxes/{prefix}{i}"] = layer.boxes
            found[f"edge_logits/{prefix}{i}"] = layer.edge_logits
        found[f"boxes/{prefix}initial"] = one.initial.boxes
    return found


def _numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """All of them in one transfer to the host."""
    return dict(zip(values, torch.stack([one.detach() for one in values.values()]).tolist(), strict=True))
