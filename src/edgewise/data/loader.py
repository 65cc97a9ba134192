"""Training batches, each a function of (seed, epoch, step) only: any number of workers, any resumption."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from torch.utils import data

from edgewise.config import TrainConfig
from edgewise.data.collate import Stacked, multi_scale_sizes, stacked
from edgewise.data.custom import Transform, check_can_travel, transformed
from edgewise.data.dataset import Dataset, Unread
from edgewise.data.dense import copy_blend, mixup, mosaic
from edgewise.data.sampling import Samples as Samples
from edgewise.data.sampling import epoch_order, labels_of, repeat_factors
from edgewise.data.transforms import augment
from edgewise.processes import ALONE, Processes
from edgewise.sample import Sample
from edgewise.structures import Batch

# What a random stream is for: the first number of its seed. 1 is the order of an epoch.
_SAMPLE, _SIZE, _BLEND, _CUSTOM = 2, 3, 4, 5


class Job(NamedTuple):
    """One batch to build."""

    epoch: int
    step: int
    strong: bool
    dense: bool = False


class TrainLoader:
    """Shuffled, augmented batches of `config.batch` images, built by `config.workers` processes (0: here).

    An image's augmentation depends on (seed, epoch, index), a batch's size and members on (seed, epoch,
    step). With `config.repeat_factor` images of rare classes come more often (LVIS). The last images of an
    epoch that do not fill a batch are left out, unless there is no other batch. Workers live as long as the
    loader. Each of several `processes` gets its share of each batch, with `workers` of its own.

    `transform`, a function of (image, boxes_xyxy, labels), is applied to every image as it was read, before
    all augmentation; with `recipe.unaugmented` it is the only one.
    """

    def __init__(
        self,
        dataset: Samples,
        config: TrainConfig,
        transform: Transform | None = None,
        processes: Processes = ALONE,
    ) -> None:
        if not len(dataset):
            raise ValueError("no images to train on; expected at least one")
        if processes.count > 1 and min(config.batch, len(dataset)) < processes.count * config.accumulate:
            raise ValueError(
                f"a batch of {config.batch} from {len(dataset)} images for {processes.count} processes in "
                f"accumulate={config.accumulate} passes; expected an image at least for each pass of each"
            )
        if transform is not None and config.workers:
            check_can_travel(transform)
        factors = repeat_factors(labels_of(dataset), config.repeat_factor) if config.repeat_factor else None
        images = len(dataset) if factors is None else int(factors.sum())
        self.steps_per_epoch = max(1, images // config.batch)
        self.batch = min(config.batch, images)  # images of a step, those of all processes
        self._jobs: list[Job] = []
        workers = config.workers
        self._loader: data.DataLoader[Stacked | Exception] = data.DataLoader(
            _Batches(
                partial(
                    build_batch,
                    dataset=dataset,
                    config=config,
                    factors=factors,
                    transform=transform,
                    processes=processes,
                )
            ),
            batch_size=None,
            sampler=self._jobs,
            num_workers=workers,
            collate_fn=_unchanged,  # a job is a whole batch already
            persistent_workers=workers > 0,
            worker_init_fn=_leave_interrupts_to_the_main_process,
        )

    def batches(
        self, epoch: int, start_step: int = 0, strong: bool = True, dense: bool = False
    ) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on.

        `strong`: strong augmentation and multi-scale; `dense`: mosaic, mixup and copy-blend. Raises what
        reading an image raises.
        """
        self._jobs[:] = [Job(epoch, step, strong, dense) for step in range(start_step, self.steps_per_epoch)]
        for batch in self._loader:
            if isinstance(batch, Exception):
                raise batch
            yield batch.batch()


class _Batches(data.Dataset[Stacked | Exception]):
    """Jobs to what becomes Batches, in a worker."""

    def __init__(self, build: Callable[[Job], Stacked]) -> None:
        self.build = build

    def __getitem__(self, job: Job) -> Stacked | Exception:
        try:
            return self.build(job)
        except (OSError, ValueError) as error:  # as a value: torch would bury it in a traceback
            return error


def build_batch(
    job: Job,
    dataset: Samples,
    config: TrainConfig,
    factors: Float64[np.ndarray, " n"] | None = None,
    transform: Transform | None = None,
    processes: Processes = ALONE,
) -> Stacked:
    """The batch of a job, or this process' share; `factors` say how often an epoch sees each image."""
    size = batch_size(config, job)
    order = epoch_order(len(dataset), config.seed, job.epoch, factors)
    images = _Images(dataset, config, transform, job, size, order)
    places = range(job.step * config.batch, min((job.step + 1) * config.batch, len(order)))
    share = processes.share(len(places))
    own = [places[i] for i in share]
    samples = [images.blended(place) if job.dense else images.single(place) for place in own]
    return stacked(samples, size)._replace(first=share.start)


@dataclass(frozen=True)
class _Images:
    """The augmented images of a job, each made once, by their place in the order of the epoch."""

    dataset: Samples
    config: TrainConfig
    transform: Transform | None
    job: Job
    size: tuple[int, int]
    order: Sequence[int]
    _made: dict[int, Sample] = field(default_factory=dict)

    def single(self, place: int) -> Sample:
        """One image augmented or, in dense epochs, perhaps a mosaic."""
        if place not in self._made:
            self._made[place] = self._make(place)
        return self._made[place]

    def _make(self, place: int) -> Sample:
        rng = self._stream(_SAMPLE, place)
        augmented = partial(augment, strong=self.job.strong, rng=rng, size=self.size)
        if not self.job.dense or rng.random() >= self.config.dense.mosaic:
            return augmented(self._unread(place), self.config.augment)
        places = [place, *(int(other) for other in rng.integers(len(self.order), size=3))]
        four = [self._read(each, place) for each in places]
        # A mosaic has cropped and zoomed already (as in DEIM).
        rest = self.config.augment.model_copy(update={"zoom_out": 0.0, "crop": 0.0})
        return augmented(mosaic(four, self.size, rng), rest)

    def _unread(self, place: int) -> Sample | Unread:
        """The image at `place`, to be read once its size is known, unless a transform wants it whole."""
        if self.transform is None and isinstance(self.dataset, Dataset):
            return self.dataset.unread(self.order[place] % len(self.dataset))
        return self._read(place, place)

    def _read(self, place: int, by: int) -> Sample:
        """The image at `place` as the user's transform leaves it, for use in the one at `by`."""
        sample = self.dataset[self.order[place] % len(self.dataset)]
        if self.transform is None:
            return sample
        key = [_CUSTOM, self.config.seed, self.job.epoch, self.order[place], self.order[by]]
        return transformed(sample, self.transform, key)

    def blended(self, place: int) -> Sample:
        """One image, perhaps mixed with the next of the epoch or with objects of it, but not both."""
        config, after = self.config.dense, (place + 1) % len(self.order)
        rng = self._stream(_BLEND, place)
        mixes, copies = rng.random(2) < (config.mixup, config.copy_blend)
        if not (mixes or copies) or after == place:
            return self.single(place)
        one, other = self.single(place), self.single(after)
        return mixup(one, other, rng) if mixes else copy_blend(one, other, rng)

    def _stream(self, purpose: int, place: int) -> np.random.Generator:
        return np.random.default_rng([purpose, self.config.seed, self.job.epoch, self.order[place]])


def batch_size(config: TrainConfig, job: Job) -> tuple[int, int]:
    """(height, width) of a batch: drawn for strong ones, `config.size` for the others."""
    if not job.strong:
        return config.size
    sizes = multi_scale_sizes(config.size, config.augment.multi_scale, config.augment.base_size_weight)
    rng = np.random.default_rng([_SIZE, config.seed, job.epoch, job.step])
    return sizes[rng.integers(len(sizes))]


def _unchanged(batch: Any) -> Any:
    return batch


def _leave_interrupts_to_the_main_process(worker: int) -> None:
    """A run is stopped by a signal to its process group, or to all its processes one by one, as job
    schedulers do. Either way the main process saves before the workers end; they listen to it alone.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # Linux
        os.setpgrp()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()


def _end_when_told_by(main_process: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main_process:
        pass
    os._exit(0)
