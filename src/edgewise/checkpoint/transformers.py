"""The folder layout of Hugging Face transformers' `DFineForObjectDetection`, without importing it."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, PositiveInt
from safetensors.torch import save_file
from torch import Tensor

from edgewise.checkpoint.atomic import atomic_write
from edgewise.checkpoint.contents import COUNTER, Checkpoint, build, skeleton
from edgewise.checkpoint.published import MARKS, config_of
from edgewise.config import ModelConfig
from edgewise.sizes import check_size

CONFIG, WEIGHTS, PROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"

# Settings of theirs that change the numbers and that our model has in one form only.
FIXED: dict[str, Any] = {
    "model_type": "d_fine",
    "encoder_layers": 1,
    "encoder_activation_function": "gelu",
    "activation_function": "silu",
    "decoder_activation_function": "relu",
    "normalize_before": False,
    "positional_encoding_temperature": 10000,
    "learn_initial_query": False,
    "eval_idx": -1,
    "layer_scale": 1.0,
    "lqe_layers": 2,
    "decoder_method": "default",
    "decoder_offset_scale": 0.5,
    "layer_norm_eps": 1e-5,
    "batch_norm_eps": 1e-5,
}

PREPROCESSING = {"do_resize": True, "resample": 2, "do_rescale": True, "do_normalize": False}  # 2: bilinear

# Beginnings of published names and of theirs; the first that fits counts.
PREFIXES = (
    (r"backbone\.stem\.", "model.backbone.model.embedder."),
    (r"backbone\.", "model.backbone.model.encoder."),
    (r"(encoder|decoder)\.input_proj\.(\d+)\.conv\.", r"model.\1_input_proj.\2.0."),
    (r"(encoder|decoder)\.input_proj\.(\d+)\.norm\.", r"model.\1_input_proj.\2.1."),
    (r"encoder\.downsample_convs\.(\d+)\.0\.cv", r"model.encoder.downsample_convs.\1.conv"),
    (r"encoder\.", "model.encoder."),
    (r"decoder\.decoder\.", "model.decoder."),
    (r"decoder\.(up|reg_scale|query_pos_head|pre_bbox_head)\b", r"model.decoder.\1"),
    (r"decoder\.dec_score_head\.", "model.decoder.class_embed."),
    (r"decoder\.dec_bbox_head\.", "model.decoder.bbox_embed."),
    (r"decoder\.enc_output\.proj\.", "model.enc_output.0."),
    (r"decoder\.enc_output\.norm\.", "model.enc_output.1."),
    (r"decoder\.", "model."),
)
SEGMENTS = (  # within a name
    (".linear1.", ".fc1."),
    (".linear2.", ".fc2."),
    (".norm1.", ".self_attn_layer_norm."),
    (".norm2.", ".final_layer_norm."),  # the encoder's
    (".norm3.", ".final_layer_norm."),  # the decoder's
    (".cross_attn.", ".encoder_attn."),
    (".cv1.", ".conv1."),
    (".cv2.0.", ".csp_rep1."),
    (".cv2.1.", ".conv2."),
    (".cv3.0.", ".csp_rep2."),
    (".cv3.1.", ".conv3."),
    (".cv4.", ".conv4."),
)
BACKBONE_SEGMENTS = ((".conv.", ".convolution."), (".bn.", ".normalization."))

# Names that modules of version 5 and the shared heads may carry in a file, and those written by all versions.
ALIASES = (
    (r"^model\.encoder\.aifi\.", "model.encoder.encoder."),
    (r"\.self_attn\.o_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.layers\.0\.", ".fc1."),
    (r"\.mlp\.layers\.1\.", ".fc2."),
    (r"^(class|bbox)_embed\.", r"model.decoder.\1_embed."),
)


class Theirs(BaseModel):
    """What is read of their config.json: all that neither the tensors tell nor FIXED holds."""

    id2label: dict[int, str] = {}
    num_queries: PositiveInt = 300
    encoder_attention_heads: PositiveInt = 8
    decoder_attention_heads: PositiveInt = 8

    @property
    def names(self) -> tuple[str, ...] | None:
        """Class names by row; None where they are placeholders."""
        if all(name == f"LABEL_{row}" for row, name in self.id2label.items()):
            return None
        return tuple(self.id2label[row] for row in sorted(self.id2label))


def their_names(key: str) -> tuple[str, ...]:
    """The transformers names of a published one: three for a joint projection of q, k and v, else one."""
    for pattern, prefix in PREFIXES:
        if re.match(pattern, key):
            name = re.sub(f"^{pattern}", prefix, key)
            break
    else:
        raise ValueError(f"{key}: not a published name")
    for ours, theirs in BACKBONE_SEGMENTS if key.startswith("backbone.") else SEGMENTS:
        name = name.replace(ours, theirs)
    if ".in_proj_" in name:
        return tuple(name.replace("in_proj_", f"{part}_proj.") for part in "qkv")
    return (name,)


def published_names(weights: Mapping[str, Tensor], keys: Iterable[str]) -> dict[str, Tensor]:
    """`weights` under those published `keys` that they hold; the others keep their names."""
    rest = {_unaliased(name): tensor for name, tensor in weights.items()}
    found = {}
    for key in keys:
        names = their_names(key)
        if all(name in rest for name in names):
            found[key] = torch.cat([rest[name] for name in names]) if len(names) > 1 else rest[names[0]]
    used = {name for key in found for name in their_names(key)}
    return found | {name: tensor for name, tensor in rest.items() if name not in used}


def _unaliased(name: str) -> str:
    for pattern, plain in ALIASES:
        name = re.sub(pattern, plain, name)
    return name


def is_theirs(weights: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("model.backbone.model.embedder.") for name in weights)


def read(
    weights: Mapping[str, Tensor], folder: Path
) -> tuple[ModelConfig, dict[str, Tensor], tuple[str, ...] | None]:
    """Settings, tensors by published name and class names of weights whose other files lie in `folder`.

    Shapes and stored constants tell the size; `config.json` tells the rest, and the class names unless
    they are placeholders; `preprocessor_config.json`, if there, the size of the images.
    """
    values = _json(folder / CONFIG, FIXED)
    theirs = Theirs.model_validate(values)
    config = config_of(published_names(weights, MARKS)).updated(
        {
            "size": _image_size(folder),
            "encoder.num_heads": theirs.encoder_attention_heads,
            "decoder.num_heads": theirs.decoder_attention_heads,
            "decoder.num_queries": theirs.num_queries,
        }
    )
    return config, published_names(weights, skeleton(config)), theirs.names


def _json(path: Path, fixed: dict[str, Any]) -> dict[str, Any]:
    """The file's values. Raises ValueError where one differs from its only form here, `fixed`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; weights in the transformers layout need it beside them")
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: not a JSON object ({error}); download the folder again") from None
    for key, ours in fixed.items():
        if values.get(key, ours) != ours:
            raise ValueError(
                f"{path.name}: {key} is {values[key]!r}; this package computes with {ours!r} only"
            )
    return values


def _image_size(folder: Path) -> tuple[int, int]:
    if not (folder / PROCESSOR).is_file():
        return 640, 640
    size = _json(folder / PROCESSOR, PREPROCESSING).get("size", {})
    sides = (size.get("height", 640), size.get("width", 640)) if isinstance(size, dict) else (size, size)
    if not all(isinstance(side, int) for side in sides):
        raise ValueError(
            f"{PROCESSOR}: size is {size!r}; expected integers, such as height 640 and width 640"
        )
    return check_size(sides)


def save_transformers(checkpoint: Checkpoint, folder: str | Path) -> None:
    """Writes a folder that `transformers.DFineForObjectDetection.from_pretrained` loads, outputs equal."""
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    for key, tensor in build(checkpoint).state_dict().items():
        if key in ("decoder.anchors", "decoder.valid_mask"):  # made anew for each image size
            continue
        names = their_names(key)
        if not key.endswith(COUNTER):
            tensor = tensor.float()
        parts = tensor.chunk(len(names)) if len(names) > 1 else (tensor,)
        tensors |= {name: part.clone() for name, part in zip(names, parts, strict=True)}
    atomic_write(folder / WEIGHTS, lambda path: save_file(tensors, path, {"format": "pt"}))
    _write_json(folder / CONFIG, _config(checkpoint))
    _write_json(folder / PROCESSOR, _processor(checkpoint.config))


def _write_json(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    config, names = checkpoint.config, checkpoint.class_names
    encoder, decoder, levels = config.encoder, config.decoder, len(config.backbone.returned)
    return FIXED | {
        "architectures": ["DFineForObjectDetection"],
        "dtype": "float32",
        "id2label": dict(enumerate(names)),
        "label2id": {name: row for row, name in enumerate(names)},
        "backbone_config": _backbone(config),
        "freeze_backbone_batch_norms": config.backbone.freeze_norms,
        "num_feature_levels": levels,
        "feat_strides": config.backbone.strides,
        "encoder_in_channels": config.backbone.out_channels,
        "encoder_hidden_dim": encoder.dim,
        "encoder_ffn_dim": encoder.ffn_dim,
        "encoder_attention_heads": encoder.num_heads,
        "encode_proj_layers": [levels - 1],
        "hidden_expansion": encoder.expansion,
        "depth_mult": encoder.depth,
        "d_model": decoder.dim,
        "decoder_in_channels": [encoder.dim] * levels,
        "decoder_ffn_dim": decoder.ffn_dim,
        "decoder_attention_heads": decoder.num_heads,
        "decoder_layers": decoder.num_layers,
        "decoder_n_points": decoder.num_points,
        "num_queries": decoder.num_queries,
        "max_num_bins": decoder.num_bins,
        "up": decoder.a,
        "reg_scale": 1 / decoder.c,
        "top_prob_values": decoder.quality_top,
        "lqe_hidden_dim": decoder.quality_dim,
    }


def _backbone(config: ModelConfig) -> dict[str, Any]:
    backbone, stages = config.backbone, config.backbone.stages
    outer = [stage.out_channels for stage in stages]
    return {
        "model_type": "hgnet_v2",
        "stem_channels": [3, *backbone.stem],
        "stage_in_channels": [backbone.stem[1], *outer[:-1]],
        "stage_mid_channels": [stage.channels for stage in stages],
        "stage_out_channels": outer,
        "hidden_sizes": outer,
        "stage_num_blocks": [stage.blocks for stage in stages],
        "stage_numb_of_layers": [stage.layers for stage in stages],
        "stage_light_block": [stage.light for stage in stages],
        "stage_kernel_size": [stage.kernel for stage in stages],
        "stage_downsample": [False, True, True, True],
        "use_learnable_affine_block": backbone.affine,
        "out_features": [f"stage{i + 1}" for i in backbone.returned],
        "out_indices": [i + 1 for i in backbone.returned],
    }


def _processor(config: ModelConfig) -> dict[str, Any]:
    return PREPROCESSING | {
        "image_processor_type": "RTDetrImageProcessor",
        "size": {"height": config.size[0], "width": config.size[1]},
        "rescale_factor": 1 / 255,
        "do_pad": False,
    }
