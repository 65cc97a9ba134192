"""The inference form as a CPU, or a GPU, computes it fastest in torch alone."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from edgewise.model.attention import DeformableAttention, Sampler, sample_bags, sample_grid
from edgewise.model.dfine import DFine
from edgewise.model.fused import Clamp
from edgewise.structures import ModelOutput

MOST = torch.finfo(torch.float32).max
HEADS = ("enc_score_head", "enc_bbox_head", "pre_bbox_head", "dec_score_head", "dec_bbox_head", "lqe_layers")
PRECISE = (*HEADS, "query_pos_head", "sampling_offsets")


class PixelForm(nn.Module):
    """A model that looks at pixels and cannot be trained; what computes fastest is said by the forms below.

    In float32 it says what `model` says but for rounding. In bfloat16 or float16 maps and queries have that
    type; what ranks, scores, places and moves edges is computed in float32 (`PRECISE`, and what follows it).
    """

    def __init__(self, model: DFine, dtype: torch.dtype, sample: Sampler) -> None:
        """ValueError for a model that is an inference form already."""
        super().__init__()
        self.dtype = dtype
        self.model = reading_pixels(model)
        for name, parameter in self.model.named_parameters():
            precise = any(part in PRECISE for part in name.split("."))
            parameter.data = parameter.data.to(torch.float32 if precise else dtype)
        self.model.backbone.stem.pool = greatest_of_four
        for module in self.model.modules():
            if isinstance(module, DeformableAttention):
                module.sample = sample

    def forward(self, pixels: UInt8[Tensor, "B H W 3"]) -> ModelOutput:
        """RGB, in inference mode."""
        with torch.inference_mode():
            return self.output(pixels)

    def output(self, pixels: UInt8[Tensor, "B H W 3"]) -> ModelOutput:
        """The same in the mode that there is, as torch.compile wants it.

        What lies pixel by pixel in memory is a map in the channels-last format already.
        """
        return self.model(pixels.permute(0, 3, 1, 2).to(self.dtype))  # type: ignore[no-any-return]


class FastForm(PixelForm):
    """For the CPU: its convolutions and linear layers are oneDNN's, also on one thread.

    There torch by itself takes a slower way. An activation is part of its convolution. torch.compile uses
    these operations too.
    """

    def __init__(self, model: DFine, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model, dtype, sample_bags)
        use_onednn(self.model)


class GpuForm(PixelForm):
    """For a GPU: torch's own operations, which torch.compile fuses with what lies between them.

    Deformable attention reads by `F.grid_sample`, which torch.compile takes apart and joins to the sum over
    points that follows; `embedding_bag`, and the product in `sample_gather`, it leaves as calls. That is to
    be read in its code (torch 2.13); no GPU was asked which is faster.
    """

    def __init__(self, model: DFine, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model, dtype, sample_grid)
        keep_precision(self.model)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def reading_pixels(model: DFine) -> DFine:
    """The inference form on the CPU, of images in [0, 255]: whole numbers are exact in 16 bits too.

    It has the last layer alone, unless the model stops early where it can. ValueError for a model that is an
    inference form already.
    """
    fused = model.fused("all" if model.config.decoder.exit else "last").cpu()
    with torch.no_grad():
        next(fused.backbone.stem.parameters()).div_(255)
    return fused


def greatest_of_four(x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D h w"]:
    """`F.max_pool2d(x, 2, stride=1)`, which notes where they lie too and takes twice as long or more."""
    rows = torch.maximum(x[..., :-1, :], x[..., 1:, :])
    return torch.maximum(rows[..., :-1], rows[..., 1:])


class FastConvolution(nn.Module):
    """A convolution and what is done to each of its numbers, as one operation."""

    def __init__(self, conv: nn.Conv2d, act: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.to(memory_format=torch.channels_last), requires_grad=False)
        self.bias = conv.bias
        self.how = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.act = _pointwise(act)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B E h w"]:
        operation = torch.ops.mkldnn._convolution_pointwise
        return operation(x, self.weight, self.bias, *self.how, *self.act, "")  # type: ignore[no-any-return]


class OwnLinear(nn.Module):
    """A linear layer, in its own precision whatever that of its input is."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b m"]:
        return self.product(x.to(self.weight.dtype))

    def product(self, x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b m"]:
        """In one precision."""
        return F.linear(x, self.weight, self.bias)


class FastLinear(OwnLinear):
    """The same by oneDNN."""

    def product(self, x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b m"]:
        operation = torch.ops.mkldnn._linear_pointwise
        return operation(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]


def keep_precision(module: nn.Module) -> None:
    """Replaces, in place, every linear layer inside a module by one of its own precision."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, OwnLinear(child))
        else:
            keep_precision(child)


def use_onednn(module: nn.Module) -> None:
    """Replaces, in place, every convolution and linear layer inside a module in inference form."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, FastLinear(child))
        elif isinstance(child, nn.Conv2d):
            setattr(module, name, FastConvolution(child, nn.Identity()))
        elif isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[0], nn.Conv2d):
            setattr(module, name, FastConvolution(*child))
        else:
            use_onednn(child)


def _pointwise(act: nn.Module) -> tuple[str, list[float]]:
    """oneDNN's name of an activation, and its limits. TypeError for one that it does not have."""
    match act:
        case nn.Identity():
            return "none", []
        case nn.ReLU():
            return "relu", []
        case nn.SiLU():
            return "swish", []
        case Clamp():
            low, high = act.low, act.high
            return "hardtanh", [-MOST if low is None else low, MOST if high is None else high]
    raise TypeError(f"{type(act).__name__}: not an activation of a convolution here")
