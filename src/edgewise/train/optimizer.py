"""AdamW with the paper's groups as intended: a rate for the backbone, no decay on norms and biases."""

from torch import nn
from torch.optim import AdamW

from edgewise.config import OptimizerConfig


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, object]]:
    """Up to four groups, `backbone` or `rest` by `decayed` or `plain`, of the parameters that train.

    A parameter belongs to the part its name begins with. Matrices and filters decay; what has one axis is
    a bias, a norm or a scale. `initial_lr` is the full rate, `lr` what the schedule makes of it.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "backbone" if name.startswith("backbone.") else "rest"
            kind = "decayed" if parameter.ndim > 1 else "plain"
            groups.setdefault(f"{part}/{kind}", []).append(parameter)
    return [
        {
            "name": name,
            "params": parameters,
            "lr": (lr := config.backbone_lr if name.startswith("backbone") else config.lr),
            "initial_lr": lr,
            "weight_decay": config.weight_decay if name.endswith("decayed") else 0.0,
        }
        for name, parameters in groups.items()
    ]


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> AdamW:
    """AdamW (β 0.9 and 0.999, ε 1e-8) over `parameter_groups`, in its fused form."""
    return AdamW(parameter_groups(model, config), fused=True)


def set_rate(optimizer: AdamW, rate: float) -> None:
    """Every group's learning rate becomes `rate` times its full one."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate
