"""How much memory training takes: measured on a copy before the run, and what to do where it is too much."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil, floor, log2
from pathlib import Path

import torch
from rich.console import Console

from edgewise.config import TrainConfig
from edgewise.data.collate import collate, multi_scale_sizes
from edgewise.evaluation.run import AnnotatedImages
from edgewise.model import DFine
from edgewise.structures import Batch, Targets
from edgewise.train.datacheck import Finding
from edgewise.train.probe import Probe

SHARE = 0.8  # of what is free may be planned with: allocators fragment, validation comes on top
FEW = 4  # images that tell how much an image takes
STEPS = 25  # an epoch should have
MOST_ON_CPU, MOST_ELSEWHERE = 16, 64  # images a step; larger published batches gain nothing on one device
GB = 1e9


# ── the probe of a run ─────────────────────────────────────────────────────────────────────────────


def check_memory(
    model: DFine, train_set: AnnotatedImages, config: TrainConfig, device: torch.device, processes: int = 1
) -> Finding:
    """Peak memory of one update at the largest size with the fullest images, against what is free.

    On a GPU a whole pass is run; elsewhere FEW images, and the rest is reckoned from them. Raises ValueError,
    naming the batch that would fit, where it is too much.
    """
    wanted = min(images_a_pass(config, processes), len(train_set))
    free = available(device)
    images, took = measure(model, train_set, config, device, wanted if device.type == "cuda" else FEW)
    height, width = largest_size(config)
    at = f"at {height}x{width} with the fullest images"
    if took is None or free is None:
        return Finding("skipped", f"{images} images {at} pass; what they take is not known on {device.type}")
    need = took * max(1, wanted // images)
    reckoned = "" if images >= wanted else f" (reckoned from {images})"
    takes = f"take {need / GB:.2f} GB{reckoned}" if took else "take no more than is held already"
    text = f"{wanted} images {at} {takes}; {free / GB:.1f} GB of {device.type} free"
    if need > free or (device.type == "cuda" and images < wanted):
        raise ValueError(f"{text}; {_way_out(config, fitting(took / images, free) * processes)}")
    return Finding("warning" if need > SHARE * free else "ok", text)


def measure(
    model: DFine, train_set: AnnotatedImages, config: TrainConfig, device: torch.device, images: int
) -> tuple[int, int | None]:
    """How many images one update was taken with, and the bytes it took; None where that is not known.

    They are halved from `images` until memory holds them. Copy, optimizer, gradients and a teacher are
    part of it, so it is about what a run takes. Raises ValueError where not one image fits.
    """
    images = min(images, len(train_set))
    while images:
        batch = fullest_batch(train_set, config, images)
        with _peak(device) as growth:
            if _fits(model, batch, config, train_set.class_names, device):
                return images, growth()
        images //= 2
    height, width = largest_size(config)
    raise ValueError(f"not one image fits at {height}x{width} on {device.type}; {_way_out(config, None)}")


def _fits(
    model: DFine, batch: Batch, config: TrainConfig, class_names: Sequence[str], device: torch.device
) -> bool:
    try:
        Probe(model, config.updated({"accumulate": 1}), class_names, device).step(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def fullest_batch(train_set: AnnotatedImages, config: TrainConfig, images: int) -> Batch:
    """The images with the most boxes at the largest size; a mosaic has those of four, a mixture of two."""
    boxes = Counter(one["image_id"] for one in train_set.annotations["annotations"] if not one.get("iscrowd"))
    order = sorted(range(len(train_set)), key=lambda index: -boxes[train_set.image_ids[index]])
    batch = collate([train_set[index] for index in order[:images]], largest_size(config))
    copies = 4 if config.dense.mosaic else 2 if config.dense.mixup else 1
    targets = batch.targets
    per_image = [targets.part(i, i + 1) for i in range(len(targets.counts))]
    targets = Targets.of(
        [one.labels.repeat(copies) for one in per_image], [one.boxes.repeat(copies, 1) for one in per_image]
    )
    return Batch(batch.images, targets, batch.image_ids)


def largest_size(config: TrainConfig) -> tuple[int, int]:
    """(height, width) of the largest images of the run."""
    if config.schedule.plain_epochs == config.schedule.epochs:
        return config.size
    augment = config.augment
    sizes = multi_scale_sizes(config.size, augment.multi_scale, augment.base_size_weight)
    return max(sizes, key=lambda size: size[0] * size[1])


def images_a_pass(config: TrainConfig, processes: int = 1) -> int:
    """The largest number of images that go through one process' model at once."""
    return ceil(ceil(config.batch / processes) / config.accumulate)


# ── batch auto ─────────────────────────────────────────────────────────────────────────────────────


def auto_batch(
    model: DFine,
    train_set: AnnotatedImages,
    config: TrainConfig,
    device: torch.device,
    console: Console | None = None,
) -> int:
    """The batch that suits data and memory; the reason is printed.

    It is the power of two from 4 up that leaves 25 steps an epoch, at most 16 on a CPU and 64 elsewhere, and
    no more than what fits into 80 % of the memory that is free at the largest size with the fullest images:
    a small set learns by many steps, a large batch by speed alone. `config.batch` is not read.
    Raises ValueError where not one image fits.
    """
    most = MOST_ON_CPU if device.type == "cpu" else MOST_ELSEWHERE
    by_steps = max(4, power_of_two(len(train_set) / STEPS))
    wanted = min(most, by_steps, len(train_set))
    why = f"{STEPS} steps an epoch of {len(train_set)} images" if by_steps <= most else f"at most {most}"
    images, took = measure(model, train_set, config, device, min(wanted, FEW))
    free = available(device)
    if took is not None and free is not None:
        held = fitting(took / images, free)
        height, width = largest_size(config)
        why += f"; {free / GB:.1f} GB of {device.type} free hold {held} at {height}x{width}"
        wanted = min(wanted, held)
    if console is not None:
        console.print(f"batch {wanted}: {why}", markup=False, highlight=False)
    return wanted


def power_of_two(number: float) -> int:
    """The largest power of two up to `number`, 1 at least."""
    return int(2 ** floor(log2(max(1.0, number))))


def fitting(image_bytes: float, free: int) -> int:
    """The images that fit into SHARE of what is free: a power of two, from 16 on a multiple of 8."""
    images = SHARE * free / max(1.0, image_bytes)
    return int(images) // 8 * 8 if images >= 16 else power_of_two(images)


# ── out of memory, in words ────────────────────────────────────────────────────────────────────────


@contextmanager
def explained(config: TrainConfig) -> Iterator[None]:
    """Where memory runs out in here, MemoryError says at what and what to do about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        height, width = config.size
        what = str(error).splitlines()[0].rstrip(".") if str(error) else "no more memory"
        raise MemoryError(
            f"out of memory with batch {config.batch} at {height}x{width} ({what}); "
            f"{_way_out(config, max(1, config.batch // 2))}. A run that goes on with --resume may change "
            "recompute; the others are for a new one"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is any device's way to say so."""
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(one in str(error) for one in texts)


def _way_out(config: TrainConfig, batch: int | None) -> str:
    """What a person can do."""
    ways = [] if batch is None or batch >= config.batch else [f"--batch {batch}"]
    if batch is not None and batch < config.batch:
        ways.append(f"--set accumulate={config.accumulate * 2} (the same batch in more passes)")
    if not config.recompute:
        ways.append("--set recompute=true")
    ways.append("a smaller --size")
    return f"take {', '.join(ways[:-1])} or {ways[-1]}" if len(ways) > 1 else f"take {ways[0]}"


# ── measuring ──────────────────────────────────────────────────────────────────────────────────────


def available(device: torch.device) -> int | None:
    """Bytes that can still be had on the device; None where that is not known."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    whole = _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    within = None if limit is None or used is None else limit - used
    known = [one for one in (whole, within) if one is not None]
    return min(known) if known else None


@contextmanager
def _peak(device: torch.device) -> Iterator[Callable[[], int | None]]:
    """Counts by how many bytes the memory in use grows in here at most; None where that is not known.

    On the host that is the process's resident memory, read as Linux tells it.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
        gc.collect()
        torch.cuda.empty_cache()
        return
    status = Path("/proc/self/status")
    resident = _kilobytes(status, "VmRSS") if device.type == "cpu" else None
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is in use now
    except OSError:
        resident = None

    def growth() -> int | None:
        peak = _kilobytes(status, "VmHWM")
        return None if resident is None or peak is None else peak - resident

    yield growth


def _kilobytes(path: Path, key: str) -> int | None:
    """The bytes that «KEY: 123 kB» in a file of Linux's /proc says."""
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such limit, or «max»
        return None
