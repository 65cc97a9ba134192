"""Every knob on one page: frozen, strict, checked when made, the same for Python, YAML, checkpoint and CLI.

Sizes are (height, width) in pixels. Derived numbers are properties, so no two knobs must agree.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from edgewise.sizes import check_size
from edgewise.spelling import unknown

T = TypeVar("T")
Words = Annotated[tuple[T, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]
"""A list of words; a single one stands for a list of one."""

Probability = Annotated[float, Field(ge=0, le=1)]

S = TypeVar("S", bound="Settings")  # not typing.Self, which checks at run time cannot see


class Settings(BaseModel):
    """Frozen and strict: an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(unknown(str(key), list(cls.model_fields), "key", cls._within_sections()))
        return values

    @classmethod
    def _within_sections(cls) -> list[str]:
        """The dotted names of all settings of the sections."""
        sections = {
            name: field.annotation
            for name, field in cls.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
        }
        return [
            f"{name}.{one}"
            for name, section in sections.items()
            for one in (*section.model_fields, *section._within_sections())
        ]

    def updated(self: S, changes: Mapping[str, Any]) -> S:
        """A checked copy with other values; {"schedule.epochs": 50} reaches into a section.

        Raises ValueError naming the key, what was given and what was expected.
        """
        values = self.model_dump()
        for key, value in changes.items():
            *path, last = key.split(".")
            section: Any = values
            for depth, part in enumerate(path):
                within = ".".join([*path[:depth], ""])
                sections = [f"{within}{name}" for name, one in section.items() if isinstance(one, dict)]
                if f"{within}{part}" not in sections:
                    raise ValueError(f"setting {key}: {unknown(within + part, sections, 'section')}")
                section = section[part]
            section[last] = value
        return parse_settings(type(self), values, "settings")


def read_settings(kind: type[S], path: str | Path) -> S:
    """Settings of `kind` from a YAML file; ValueError names file, key, what was given and expected."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such settings file") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    return parse_settings(kind, values, str(path))


def parse_settings(kind: type[S], values: dict[str, Any], where: str) -> S:
    """Settings of `kind` from plain values; ValueError lists every bad key on a line of its own."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ValueError(
            "\n".join(_line(where, one["loc"], one["msg"], one.get("input")) for one in error.errors())
        ) from None


def _line(where: str, location: tuple[int | str, ...], message: str, given: object) -> str:
    prefix = ".".join(map(str, location))
    if message.startswith("Value error, unknown key "):
        key, hint = message.removeprefix("Value error, unknown key ").split("; ", 1)
        dot = f"{prefix}." if prefix else ""
        return f"{where}: unknown key {dot}{key}; " + hint.replace("did you mean ", f"did you mean {dot}")
    text = ": ".join(part for part in (where, prefix, message.removeprefix("Value error, ")) if part)
    return text if isinstance(given, dict) else f"{text} (given {given!r})"


def write_settings(settings: Settings, path: str | Path) -> None:
    """The settings as YAML, in the order of this page."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, encoding="utf-8")


# ── model ──────────────────────────────────────────────────────────────────────────────────────────


class StageConfig(Settings):
    """One HGNetV2 stage: `blocks` blocks of `layers` layers, `channels` inside, `out_channels` at the end."""

    channels: PositiveInt
    out_channels: PositiveInt
    blocks: PositiveInt
    layers: PositiveInt
    light: bool  # 1x1 then depthwise, instead of one plain convolution
    kernel: PositiveInt


class BackboneConfig(Settings):
    """HGNetV2. Strides of its four stages are 4, 8, 16, 32."""

    stem: tuple[PositiveInt, PositiveInt]  # channels inside and at the end of the stem
    stages: tuple[StageConfig, StageConfig, StageConfig, StageConfig]
    affine: bool  # learnable scale and bias after each activation (LAB)
    returned: tuple[NonNegativeInt, ...] = (1, 2, 3)  # stages handed to the encoder, fine to coarse
    freeze_stem: bool = False
    freeze_norms: bool = False  # batch norms keep the statistics they were loaded with

    @model_validator(mode="after")
    def _ends_with_the_last_stage(self) -> "BackboneConfig":
        if list(self.returned) != list(range(4))[-len(self.returned) :]:
            raise ValueError(f"returned={self.returned}: expected consecutive stages ending with 3")
        return self

    @property
    def out_channels(self) -> tuple[int, ...]:
        return tuple(self.stages[i].out_channels for i in self.returned)

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(4 * 2**i for i in self.returned)


class EncoderConfig(Settings):
    """Hybrid encoder: attention within the coarsest level, then fusion across levels both ways."""

    dim: PositiveInt = 256
    ffn_dim: PositiveInt = 1024
    num_heads: PositiveInt = 8
    expansion: PositiveFloat = 1.0
    depth: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> "EncoderConfig":
        if self.dim % self.num_heads or self.dim % 4:
            raise ValueError(f"dim={self.dim} is not divisible by num_heads={self.num_heads} and by 4")
        return self

    @property
    def fusion_dim(self) -> int:
        """Width of the CSP branches (c4)."""
        return round(self.expansion * self.dim // 2)

    @property
    def fusion_blocks(self) -> int:
        """RepVGG blocks per CSP branch."""
        return round(3 * self.depth)


class DecoderConfig(Settings):
    """Gated decoder that refines each edge's distribution layer by layer."""

    dim: PositiveInt = 256
    ffn_dim: PositiveInt = 1024
    num_heads: PositiveInt = 8
    num_layers: PositiveInt = 6
    num_points: tuple[PositiveInt, ...] = (3, 6, 3)  # sampled per level, fine to coarse
    num_queries: PositiveInt = 300
    num_bins: PositiveInt = 32  # N: a distribution has N + 1 entries
    a: PositiveFloat = 0.5  # W(n): bound of the fine part, the authors' `up`
    c: PositiveFloat = 0.25  # W(n): curvature, 1 / the authors' `reg_scale`
    quality_top: PositiveInt = 4  # largest probabilities per edge read by LQE
    quality_dim: PositiveInt = 64
    sampler: Literal["gather", "grid_sample"] = "grid_sample"
    exit: NonNegativeFloat = 0.0  # no more layers once sure edges change by less, in nats; 0 is off

    @model_validator(mode="after")
    def _consistent(self) -> "DecoderConfig":
        if self.dim % self.num_heads:
            raise ValueError(f"dim={self.dim} is not divisible by num_heads={self.num_heads}")
        if self.num_bins % 2 or self.num_bins < 4:
            raise ValueError(f"num_bins={self.num_bins}: expected an even number of at least 4")
        if self.quality_top > self.num_bins + 1:
            raise ValueError(f"quality_top={self.quality_top}: an edge has {self.num_bins + 1} probabilities")
        return self


class ModelConfig(Settings):
    """A whole detector. `size` is what it was trained at and predicts at unless told otherwise."""

    name: str  # n, s, m, l, x, or the user's own
    num_classes: PositiveInt
    size: tuple[PositiveInt, PositiveInt] = (640, 640)
    backbone: BackboneConfig
    encoder: EncoderConfig
    decoder: DecoderConfig

    @model_validator(mode="after")
    def _fits(self) -> "ModelConfig":
        check_size(self.size)
        levels = len(self.backbone.returned)
        if len(self.decoder.num_points) != levels:
            raise ValueError(
                f"decoder.num_points={self.decoder.num_points}: expected one per level, {levels}"
            )
        return self


# ── training ───────────────────────────────────────────────────────────────────────────────────────


class MatchingConfig(Settings):
    """Weights of the matching cost (DETR's Hungarian matching with a focal class cost)."""

    class_cost: NonNegativeFloat = 2.0
    l1_cost: NonNegativeFloat = 5.0
    giou_cost: NonNegativeFloat = 2.0
    alpha: Probability = 0.25
    gamma: NonNegativeFloat = 2.0


class LossConfig(Settings):
    """Weights of the five losses; alpha and gamma are varifocal's, temperature is DDF's T."""

    classification: Literal["vfl", "mal"] = "vfl"  # varifocal, or matchability-aware (DEIM)
    vfl: NonNegativeFloat = 1.0  # of the classification loss, whichever it is
    l1: NonNegativeFloat = 5.0
    giou: NonNegativeFloat = 2.0
    fgl: NonNegativeFloat = 0.15
    ddf: NonNegativeFloat = 1.5
    alpha: Probability = 0.75
    gamma: NonNegativeFloat = 2.0
    mal_gamma: NonNegativeFloat = 1.5
    temperature: PositiveFloat = 5.0
    matching: MatchingConfig = MatchingConfig()


class DenoisingConfig(Settings):
    """Contrastive denoising; `queries` = 0 turns it off."""

    queries: NonNegativeInt = 100
    label_noise: Probability = 0.5  # half of it is the chance that a label is redrawn
    box_noise: NonNegativeFloat = 1.0


class AugmentConfig(Settings):
    """The paper's augmentations, as probabilities; the first three end before `plain_epochs`."""

    photometric: Probability = 0.5  # of each of its parts
    zoom_out: Probability = 0.5
    max_zoom: Annotated[float, Field(ge=1)] = 4.0
    crop: Probability = 0.8
    flip: Probability = 0.5
    vertical_flip: Probability = 0.0  # for images without an up, such as microscopy
    multi_scale: NonNegativeFloat = 0.25  # sizes from (1 - x) to (1 + x) of the base; 0 is off
    base_size_weight: PositiveInt = 4  # how often the base size stands in the list of sizes


class DenseConfig(Settings):
    """Dense one-to-one augmentation (DEIM): more objects an image, as probabilities; all 0 is off.

    It is on from the share `begin` of the strong epochs to the share `end` of them.
    """

    mosaic: Probability = 0.0  # four images on one canvas
    mixup: Probability = 0.0  # two images blended, boxes of both
    copy_blend: Probability = 0.0  # objects of other images blended in
    begin: Probability = 0.05
    end: Probability = 0.5


class OptimizerConfig(Settings):
    """AdamW or, for matrices, Muon; the backbone has its own rate; norms and biases are not decayed."""

    kind: Literal["adamw", "muon"] = "adamw"
    lr: PositiveFloat = 2e-4
    backbone_lr: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 1e-4
    clip_norm: PositiveFloat = 0.1


class ScheduleConfig(Settings):
    """What changes over time. `train.schedule` reads it as a pure function of the step."""

    epochs: PositiveInt = 72
    warmup_steps: NonNegativeInt = 500
    flat: Probability = 1.0  # share of the run at the full rate; 1 is the paper's
    final_lr: Probability = 0.0  # where the cosine after it ends, as a share of the rate
    plain_epochs: NonNegativeInt = 8  # at the end without strong augmentation and multi-scale
    ema_decay: Probability = 0.9999
    ema_warmup_steps: NonNegativeInt = 1000
    patience: NonNegativeInt = 0  # validations without a better one before the run stops; 0: never

    @model_validator(mode="after")
    def _ends_plainly(self) -> "ScheduleConfig":
        if self.plain_epochs > self.epochs:
            raise ValueError(
                f"plain_epochs={self.plain_epochs} is more than epochs={self.epochs}; set fewer of them"
            )
        return self


class DistillConfig(Settings):
    """A better Edgewise checkpoint as a teacher of scores and edge distributions; without `teacher`, off."""

    teacher: str | None = None  # a file or hub name
    weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0


class TrainConfig(Settings):
    """One training run."""

    schedule: ScheduleConfig = ScheduleConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    denoising: DenoisingConfig = DenoisingConfig()
    augment: AugmentConfig = AugmentConfig()
    dense: DenseConfig = DenseConfig()
    distill: DistillConfig = DistillConfig()
    size: tuple[PositiveInt, PositiveInt] = (640, 640)
    batch: PositiveInt = 16  # images an update, over all processes and accumulated steps
    accumulate: PositiveInt = 1  # forward and backward passes an update
    repeat_factor: Probability = 0.0  # images with classes rarer than this share are seen more often
    freeze: Words[Literal["backbone", "encoder", "decoder"]] = ()
    recompute: bool = False  # gradient checkpointing: less memory for a fourth more time
    max_skipped: PositiveInt = 5  # bad steps in a row before the run stops
    loggers: Words[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = ("tensorboard",)
    workers: NonNegativeInt = 2
    validate_every: PositiveInt = 1  # epochs
    seed: NonNegativeInt = 0
    device: str = "auto"  # cuda where there is one, else mps, else cpu
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: on GPUs the best they have

    @model_validator(mode="after")
    def _sized(self) -> "TrainConfig":
        check_size(self.size)
        if len(set(self.freeze)) == 3:
            raise ValueError("freeze names every part; nothing would train")
        return self
