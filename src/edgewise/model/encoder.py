"""The hybrid encoder: attention within the coarsest map, then fusion across maps, both ways."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from edgewise.caching import cached_constant
from edgewise.config import EncoderConfig
from edgewise.model.attention import SelfAttention
from edgewise.model.layers import ConvNorm
from edgewise.model.recompute import run


@cached_constant
def position_code(
    size: tuple[int, int], dim: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "1 T D"]:
    """[sin(yω), cos(yω), sin(xω), cos(xω)] of each cell (y, x) of a map, row by row; ω = 10000^(-4k/D).

    They are float32 numbers in every `dtype`, like the published ones.
    """
    frequency = 1 / 10000 ** (torch.arange(dim // 4, device="cpu") / (dim // 4))
    places = torch.meshgrid(*(torch.arange(side, device="cpu") for side in size), indexing="ij")  # y, x
    angles = [place.flatten()[:, None] * frequency for place in places]
    code = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)
    return code[None].to(device, dtype)


class EncoderLayer(nn.Module):
    """A post-norm transformer layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.dim, config.num_heads)
        self.linear1 = nn.Linear(config.dim, config.ffn_dim)
        self.linear2 = nn.Linear(config.ffn_dim, config.dim)
        self.norm1 = nn.LayerNorm(config.dim)
        self.norm2 = nn.LayerNorm(config.dim)

    def forward(self, x: Float[Tensor, "B T D"], position: Float[Tensor, "1 T D"]) -> Float[Tensor, "B T D"]:
        x = self.norm1(x + self.self_attn(x, position))
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))  # type: ignore[no-any-return]


class MapAttention(nn.Module):
    """Every cell of a map attends to every other (AIFI), position code included."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([EncoderLayer(config)])

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        size = (x.shape[2], x.shape[3])
        tokens: Tensor = x.flatten(2).transpose(1, 2)
        position = position_code(size, x.shape[1], x.dtype, x.device)
        for layer in self.layers:
            tokens = layer(tokens, position)
        return tokens.transpose(1, 2).unflatten(2, size)  # type: ignore[no-any-return]


class RepVGG(nn.Module):
    """A 3x3 and a 1x1 convolution side by side: one 3x3 convolution once the norms are folded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 3)
        self.conv2 = ConvNorm(channels, channels, 1)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        return F.silu(self.conv1(x) + self.conv2(x))


class CSP(nn.Module):
    """A chain of RepVGG blocks beside a 1x1 convolution."""

    def __init__(self, in_channels: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, channels, 1, activation=nn.SiLU)
        self.conv2 = ConvNorm(in_channels, channels, 1, activation=nn.SiLU)
        self.bottlenecks = nn.Sequential(*(RepVGG(channels) for _ in range(blocks)))

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B E H W"]:
        return self.bottlenecks(self.conv1(x)) + self.conv2(x)  # type: ignore[no-any-return]


class Fusion(nn.Module):
    """Two maps of one size, concatenated, to one (RepNCSPELAN4)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim, inner, blocks = config.dim, config.fusion_dim, config.fusion_blocks
        self.cv1 = ConvNorm(2 * dim, 2 * dim, 1, activation=nn.SiLU)
        self.cv2 = nn.Sequential(CSP(dim, inner, blocks), ConvNorm(inner, inner, 3, activation=nn.SiLU))
        self.cv3 = nn.Sequential(CSP(inner, inner, blocks), ConvNorm(inner, inner, 3, activation=nn.SiLU))
        self.cv4 = ConvNorm(2 * dim + 2 * inner, dim, 1, activation=nn.SiLU)

    def forward(self, x: Float[Tensor, "B E H W"]) -> Float[Tensor, "B D H W"]:
        kept, second = self.cv1(x).chunk(2, 1)
        third = self.cv2(second)
        return self.cv4(torch.cat([kept, second, third, self.cv3(third)], 1))  # type: ignore[no-any-return]


class Downsample(nn.Module):
    """Half the size: 1x1 across channels, then a depthwise convolution of stride 2 (SCDown)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = ConvNorm(channels, channels, 1)
        self.cv2 = ConvNorm(channels, channels, 3, stride=2, groups=channels)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D h w"]:
        return self.cv2(self.cv1(x))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """The backbone's maps to as many maps of `config.dim` channels, fine to coarse, each seeing all."""

    recompute = False  # attention and fusions

    def __init__(self, config: EncoderConfig, in_channels: tuple[int, ...]) -> None:
        super().__init__()
        steps = range(len(in_channels) - 1)
        self.input_proj = nn.ModuleList(ConvNorm(channels, config.dim, 1) for channels in in_channels)
        self.encoder = nn.ModuleList([MapAttention(config)])
        self.lateral_convs = nn.ModuleList(ConvNorm(config.dim, config.dim, 1) for _ in steps)
        self.fpn_blocks = nn.ModuleList(Fusion(config) for _ in steps)
        self.downsample_convs = nn.ModuleList(nn.Sequential(Downsample(config.dim)) for _ in steps)
        self.pan_blocks = nn.ModuleList(Fusion(config) for _ in steps)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        *lower, deep = (project(x) for project, x in zip(self.input_proj, maps, strict=True))
        deep = run(self.encoder[0], deep, recompute=self.recompute)
        inner = []  # coarse to fine
        for lateral, fuse, x in zip(self.lateral_convs, self.fpn_blocks, reversed(lower), strict=True):
            inner.append(lateral(deep))
            both = torch.cat([F.interpolate(inner[-1], scale_factor=2.0), x], 1)
            deep = run(fuse, both, recompute=self.recompute)
        out = [deep]
        for down, fuse, x in zip(self.downsample_convs, self.pan_blocks, reversed(inner), strict=True):
            both = torch.cat([down(out[-1]), x], 1)
            out.append(run(fuse, both, recompute=self.recompute))
        return out
