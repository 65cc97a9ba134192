"""HGNetV2, the convolutional backbone."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from edgewise.config import BackboneConfig, StageConfig
from edgewise.model.layers import Affine, Convolution, FrozenBatchNorm
from edgewise.model.recompute import run


class ConvUnit(nn.Module):
    """Convolution, batch norm, then ReLU and a learnable affine where asked for."""

    def __init__(
        self,
        config: BackboneConfig,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activated: bool = True,
    ) -> None:
        super().__init__()
        self.conv = Convolution(in_channels, out_channels, kernel, stride, groups)
        self.bn = FrozenBatchNorm(out_channels) if config.freeze_norms else nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU() if activated else nn.Identity()
        self.lab = Affine() if activated and config.affine else nn.Identity()

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B E h w"]:
        x = self.conv(x)
        if self.training and isinstance(self.lab, Affine) and self.lab.can_join(x):
            return self.lab.joined(self.bn, x)
        return self.lab(self.act(self.bn(x)))  # type: ignore[no-any-return]


class Stem(nn.Module):
    """Images to a quarter of their size, through a convolution branch beside a max-pool branch."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        inner, outer = config.stem
        self.stem1 = ConvUnit(config, 3, inner, 3, stride=2)
        self.stem2a = ConvUnit(config, inner, inner // 2, 2)
        self.stem2b = ConvUnit(config, inner // 2, inner, 2)
        self.stem3 = ConvUnit(config, 2 * inner, inner, 3, stride=2)
        self.stem4 = ConvUnit(config, inner, outer, 1)
        self.pool: Callable[[Tensor], Tensor] = partial(F.max_pool2d, kernel_size=2, stride=1)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        x = F.pad(self.stem1(images), (0, 1, 0, 1))
        convolved = self.stem2b(F.pad(self.stem2a(x), (0, 1, 0, 1)))
        return self.stem4(self.stem3(torch.cat([self.pool(x), convolved], 1)))  # type: ignore[no-any-return]


class LightLayer(nn.Module):
    """1x1 convolution across channels, then a depthwise one."""

    def __init__(self, config: BackboneConfig, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = ConvUnit(config, in_channels, out_channels, 1, activated=False)
        self.conv2 = ConvUnit(config, out_channels, out_channels, kernel, groups=out_channels)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B E H W"]:
        return self.conv2(self.conv1(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A chain of layers whose every step is kept, concatenated and squeezed; `residual` adds the input."""

    def __init__(self, config: BackboneConfig, stage: StageConfig, in_channels: int, residual: bool) -> None:
        super().__init__()
        inner, outer = stage.channels, stage.out_channels
        widths = [in_channels] + [inner] * stage.layers
        self.layers = nn.ModuleList(
            LightLayer(config, width, inner, stage.kernel)
            if stage.light
            else ConvUnit(config, width, inner, stage.kernel)
            for width in widths[:-1]
        )
        self.aggregation = nn.Sequential(
            ConvUnit(config, sum(widths), outer // 2, 1), ConvUnit(config, outer // 2, outer, 1)
        )
        self.residual = residual

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B E H W"]:
        steps = [x]
        for layer in self.layers:
            steps.append(layer(steps[-1]))
        out: Tensor = self.aggregation(torch.cat(steps, 1))
        return out + x if self.residual else out


class Stage(nn.Module):
    """Halves the size (all stages but the first), then runs its blocks."""

    def __init__(self, config: BackboneConfig, stage: StageConfig, in_channels: int, first: bool) -> None:
        super().__init__()
        self.downsample = (
            nn.Identity()
            if first
            else ConvUnit(config, in_channels, in_channels, 3, stride=2, groups=in_channels, activated=False)
        )
        self.blocks = nn.Sequential(
            *(
                Block(config, stage, in_channels if i == 0 else stage.out_channels, residual=i > 0)
                for i in range(stage.blocks)
            )
        )

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B E h w"]:
        return self.blocks(self.downsample(x))  # type: ignore[no-any-return]


class Backbone(nn.Module):
    """Images in [0, 1] to the feature maps of `config.returned`, fine to coarse."""

    recompute = False  # stages

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.returned = config.returned
        self.stem = Stem(config)
        channels = [config.stem[1]] + [stage.out_channels for stage in config.stages]
        self.stages = nn.ModuleList(
            Stage(config, stage, channels[i], first=i == 0) for i, stage in enumerate(config.stages)
        )
        if config.freeze_stem:
            self.stem.requires_grad_(False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        x = self.stem(images)
        maps = [x := run(stage, x, recompute=self.recompute) for stage in self.stages]
        return [maps[i] for i in self.returned]
