"""The inference form as a CPU computes it fastest in torch alone."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from edgewise.model.attention import DeformableAttention, sample_bags
from edgewise.model.dfine import DFine
from edgewise.model.fused import Clamp
from edgewise.structures import ModelOutput

MOST = torch.finfo(torch.float32).max
HEADS = ("enc_score_head", "enc_bbox_head", "pre_bbox_head", "dec_score_head", "dec_bbox_head", "lqe_layers")
PRECISE = (*HEADS, "query_pos_head", "sampling_offsets")


class FastForm(nn.Module):
    """A model for the CPU that looks at pixels; it cannot be trained.

    In float32 it says what `model` says but for rounding. In bfloat16 maps and queries have that type; what
    ranks, scores, places and moves edges is computed in float32 (`PRECISE`, and what follows it).

    Convolutions and linear layers are oneDNN's, also on one thread, where torch by itself takes a slower way;
    an activation is part of its convolution. torch.compile uses these operations too.
    """

    def __init__(self, model: DFine, dtype: torch.dtype = torch.float32) -> None:
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
                module.sample = sample_bags
        use_onednn(self.model)

    def forward(self, pixels: UInt8[Tensor, "B H W 3"]) -> ModelOutput:
        """RGB. What lies pixel by pixel in memory is a map in the channels-last format already."""
        with torch.inference_mode():
            output: ModelOutput = self.model(pixels.permute(0, 3, 1, 2).to(self.dtype))
        return output


def reading_pixels(model: DFine) -> DFine:
    """The inference form on the CPU, of images in [0, 255]: whole numbers are exact in bfloat16 too.

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


class FastLinear(nn.Module):
    """A linear layer, in its own precision whatever that of its input is."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b m"]:
        x = x.to(self.weight.dtype)
        operation = torch.ops.mkldnn._linear_pointwise
        return operation(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]


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
