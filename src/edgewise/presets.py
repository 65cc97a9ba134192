"""The five published sizes as functions that return configs, and the backbones they stand on."""

from collections.abc import Callable
from typing import Any

from edgewise.config import BackboneConfig, DecoderConfig, EncoderConfig, ModelConfig, StageConfig
from edgewise.spelling import unknown


def hgnetv2(
    stem: tuple[int, int], widths: list[tuple[int, int]], blocks: list[int], layers: int, **settings: Any
) -> BackboneConfig:
    """Stages 1 and 2 are plain 3x3, stages 3 and 4 light 5x5, in every HGNetV2."""
    stages = [
        StageConfig(
            channels=inner, out_channels=outer, blocks=n, layers=layers, light=i > 1, kernel=5 if i > 1 else 3
        )
        for i, ((inner, outer), n) in enumerate(zip(widths, blocks, strict=True))
    ]
    return BackboneConfig.model_validate({"stem": stem, "stages": stages, **settings})


def b0(**settings: Any) -> BackboneConfig:
    widths = [(16, 64), (32, 256), (64, 512), (128, 1024)]
    return hgnetv2((16, 16), widths, [1, 1, 2, 1], 3, affine=True, **settings)


def b2(**settings: Any) -> BackboneConfig:
    widths = [(32, 96), (64, 384), (128, 768), (256, 1536)]
    return hgnetv2((24, 32), widths, [1, 1, 3, 1], 4, affine=True, **settings)


def b4(**settings: Any) -> BackboneConfig:
    widths = [(48, 128), (96, 512), (192, 1024), (384, 2048)]
    return hgnetv2((32, 48), widths, [1, 1, 3, 1], 6, affine=False, **settings)


def b5(**settings: Any) -> BackboneConfig:
    widths = [(64, 128), (128, 512), (256, 1024), (512, 2048)]
    return hgnetv2((32, 64), widths, [1, 2, 5, 2], 6, affine=False, **settings)


def n(num_classes: int) -> ModelConfig:
    return ModelConfig(
        name="n",
        num_classes=num_classes,
        backbone=b0(returned=(2, 3)),
        encoder=EncoderConfig(dim=128, ffn_dim=512, expansion=0.34, depth=0.5),
        decoder=DecoderConfig(dim=128, ffn_dim=512, num_layers=3, num_points=(6, 6)),
    )


def s(num_classes: int) -> ModelConfig:
    return ModelConfig(
        name="s",
        num_classes=num_classes,
        backbone=b0(),
        encoder=EncoderConfig(expansion=0.5, depth=0.34),
        decoder=DecoderConfig(num_layers=3),
    )


def m(num_classes: int) -> ModelConfig:
    return ModelConfig(
        name="m",
        num_classes=num_classes,
        backbone=b2(),
        encoder=EncoderConfig(depth=0.67),
        decoder=DecoderConfig(num_layers=4),
    )


def l(num_classes: int) -> ModelConfig:  # noqa: E743 - the published name
    return ModelConfig(
        name="l",
        num_classes=num_classes,
        backbone=b4(freeze_stem=True, freeze_norms=True),
        encoder=EncoderConfig(),
        decoder=DecoderConfig(),
    )


def x(num_classes: int) -> ModelConfig:
    return ModelConfig(
        name="x",
        num_classes=num_classes,
        backbone=b5(freeze_stem=True, freeze_norms=True),
        encoder=EncoderConfig(dim=384, ffn_dim=2048),
        decoder=DecoderConfig(c=0.125),
    )


SIZES: dict[str, Callable[[int], ModelConfig]] = {"n": n, "s": s, "m": m, "l": l, "x": x}


def preset(size: str, num_classes: int) -> ModelConfig:
    """The published model of that size. For fresh weights see `trainable`."""
    if size not in SIZES:
        raise ValueError(unknown(size, list(SIZES), "size"))
    return SIZES[size](num_classes)


def trainable(config: ModelConfig) -> ModelConfig:
    """The same model with nothing frozen: what fresh weights need, since frozen noise never learns."""
    return config.updated({"backbone.freeze_stem": False, "backbone.freeze_norms": False})
