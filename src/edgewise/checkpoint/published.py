"""The authors' `.pth` files: training checkpoints, released weights, flat state dicts, backbones."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from edgewise.checkpoint.contents import fill
from edgewise.config import ModelConfig
from edgewise.presets import SIZES

# What tells the size, and what the shapes do not tell.
STEM = "backbone.stem.stem1.conv.weight"
PROJECTION = "encoder.input_proj.0.conv.weight"
HEAD = "decoder.enc_score_head.bias"
BOUND = "decoder.up"
SCALE = "decoder.reg_scale"
POINTS = "decoder.decoder.layers.0.cross_attn.num_points_scale"
MARKS = (STEM, PROJECTION, HEAD, BOUND, SCALE, POINTS)


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by published name: `ema.module`, else `model`, else the file itself, without `module.`.

    Nothing in the file is executed. ValueError for a file that would need that, that is cut off, that
    holds no tensors by name, or that is the state of a run of ours.
    """
    content = _content(path)
    if isinstance(content, dict) and {"average", "optimizer"} <= set(content):
        raise ValueError(
            f"{path}: the state of a run, from which `edgewise train --resume` goes on; its detectors are "
            f"{path.with_name('best.safetensors')} and {path.with_name('last.safetensors')}"
        )
    state = content
    if isinstance(content, dict):
        average = content.get("ema")
        state = average.get("module") if isinstance(average, dict) else content.get("model", content)
    if not (
        isinstance(state, dict)
        and state
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items())
    ):
        found = (
            f"keys {', '.join(map(str, list(content)[:6]))}" if isinstance(content, dict) else type(content)
        )
        raise ValueError(
            f"{path}: no state dict found, but {found}; "
            "expected tensors by name, or such a dictionary under `model` or `ema.module`"
        )
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def _content(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(4)
    zipped = start == b"PK\x03\x04"
    if start and not zipped and start[:1] != b"\x80":  # a zip file, or a pickle as torch wrote it before
        raise ValueError(
            f"{path}: not a readable PyTorch file (it begins with {start!r}); it is of another kind, such as "
            "a web page saved under this name: expected .safetensors, .pth or .pt"
        )
    if zipped and not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path}: the file is cut off ({path.stat().st_size} bytes); download or copy it again"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path}: refused, because it holds Python objects besides tensors and reading those can run "
            "code; nothing was run. Where you trust its source, save the tensors alone there: "
            'torch.save({"model": model.state_dict()}, path)'
        ) from None
    except Exception as error:  # torch.load raises nearly anything on a damaged file
        raise ValueError(
            f"{path}: not a readable PyTorch file ({type(error).__name__}: {error}); "
            "it is cut off or of another kind: expected .safetensors, .pth or .pt"
        ) from None


def config_of(weights: Mapping[str, Tensor]) -> ModelConfig:
    """Settings of the published size that has these shapes, with the constants stored in the file."""
    for key in (STEM, PROJECTION, HEAD):
        if key not in weights:
            raise ValueError(_stranger(weights, key))
    stem, dim, classes = (len(weights[key]) for key in (STEM, PROJECTION, HEAD))
    for size in SIZES.values():
        config = size(classes)
        if (config.backbone.stem[0], config.encoder.dim) == (stem, dim):
            break
    else:
        raise ValueError(
            f"no published size has {stem} channels in the stem and {dim} in the encoder; expected "
            + ", ".join(
                f"{name}: {s(1).backbone.stem[0]} and {s(1).encoder.dim}" for name, s in SIZES.items()
            )
        )
    changes: dict[str, Any] = {}
    if BOUND in weights:
        changes["decoder.a"] = abs(float(weights[BOUND]))
    if SCALE in weights:
        changes["decoder.c"] = 1 / abs(float(weights[SCALE]))
    if POINTS in weights:
        changes["decoder.num_points"] = points_of(weights[POINTS])
    return config.updated(changes)


def points_of(scale: Float[Tensor, " P"]) -> tuple[int, ...]:
    """Points per level from `num_points_scale`, which holds 1/n once for each of a level's n points."""
    counts = []
    while len(scale):
        share = float(scale[0])
        if not 0.9 / len(scale) < share < 1.1:
            raise ValueError(
                f"{POINTS}: {share:g} is not 1/n for any of the {len(scale)} points that are left"
            )
        counts.append(round(1 / share))
        scale = scale[counts[-1] :]
    return tuple(counts)


def _stranger(weights: Mapping[str, Tensor], key: str) -> str:
    if STEM.removeprefix("backbone.") in weights:
        return "this is a backbone alone; start a training from it with Detector(size, classes, backbone=…)"
    return (
        f"not weights of D-FINE: there is no {key} among {', '.join(list(weights)[:4])} … "
        f"({len(weights)} tensors); expected the published or the transformers names"
    )


def load_backbone(path: str | Path, model: nn.Module) -> None:
    """Copies a published backbone file (`PPHGNetV2_B*_stage1.pth`, flat) into the model's backbone.

    ValueError, before anything is written, lists what does not fit: a file of another backbone.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such backbone file; download PPHGNetV2_B*_stage1.pth first")
    backbone = model.get_submodule("backbone")
    weights = {key.removeprefix("backbone."): tensor for key, tensor in read(path).items()}
    try:
        fill(backbone, weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
