"""How large a model is: parameters and floating-point operations."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgewise.model.dfine import DFine
from edgewise.model.encoder import RepVGG
from edgewise.model.layers import ConvNorm


def parameter_count(module: nn.Module) -> int:
    """All parameters, frozen ones among them, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def published_deploy_parameter_count(model: DFine) -> int:
    """Parameters of the training form `model` after the authors' conversion: the number papers quote.

    Their conversion folds the norms of the neck only, merges RepVGG branches, and drops the scores of all
    layers but the last. `model.fused()` is smaller still.
    """
    saved = 0
    for name, module in model.encoder.named_modules():
        if isinstance(module, RepVGG):  # a 1x1 convolution and one of two biases go with it
            saved += module.conv2.conv.weight.numel() + module.conv2.norm.num_features
        if isinstance(module, ConvNorm) and "input_proj" not in name:
            saved += module.norm.num_features
    decoder = model.decoder
    for heads in (decoder.dec_score_head, decoder.decoder.lqe_layers):
        saved += sum(parameter_count(head) for head in heads[:-1])
    return parameter_count(model) - saved


def flops(model: DFine, size: tuple[int, int]) -> float:
    """GFLOPs (10⁹, a multiply-add counting as two) of one image of `size` in evaluation.

    Matrix products, convolutions and attention are counted, by torch's own counter; nothing is computed.
    """
    abstract = copy.deepcopy(model).to("meta").eval()
    images = torch.empty(1, 3, *size, dtype=next(abstract.parameters()).dtype, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        abstract(images)
    return float(counter.get_total_flops()) / 1e9
