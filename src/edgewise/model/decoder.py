"""The decoder: query selection, gated layers, and edges refined as distributions (FDR)."""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from edgewise.caching import cached_constant
from edgewise.config import DecoderConfig
from edgewise.device import at_least_float32
from edgewise.distributions import bin_values, expected_offset, refined_boxes
from edgewise.model.anytime import change
from edgewise.model.attention import DeformableAttention, SelfAttention
from edgewise.model.layers import MLP, ConvNorm, inverse_sigmoid
from edgewise.model.recompute import run
from edgewise.structures import (
    DecoderOutput,
    DenoisingQueries,
    EncoderOutput,
    InitialOutput,
    LayerOutput,
    ModelOutput,
)

PRIOR = -math.log(99)  # bias of class heads: every score begins at 1 %


@cached_constant
def anchors(
    sizes: tuple[tuple[int, int], ...], dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "1 T 4"], Bool[Tensor, "1 T 1"]]:
    """One box a cell of each map, cxcywh before the sigmoid, and whether it lies inside the image.

    Boxes of level l are squares of 0.05 · 2^l. Those within 0.01 of the border are +inf and not valid.
    They are the published float32 numbers in every `dtype`; the detour by float64 rounds the logarithm the
    same on every machine.
    """
    levels = []
    for level, (height, width) in enumerate(sizes):
        places = (torch.arange(side, device="cpu") for side in (height, width))
        y, x = torch.meshgrid(*places, indexing="ij")
        centre = (torch.stack([x, y], -1) + 0.5) / torch.tensor([width, height], device="cpu")
        levels.append(torch.cat([centre, torch.full_like(centre, 0.05 * 2.0**level)], -1).flatten(0, 1))
    boxes = torch.cat(levels)[None]
    valid = ((boxes > 0.01) & (boxes < 0.99)).all(-1, keepdim=True)
    logits = (boxes / (1 - boxes)).double().log().float().masked_fill(~valid, torch.inf)
    return logits.to(device, dtype), valid.to(device)


def denoising_mask(
    groups: int, group_size: int, num_queries: int, device: torch.device | str = "cpu"
) -> Bool[Tensor, "Q Q"]:
    """Who does not see whom: True at [i, j] if query i must not see query j.

    Denoising queries, which come first, see the normal ones and their own group; normal queries see none
    of them, since they would give the answers away.
    """
    group = torch.full((groups * group_size + num_queries,), -1, device=device)
    group[: groups * group_size] = torch.arange(groups, device=device).repeat_interleave(group_size)
    return (group >= 0) & (group != group[:, None])


class Gate(nn.Module):
    """Two weights per channel decide how much of either input passes, in place of a residual sum."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * dim, 2 * dim)
        self.norm = nn.LayerNorm(dim)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, a: Float[Tensor, "B Q D"], b: Float[Tensor, "B Q D"]) -> Float[Tensor, "B Q D"]:
        gate_a, gate_b = self.gate(torch.cat([a, b], -1)).sigmoid().chunk(2, -1)
        return self.norm(gate_a * a + gate_b * b)  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """Queries look at each other, then at the maps around their boxes."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.dim, config.num_heads)
        self.norm1 = nn.LayerNorm(config.dim)
        self.cross_attn = DeformableAttention(config)
        self.gateway = Gate(config.dim)
        self.linear1 = nn.Linear(config.dim, config.ffn_dim)
        self.linear2 = nn.Linear(config.ffn_dim, config.dim)
        self.norm3 = nn.LayerNorm(config.dim)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(
        self,
        content: Float[Tensor, "B Q D"],
        position: Float[Tensor, "B Q D"],
        references: Float[Tensor, "B Q 4"],
        values: Float[Tensor, "BH T d"],
        sizes: tuple[tuple[int, int], ...],
        blocked: Bool[Tensor, "Q Q"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        content = self.norm1(content + self.self_attn(content, position, blocked))
        seen = self.cross_attn(content + position, references, values, sizes)
        content = self.gateway(content, seen)
        content = content + self.linear2(F.relu(self.linear1(content)))
        return self.norm3(content.clamp(-65504, 65504))  # type: ignore[no-any-return]


class QualityEstimator(nn.Module):
    """How sure the edges are, as one number added to all class logits (LQE).

    It reads the largest probabilities of each edge and their mean: a sharp edge is a good one.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.top = config.quality_top
        self.reg_conf = MLP(4 * (self.top + 1), config.quality_dim, 1)
        _zero_last(self.reg_conf)

    def forward(self, edge_logits: Float[Tensor, "B Q 4 n"]) -> Float[Tensor, "B Q 1"]:
        probs = edge_logits.softmax(-1).topk(self.top, -1).values
        shape = torch.cat([probs, probs.mean(-1, keepdim=True)], -1).flatten(2)  # [B, Q, 4 (top + 1)]
        return self.reg_conf(shape.to(next(self.reg_conf.parameters()).dtype))  # type: ignore[no-any-return]


class DecoderLayers(nn.Module):
    """The layers and their quality estimators, under the published names; `Decoder` runs them.

    All layers begin as copies of one.
    """

    def __init__(self, config: DecoderConfig, up: nn.Parameter, reg_scale: nn.Parameter) -> None:
        super().__init__()
        self.up = up
        self.reg_scale = reg_scale
        layer = DecoderLayer(config)
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(config.num_layers))
        self.lqe_layers = nn.ModuleList(QualityEstimator(config) for _ in range(config.num_layers))


class Projection(nn.Module):
    """Linear, then layer norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.proj.weight)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.norm(self.proj(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """The encoder's maps to boxes: picks the best cells as queries and refines them layer by layer."""

    anchors: Tensor
    valid_mask: Tensor
    recompute = False  # layers

    def __init__(
        self, config: DecoderConfig, num_classes: int, in_channels: int, sizes: tuple[tuple[int, int], ...]
    ) -> None:
        """`sizes` are those of the maps at the model's own image size, for the two published buffers."""
        super().__init__()
        dim, layers, edges = config.dim, config.num_layers, 4 * (config.num_bins + 1)
        self.config = config
        self.up = nn.Parameter(torch.tensor([config.a]), requires_grad=False)
        self.reg_scale = nn.Parameter(torch.tensor([1 / config.c]), requires_grad=False)
        own_anchors, own_valid = anchors(sizes, torch.get_default_dtype(), torch.tensor(0.0).device)
        self.register_buffer("anchors", own_anchors.clone())
        self.register_buffer("valid_mask", own_valid.clone())
        self.input_proj = nn.ModuleList(
            nn.Identity() if in_channels == dim else ConvNorm(in_channels, dim, 1) for _ in sizes
        )
        self.decoder = DecoderLayers(config, self.up, self.reg_scale)
        self.denoising_class_embed: nn.Embedding | None = nn.Embedding(
            num_classes + 1, dim, padding_idx=num_classes
        )
        self.query_pos_head = MLP(4, 2 * dim, dim)
        self.enc_output = Projection(dim)
        self.enc_score_head = nn.Linear(dim, num_classes)
        self.enc_bbox_head = MLP(dim, dim, dim, 4)
        self.dec_score_head = nn.ModuleList(nn.Linear(dim, num_classes) for _ in range(layers))
        self.pre_bbox_head = MLP(dim, dim, dim, 4)
        self.dec_bbox_head = nn.ModuleList(MLP(dim, dim, dim, edges) for _ in range(layers))
        self.first_scored = 0  # layers before this one only move edges
        self._initialise()

    def _initialise(self) -> None:
        for layer in self.query_pos_head.layers:
            nn.init.xavier_uniform_(layer.get_parameter("weight"))
        for projection in self.input_proj:
            if isinstance(projection, ConvNorm):
                nn.init.xavier_uniform_(projection.conv.weight)
        for score_head in (self.enc_score_head, *self.dec_score_head):
            nn.init.constant_(score_head.bias, PRIOR)
        for box_head in (self.enc_bbox_head, self.pre_bbox_head, *self.dec_bbox_head):
            _zero_last(box_head)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """What follows from the settings is not loaded: anchors may be those of another image size.

        But `up` and `reg_scale`, where given, must agree with the settings: other bins mean other boxes.
        """
        errors: list[str] = args[-1]
        for name, setting in (("up", "a"), ("reg_scale", "1 / c")):
            own, given = getattr(self, name), state_dict.get(prefix + name)
            if given is not None and not torch.allclose(given.abs().to(own), own):
                errors.append(
                    f"{prefix}{name} is {given.item():g}, but the settings say {setting} = {own.item():g}"
                )
            state_dict[f"{prefix}decoder.{name}"] = own  # published twice
        for name in ("up", "reg_scale", "anchors", "valid_mask"):
            state_dict[prefix + name] = getattr(self, name)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def drop_training_parts(self, keep: int) -> None:
        """Becomes the inference form: outputs of the last `keep` layers, no initial logits, no denoising."""
        self.denoising_class_embed = None
        self.first_scored = self.config.num_layers - keep
        for i in range(self.first_scored):
            self.dec_score_head[i] = nn.Identity()  # keeps the places of those after it
            self.decoder.lqe_layers[i] = nn.Identity()

    def cut(self, layers: int | None, queries: int | None, exit: float | None) -> None:
        """Keeps the first `layers` layers and the `queries` best queries, and stops early by `exit`.

        None leaves things as they are. ValueError for more than there is, and for a form whose early layers
        have no scores.
        """
        if self.first_scored:
            raise ValueError(
                "this inference form has the scores of its last layer alone; cut the model it came from"
            )
        own = self.config
        for name, given, most in (("layers", layers, own.num_layers), ("queries", queries, own.num_queries)):
            if given is not None and not 1 <= given <= most:
                raise ValueError(f"{name}={given}: this model has {most}; expected 1 to {most}")
        asked = {"num_layers": layers, "num_queries": queries, "exit": exit}
        self.config = own.updated({name: value for name, value in asked.items() if value is not None})
        self.dec_score_head = self.dec_score_head[:layers]
        self.dec_bbox_head = self.dec_bbox_head[:layers]
        self.decoder.layers = self.decoder.layers[:layers]
        self.decoder.lqe_layers = self.decoder.lqe_layers[:layers]

    def forward(self, maps: list[Tensor], denoising: DenoisingQueries | None = None) -> ModelOutput:
        """All layers' outputs for the queries, and apart from them for the denoising queries if given."""
        maps = [project(x) for project, x in zip(self.input_proj, maps, strict=True)]
        sizes = tuple((x.shape[2], x.shape[3]) for x in maps)
        memory = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], 1)  # [B, T, D]
        encoder, content, references = self._select(memory, sizes)
        count, blocked = content.shape[1], None
        if denoising is not None:
            if self.denoising_class_embed is None:
                raise ValueError(
                    "denoising queries given to the inference form; give them to the training form"
                )
            content = torch.cat([self.denoising_class_embed(denoising.labels).to(content), content], 1)
            references = torch.cat([denoising.references.to(references), references], 1)
            blocked = denoising_mask(denoising.groups, denoising.group_size, count, content.device)
        refined = self._refine(content, references.sigmoid(), self._values(memory), sizes, blocked)
        own = _queries(refined, -count, None)
        return ModelOutput(
            own.layers, own.initial, encoder, None if denoising is None else _queries(refined, 0, -count)
        )

    def _select(
        self, memory: Float[Tensor, "B T D"], sizes: tuple[tuple[int, int], ...]
    ) -> tuple[EncoderOutput, Float[Tensor, "B Q D"], Float[Tensor, "B Q 4"]]:
        """The best cells, and what the decoder starts from: content and boxes before the sigmoid."""
        precise = torch.float64 if memory.dtype == torch.float64 else torch.float32
        anchor, valid = anchors(sizes, precise, memory.device)
        features = self.enc_output(memory * valid)
        logits = self.enc_score_head(features)
        best = logits.detach().amax(-1).topk(min(self.config.num_queries, logits.shape[1]), 1).indices
        content = _pick(features, best)
        references = self.enc_bbox_head(content) + _pick(anchor.expand(best.shape[0], -1, -1), best)
        encoder = EncoderOutput(at_least_float32(_pick(logits, best)), references.sigmoid(), best)
        return encoder, content.detach(), references.detach()

    def _values(self, memory: Float[Tensor, "B T D"]) -> Float[Tensor, "BH T d"]:
        """What deformable attention reads, made once for all layers."""
        heads: Tensor = at_least_float32(memory).unflatten(2, (self.config.num_heads, -1))
        return heads.transpose(1, 2).flatten(0, 1)

    def _refine(
        self,
        content: Float[Tensor, "B Q D"],
        references: Float[Tensor, "B Q 4"],
        values: Float[Tensor, "BH T d"],
        sizes: tuple[tuple[int, int], ...],
        blocked: Bool[Tensor, "Q Q"] | None,
    ) -> DecoderOutput:
        """Eq. 2 and 3: edges move from the first layer's box by offsets whose logits add up over layers."""
        config = self.config
        bins = bin_values(config.num_bins, config.a, config.c, references.dtype, references.device)
        layers: list[LayerOutput] = []
        initial: InitialOutput | None = None
        before: Tensor | None = None
        edge_logits: Tensor | None = None
        for i, layer in enumerate(self.decoder.layers):
            precise = next(self.query_pos_head.parameters()).dtype
            position = self.query_pos_head(references.to(precise)).clamp(-10, 10).to(content.dtype)
            content = run(
                layer, content, position, references, values, sizes, blocked, recompute=self.recompute
            )
            scores = at_least_float32(self.dec_score_head[i](content)) if i >= self.first_scored else None
            if initial is None:
                boxes = (self.pre_bbox_head(content) + inverse_sigmoid(references)).sigmoid()
                initial = InitialOutput(None if self.denoising_class_embed is None else scores, boxes)
                start = boxes.detach()
            moved = self.dec_bbox_head[i](content if before is None else content + before)
            moved = at_least_float32(moved).unflatten(2, (4, -1))
            edge_logits = moved if edge_logits is None else edge_logits + moved
            boxes = refined_boxes(start, expected_offset(edge_logits, bins))
            if scores is not None:
                quality = self.decoder.lqe_layers[i](edge_logits)
                layers.append(LayerOutput(scores + quality, boxes, edge_logits))
            if self._enough(layers):
                break
            references, before = boxes.detach(), content.detach()
        assert initial is not None
        return DecoderOutput(tuple(layers), initial)

    def _enough(self, layers: list[LayerOutput]) -> bool:
        """Whether the sure edges of all images have settled before the last layer (`config.exit`)."""
        if not self.config.exit or self.training or not 1 < len(layers) < self.config.num_layers:
            return False
        return bool((change(*layers[-2:]) < self.config.exit).all())


def _pick(rows: Float[Tensor, "B T n"], index: Int64[Tensor, "B Q"]) -> Float[Tensor, "B Q n"]:
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))


def _queries(output: DecoderOutput, first: int, last: int | None) -> DecoderOutput:
    """The part of an output that belongs to the queries from `first` up to `last`."""
    initial, part = output.initial, slice(first, last)
    return DecoderOutput(
        tuple(
            LayerOutput(x.logits[:, part], x.boxes[:, part], x.edge_logits[:, part]) for x in output.layers
        ),
        InitialOutput(None if initial.logits is None else initial.logits[:, part], initial.boxes[:, part]),
    )


def _zero_last(mlp: MLP) -> None:
    for parameter in mlp.layers[-1].parameters():
        nn.init.zeros_(parameter)
