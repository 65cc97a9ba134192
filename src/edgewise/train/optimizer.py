"""AdamW or Muon, with the paper's groups: a rate for the backbone, no decay on norms and biases."""

from typing import Any

from torch import nn
from torch.optim import AdamW

from edgewise.config import OptimizerConfig
from edgewise.train.muon import Muon

# What meets boxes, classes or scores is no hidden matrix and stays with AdamW (Muon's authors' advice).
ENDS = ("denoising_class_embed", "query_pos_head", "score_head", "bbox_head", "reg_conf")


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """The parameters that train in groups named PART/KIND, PART being `backbone` or `rest`.

    A parameter belongs to the part its name begins with. What has one axis is a bias, a norm or a scale:
    `plain`, without decay; all else is `decayed`, unless Muon moves it: hidden matrices and filters are
    `matrices`, attention's input matrices, three in a parameter, `threes`. A group's `matrices` says how many
    a parameter holds, 0 for AdamW. `initial_lr` is the full rate, `lr` what the schedule makes of it.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "backbone" if name.startswith("backbone.") else "rest"
            groups.setdefault(f"{part}/{_kind(name, parameter, config)}", []).append(parameter)
    return [
        {
            "name": name,
            "params": parameters,
            "lr": (lr := config.backbone_lr if name.startswith("backbone") else config.lr),
            "initial_lr": lr,
            "weight_decay": 0.0 if name.endswith("plain") else config.weight_decay,
            "matrices": {"matrices": 1, "threes": 3}.get(name.split("/")[1], 0),
        }
        for name, parameters in groups.items()
    ]


def _kind(name: str, parameter: nn.Parameter, config: OptimizerConfig) -> str:
    if parameter.ndim < 2:
        return "plain"
    depthwise = parameter.ndim > 2 and parameter.shape[1] == 1
    if config.kind == "adamw" or depthwise or any(end in name for end in ENDS):
        return "decayed"
    return "threes" if name.endswith("in_proj_weight") else "matrices"


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> AdamW:
    """AdamW (β 0.9 and 0.999, ε 1e-8, fused) over `parameter_groups`, or the `Muon` that is one."""
    groups = parameter_groups(model, config)
    return Muon(groups) if config.kind == "muon" else AdamW(groups, fused=True)


def set_rate(optimizer: AdamW, rate: float) -> None:
    """Every group's learning rate becomes `rate` times its full one."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate
