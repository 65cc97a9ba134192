"""The small parts the model is made of. Attribute names are those of the published state dicts."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call


def inverse_sigmoid(x: Float[Tensor, "*b"], eps: float = 1e-5) -> Float[Tensor, "*b"]:
    """log(x / (1 - x)) of `x` clipped to [0, 1], both parts of the ratio being at least `eps`."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with constant statistics, scale and bias: they are buffers and never change."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        state_dict.pop(f"{prefix}num_batches_tracked", None)  # of the live norm the weights were trained with
        super()._load_from_state_dict(state_dict, prefix, *args)


class Affine(nn.Module):
    """A learnable scale and bias for the whole map (LAB, "learnable affine block")."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        # In the precision of the map: under autocast all that follows would be float32 otherwise.
        return x * self.scale.to(x.dtype) + self.bias.to(x.dtype)

    def can_join(self, x: Tensor) -> bool:
        """Whether `joined` is right for this map, and pays: it looks at a weight, which a GPU waits for."""
        return x.device.type == "cpu" and not torch.compiler.is_compiling() and self.scale.item() > 0

    def joined(
        self, norm: nn.BatchNorm2d | FrozenBatchNorm, x: Float[Tensor, "B D H W"]
    ) -> Float[Tensor, "B D H W"]:
        """`self(relu(norm(x)))` for a positive scale, in fewer passes over the map and a third less memory.

        s · relu(z) is relu(s · z), so the norm scales.
        """
        scaled = {"weight": norm.weight * self.scale, "bias": norm.bias * self.scale}
        return _ReluPlus.apply(functional_call(norm, scaled, x), self.bias)  # type: ignore[no-any-return, no-untyped-call]


class _ReluPlus(torch.autograd.Function):
    """max(x, 0) + bias in place of `x`. Its gradient needs the result alone, which the next part keeps too.

    Where x is positive but lost in adding it to the bias, its gradient is 0.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        ctx.low = bias.to(x.dtype).item()
        out = x.relu_().add_(ctx.low)
        ctx.mark_dirty(x)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (out,) = ctx.saved_tensors
        # That of a part of a map lies in pieces, which bfloat16 is read from number by number.
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        passed = torch.ops.aten.threshold_backward(gradient, out, ctx.low)
        return passed, gradient.sum(dtype=torch.promote_types(gradient.dtype, torch.float32)).reshape(1)


class Convolution(nn.Conv2d):
    """A convolution without bias; odd kernels keep the size (over the stride)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False
        )

    def forward(self, input: Float[Tensor, "B D H W"]) -> Float[Tensor, "B E h w"]:
        """In training under autocast on a CPU, a depthwise one computes in float32 all the same.

        Its gradients in bfloat16 took 3 to 14 times as long (torch 2.13).
        """
        if not (self.groups > 1 and self.training and torch.is_autocast_enabled("cpu") and input.is_cpu):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(torch.get_autocast_dtype("cpu"))


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation; odd kernels keep the size (over the stride)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[[], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        self.conv = Convolution(in_channels, out_channels, kernel, stride, groups)
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = activation()

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B E h w"]:
        return self.act(self.norm(self.conv(x)))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Linear layers of the widths given, ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b m"]:
        *inner, last = self.layers
        for layer in inner:
            x = F.relu(layer(x))
        return last(x)  # type: ignore[no-any-return]
