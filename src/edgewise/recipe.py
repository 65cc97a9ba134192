"""Training settings that follow from the data: documented rules, each with its reason in words.

The rules start from the published hyper-parameters of each size (arXiv 2410.13842) and bend them towards
small data sets, as measured (docs/training.md, benchmarks/results).
"""

from dataclasses import dataclass
from math import ceil, floor, log2, sqrt
from typing import Any, Literal

from edgewise.config import DenseConfig, TrainConfig
from edgewise.plain import differences
from edgewise.sizes import STRIDE, check_size

Start = Literal["fresh", "backbone", "scenes", "detector"]
"""Which weights are trained already; scenes: those of a detector that has seen nothing but made-up ones."""

COCO_IMAGES = 118_287
SMALL_SET = 20_000  # images; the published schedule is for larger sets
ONE_SCALE = 0.5  # octaves
UNEXPLAINED = ("seed", "device")  # what nobody wonders about

# Published for custom data from an ImageNet backbone: rate, backbone rate, weight decay, at batch
_RATES = {
    "n": (8e-4, 4e-4, 1e-4, 128),
    "s": (4e-4, 2e-4, 1e-4, 64),
    "m": (2.5e-4, 2.5e-5, 1.25e-4, 32),
    "l": (2.5e-4, 1.25e-5, 1.25e-4, 32),
    "x": (2.5e-4, 2.5e-6, 1.25e-4, 32),
}


@dataclass(frozen=True)
class DataFacts:
    """What the recipe asks of the training images; `data.facts` reads it off a data set.

    images        how many
    boxes         in all
    most_boxes    in one image
    size          (height, width) in pixels, median
    one_shape     nine of ten images have the median's aspect, give or take 5 %
    scale_spread  how much box sides of one class differ: standard deviation in octaves, mean over boxes
    upright       whether there is an up to be seen: boxes lie or measure otherwise above than below
    """

    images: int
    boxes: int
    most_boxes: int
    size: tuple[int, int]
    one_shape: bool
    scale_spread: float
    upright: bool


@dataclass(frozen=True)
class Reason:
    """One sentence a decision for the person who starts a run, and the sections or settings it is `about`."""

    text: str
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Recipe:
    """Complete settings, and the reasons for them."""

    config: TrainConfig
    reasons: tuple[Reason, ...]

    def changed(self, config: TrainConfig, why: str | None = None) -> "Recipe":
        """With other settings: the reasons that still hold, and `why`, else what was given."""
        changes = [
            (key, old, new)
            for key, old, new in differences(self.config.model_dump(), config.model_dump())
            if key not in UNEXPLAINED
        ]
        about = tuple(key for key, _, _ in changes)
        given = "; ".join(f"{key} {_short(new)} in place of {_short(old)}" for key, old, new in changes)
        holding = [one for one in self.reasons if not any(_covers(one.about, key) for key in about)]
        if changes:
            holding.append(Reason(why or f"as given: {given}", about))
        return Recipe(config, tuple(holding))


def _covers(about: tuple[str, ...], key: str) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in about)


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def recommend(
    name: str,
    facts: DataFacts,
    start: Start,
    *,
    side: int = 640,
    size: tuple[int, int] | None = None,
    epochs: int | None = None,
    batch: int | None = None,
) -> Recipe:
    """The recipe for a model of that name (an unknown one trains like n) on data like this.

    `side` bounds the longer side of the input; `size`, `epochs` and `batch` are taken as given, and the rest
    follows from them. Raises ValueError naming what is out of range.
    """
    size, why_size = (check_size(size), "as given") if size else input_size(facts, side)
    epochs, why_epochs = (epochs, "as given") if epochs is not None else _epochs(facts.images, start)
    batch, why_batch = (batch, "as given") if batch is not None else _batch(facts.images, epochs, start)
    base = TrainConfig().updated(
        {"schedule.epochs": epochs, "schedule.plain_epochs": 0, "size": size, "batch": batch}
    )
    epochs, batch = base.schedule.epochs, base.batch  # checked
    per_epoch = max(1, facts.images // batch)
    steps = epochs * per_epoch
    rates, why_rates = _rates(name, batch, start)
    schedule, why_schedule = _schedule(facts.images, epochs, per_epoch)
    augment, why_augment = _augment(facts)
    loss, why_loss = _loss(facts.images)
    rest = {"validate_every": max(1, round(epochs / 50))}
    config = base.updated(rates | schedule | augment | loss | rest)
    queries = f"{facts.boxes / max(1, facts.images):.1f} boxes an image, at most {facts.most_boxes}"
    return Recipe(
        config,
        (
            Reason(f"{facts.images} training images, {queries}; start: {_START[start]}"),
            Reason(f"size {size[0]}x{size[1]} (height x width): {why_size}", ("size",)),
            Reason(f"batch {batch}, {counted(per_epoch, 'step')} an epoch: {why_batch}", ("batch",)),
            Reason(
                f"{counted(epochs, 'epoch')}, {counted(steps, 'step')}: {why_epochs}", ("schedule.epochs",)
            ),
            Reason(
                f"rate {config.optimizer.lr:.2g}, backbone {config.optimizer.backbone_lr:.2g}: {why_rates}",
                ("optimizer.lr", "optimizer.backbone_lr"),
            ),
            Reason(why_schedule, tuple(f"schedule.{name}" for name in _SCHEDULED)),
            Reason(why_augment, ("augment",)),
            Reason(why_loss, ("loss.classification",)),
        ),
    )


def counted(number: int, noun: str) -> str:
    """«1 epoch», «2 epochs»."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


_LEARNING = {"fresh": "a fresh backbone", "scenes": "a backbone that has seen no photograph"}
_SCHEDULED = ("warmup_steps", "plain_epochs", "flat", "final_lr", "ema_decay", "ema_warmup_steps")
_START = {
    "fresh": "fresh weights (dfine-n-scenes is a better start for a small set)",
    "backbone": "a trained backbone",
    "scenes": "dfine-n-scenes, which comes with the package and has seen no photograph",
    "detector": "a trained detector",
}


def input_size(facts: DataFacts, side: int) -> tuple[tuple[int, int], str]:
    """(height, width) of the images' own aspect where they share one, no longer than `side`; and why.

    It has no more pixels than the images, in multiples of 32. Raises ValueError for a side that is none.
    """
    check_size((side, side))
    height, width = facts.size
    long = min(side, ceil(max(height, width) / STRIDE) * STRIDE)
    why = f"the longer side is {'the images’ own' if long < side else f'at most {side}'}"
    if not facts.one_shape:
        return (long, long), f"{why}; the images have several shapes"
    short = max(STRIDE, round(long * min(height, width) / max(height, width) / STRIDE) * STRIDE)
    why += f"; nearly all images have the shape of {height}x{width}"
    return ((short, long) if width >= height else (long, short)), why


def _epochs(images: int, start: Start) -> tuple[int, str]:
    """72 at COCO's size (36 from a detector), more for smaller sets: 107 (53) for 200 images."""
    base = 36 if start == "detector" else 72
    growth = max(1.0, (COCO_IMAGES / max(1, images)) ** (1 / 16))
    return round(base * growth), f"{base} at COCO's size, more on smaller sets"


def _batch(images: int, epochs: int, start: Start) -> tuple[int, str]:
    """The power of two from 4 to 16 that leaves 25 steps an epoch and 2,500 a run (1,250 from a detector)."""
    run = 1250 if start in ("scenes", "detector") else 2500
    fitting = 2 ** floor(log2(max(1, min(images / 25, images * epochs / run))))
    return min(16, max(4, fitting)), (
        f"a power of two from 4 to 16 with 25 steps an epoch and {run:,} a run, if it can be"
    )


def _rates(name: str, batch: int, start: Start) -> tuple[dict[str, Any], str]:
    """The published rates; scaled by √(batch / theirs) where trained weights could be lost."""
    lr, backbone_lr, weight_decay, published = _RATES.get(name, _RATES["n"])
    scale = sqrt(batch / published)
    if start == "detector":
        why = f"the published ones at batch {published}, times √(batch / {published})"
    else:
        scale = max(1.0, scale)
        why = "the published ones, whatever the batch: short runs need them"
    if start in ("fresh", "scenes"):
        backbone_lr, why = lr, f"{why}; {_LEARNING[start]} learns at the full rate"
    return {
        "optimizer.lr": lr * scale,
        "optimizer.backbone_lr": backbone_lr * scale,
        "optimizer.weight_decay": weight_decay,
    }, why


def _schedule(images: int, epochs: int, per_epoch: int) -> tuple[dict[str, Any], str]:
    """Half the run at the full rate and then a cosine, an average over 8 epochs; large sets as published."""
    steps = epochs * per_epoch
    small = images < SMALL_SET
    span = max(10, min(10_000, 8 * per_epoch))
    warmup, plain = min(500, steps // 50), epochs // 9
    settings = {
        "schedule.warmup_steps": warmup,
        "schedule.plain_epochs": plain,
        "schedule.flat": 0.5 if small else 1.0,
        "schedule.ema_decay": 1 - 1 / span,
        "schedule.ema_warmup_steps": min(1000, span),
    }
    shape = "full rate for half the run, then a cosine to zero" if small else "a constant rate"
    begin = f"{counted(warmup, 'step')} of warm-up" if warmup else "no warm-up"
    last = "the last epoch" if plain == 1 else f"the last {plain} epochs"
    return settings, (
        f"schedule: {begin}, {shape}; the average spans {span} steps (8 epochs, at most 10,000)"
        + (f"; {last} without strong augmentation" if plain else "")
    )


def _augment(facts: DataFacts) -> tuple[dict[str, Any], str]:
    """The paper's augmentation; milder in scale where the data have one scale, as under a microscope.

    Where besides nothing tells above from below, as seen from straight above, images are also flipped so.
    """
    spread = f"box sides of a class differ by {facts.scale_spread:.1f} octaves"
    if facts.scale_spread >= ONE_SCALE:
        return {}, f"augmentation: the paper's; {spread}"
    mild = {"augment.zoom_out": 0.0, "augment.crop": 0.4, "augment.multi_scale": 0.15}
    why = f"augmentation: no zoom-out, fewer crops and sizes; {spread}: the camera's distance is fixed"
    if facts.upright:
        return mild, why
    return mild | {"augment.vertical_flip": 0.5}, why + "; flips up and down too: boxes are alike there"


def _loss(images: int) -> tuple[dict[str, Any], str]:
    """The matchability-aware loss, which learns scores sooner; large sets as published."""
    if images >= SMALL_SET:
        return {}, "classification: varifocal, as published"
    return {"loss.classification": "mal"}, "classification: matchability-aware, which learns faster"


# ── variants ───────────────────────────────────────────────────────────────────────────────────────


def deim(config: TrainConfig) -> TrainConfig:
    """The same run by DEIM's recipe (arXiv 2412.04234): dense augmentation and MAL.

    Mosaic and mixup at one half and γ = 1.5 are the best of the paper's tables 4 and 5, copy-blend is
    DEIMv2's (arXiv 2509.20787), the dense epochs are 4 to 29 of 50 strong ones. A constant rate becomes
    theirs, flat for half the run and then a cosine to half of it; one that falls already stays as it is.
    """
    falls = config.schedule.flat < 1
    return config.updated(
        {
            "dense": {"mosaic": 0.5, "mixup": 0.5, "copy_blend": 0.5, "begin": 0.08, "end": 0.58},
            "loss.classification": "mal",
            "loss.mal_gamma": 1.5,
            **({} if falls else {"schedule.flat": 0.5, "schedule.final_lr": 0.5}),
        }
    )


def unaugmented(config: TrainConfig) -> TrainConfig:
    """The same run on images as they are: resized to `config.size` and nothing else."""
    chances = ("photometric", "zoom_out", "crop", "flip", "vertical_flip", "multi_scale")
    return config.updated(
        {f"augment.{name}": 0.0 for name in chances} | {"dense": DenseConfig().model_dump()}
    )
