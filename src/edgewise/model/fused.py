"""The arithmetic of the inference form: what is linear in a row becomes one convolution."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from edgewise.model.backbone import ConvUnit
from edgewise.model.encoder import RepVGG
from edgewise.model.layers import Affine, ConvNorm, FrozenBatchNorm


class Clamp(nn.Module):
    """ReLU followed by an affine whose scale and bias went into the convolution before."""

    def __init__(self, low: float | None, high: float | None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        return x.clamp(self.low, self.high)


def fold_norms(module: nn.Module) -> None:
    """Replaces, in place, every norm, affine and pair of parallel convolutions inside `module`."""
    for name, child in module.named_children():
        if isinstance(child, ConvUnit):
            setattr(module, name, _fold_unit(child))
        elif isinstance(child, ConvNorm):
            setattr(module, name, nn.Sequential(fold(child.conv, child.norm), child.act))
        elif isinstance(child, RepVGG):
            setattr(module, name, nn.Sequential(_fold_branches(child), nn.SiLU()))
        else:
            fold_norms(child)


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d | FrozenBatchNorm) -> nn.Conv2d:
    """One convolution with bias that equals `norm(conv(x))` in evaluation; computed in float64."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return _with_bias(
        conv, conv.weight.double() * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    )


def _fold_unit(unit: ConvUnit) -> nn.Sequential:
    """s·relu(x) + b is max(s·x + b, b) for s >= 0 and min(s·x + b, b) otherwise, so the affine goes too."""
    conv = fold(unit.conv, unit.bn)
    if not isinstance(unit.lab, Affine):
        return nn.Sequential(conv, unit.act)
    assert conv.bias is not None
    scale, bias = unit.lab.scale.double(), unit.lab.bias.double()
    conv = _with_bias(conv, conv.weight * scale, conv.bias * scale + bias)
    bound = bias.item()
    return nn.Sequential(conv, Clamp(bound, None) if scale.item() >= 0 else Clamp(None, bound))


def _fold_branches(block: RepVGG) -> nn.Conv2d:
    """A 1x1 convolution is a 3x3 one whose rim is zero, and convolutions of one input add up."""
    wide, narrow = (fold(one.conv, one.norm) for one in (block.conv1, block.conv2))
    assert wide.bias is not None
    assert narrow.bias is not None
    rim = nn.functional.pad(narrow.weight, (1, 1, 1, 1))
    return _with_bias(wide, wide.weight + rim, wide.bias + narrow.bias)


@torch.no_grad()
def _with_bias(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """`conv` with other weights and a bias, in its own precision."""
    new = copy.deepcopy(conv)
    new.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    new.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    return new
