"""The detector as one function of tensors, with what its parts say on the way."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from edgewise.artifact import OUTPUTS, Artifact
from edgewise.calibration import Calibration, ScoreCalibration
from edgewise.distributions import expected_offset
from edgewise.export.resize import resized
from edgewise.model import DFine
from edgewise.model.attention import SAMPLERS, DeformableAttention

PARTS = re.compile(
    r"backbone\.(stem|stages\.\d+)"
    r"|encoder\.(input_proj|encoder|lateral_convs|fpn_blocks|downsample_convs|pan_blocks)\.\d+"
    r"|decoder\.(input_proj\.\d+|enc_output|enc_score_head|enc_bbox_head|pre_bbox_head)"
    r"|decoder\.(dec_score_head|dec_bbox_head|decoder\.layers|decoder\.lqe_layers)\.\d+"
)
"""The modules whose outputs are compared when a graph drifts."""

PREPROCESSING = "preprocessing"  # [B, 3, h, w], what the model is fed where the graph resizes
PICKS = "decoder.picks"  # [B, Q], the cells that became queries


class Graph(nn.Module):
    """`model` as the graph of an artifact; the model is neither copied nor changed.

    Gives what `artifact.outputs` names, after what the model's parts gave on the way, by name, in order of
    computation. The latter are for comparing (`export.drift`).
    """

    def __init__(self, model: DFine, artifact: Artifact) -> None:
        super().__init__()
        self.model = model
        self.size = artifact.size if artifact.resize_inside else None
        self.finish = Finish(artifact) if artifact.head == "detections" else None

    def forward(
        self, images: Shaped[Tensor, "B _ _ _"], sizes: Int64[Tensor, "B 2"] | None = None
    ) -> dict[str, Tensor]:
        with watched(self.model) as seen:
            if self.size is not None:
                sizes = torch.stack([torch.full((images.shape[0],), side) for side in images.shape[1:3]], 1)
                images = resized(images, self.size)
                seen[PREPROCESSING] = images
            output = self.model(images)
        steps = {}
        for name, tensor in seen.items():
            steps[name] = tensor
            if name == "decoder.enc_score_head":
                steps[PICKS] = output.encoder.index
        last = output.layers[-1]
        raw = (last.logits, last.boxes, last.edge_logits, output.initial.boxes)
        if self.finish is None:
            return steps | dict(zip(OUTPUTS["raw"], raw, strict=True))
        assert sizes is not None
        steps |= {f"decoder.{name}": one for name, one in zip(OUTPUTS["raw"], raw, strict=True)}
        return steps | self.finish(*raw, sizes)  # type: ignore[no-any-return]


class Finish(nn.Module):
    """`edgewise.decode` in torch: top-k, pixels, calibrated error bars and scores."""

    values: Tensor
    outwards: Tensor

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        self.count = artifact.max_detections
        self.register_buffer("values", torch.tensor(artifact.values, dtype=torch.float32))
        self.spread = None if artifact.calibration is None else Spread(artifact.calibration)
        curve = None if artifact.calibration is None else artifact.calibration.score
        self.curve = None if curve is None else Curve(curve)

    def forward(
        self,
        logits: Float[Tensor, "B Q C"],
        boxes: Float[Tensor, "B Q 4"],
        edge_logits: Float[Tensor, "B Q 4 n"],
        initial_boxes: Float[Tensor, "B Q 4"],
        sizes: Int64[Tensor, "B 2"],
    ) -> dict[str, Tensor]:
        classes = logits.shape[2]
        found, best = logits.flatten(1).topk(min(self.count, logits.shape[1] * classes), 1)
        scores = found.sigmoid() if self.curve is None else self.curve(found.sigmoid())
        query = best // classes
        scale = sizes.float().flip(1)[:, None].tile(1, 1, 2)  # [B, 1, 4], pixels a unit of x, y, x, y
        centre, side = _pick(boxes, query).split(2, -1)
        half = side.clamp(min=0) / 2
        boxes_xyxy = torch.cat([centre - half, centre + half], -1) * scale
        edges = _pick(edge_logits.flatten(2), query).unflatten(2, (4, -1))  # [B, K, 4, N+1]
        if self.spread is not None:
            edges = edges / self.spread.temperature[:, None]
        mean = expected_offset(edges, self.values)
        variance = ((self.values - mean[..., None]).square() * edges.softmax(-1)).sum(-1)
        sides = _pick(initial_boxes, query)[..., 2:].clamp(min=0).tile(1, 1, 2) * scale
        std = variance.sqrt() * sides
        if self.spread is not None:
            std = self.spread(std, boxes_xyxy)
        values = (boxes_xyxy, scores, best % classes, std)
        return dict(zip(OUTPUTS["detections"], values, strict=True))


class Spread(nn.Module):
    """`Calibration.spread`."""

    temperature: Tensor
    scale: Tensor
    floor: Tensor

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        for name in ("temperature", "scale", "floor"):
            self.register_buffer(name, torch.tensor(getattr(calibration, name)))

    def forward(self, std: Float[Tensor, "B K 4"], boxes: Float[Tensor, "B K 4"]) -> Float[Tensor, "B K 4"]:
        side = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
        area = side[..., :1] * side[..., 1:]
        return ((self.scale * std).square() + self.floor.square() * area).sqrt()


class Curve(nn.Module):
    """`ScoreCalibration.apply`: a line through points."""

    knots: Tensor
    start: Tensor
    slope: Tensor

    def __init__(self, curve: ScoreCalibration) -> None:
        super().__init__()
        x, y = np.array(curve.scores), np.array(curve.precision)
        rows = {"knots": x[:-1], "start": y[:-1], "slope": np.diff(y) / np.diff(x)}
        for name, row in rows.items():
            self.register_buffer(name, torch.tensor(row, dtype=torch.float32))

    def forward(self, scores: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        place = (scores[..., None] >= self.knots[1:]).sum(-1).flatten()
        knot, start, slope = (
            row.index_select(0, place).view(scores.shape) for row in (self.knots, self.start, self.slope)
        )
        return start + (scores - knot) * slope


@contextmanager
def watched(model: DFine) -> Iterator[dict[str, Tensor]]:
    """What the `PARTS` of a model give in a forward pass in here, by name, in order of computation."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    handles = [
        module.register_forward_hook(keep(name))
        for name, module in model.named_modules()
        if PARTS.fullmatch(name) and not isinstance(module, nn.Identity)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def inference_form(model: DFine, artifact: Artifact) -> DFine:
    """A copy for the graph: norms folded, with the artifact's sampler, on the CPU.

    ValueError for a model that stops early, which a graph cannot.
    """
    if model.decoder.config.exit:
        raise ValueError(
            f"this detector stops early where it can (exit={model.decoder.config.exit:g}), but a graph runs "
            "all its layers; export detector.at(exit=0)"
        )
    fused = model.fused().cpu().float()
    for module in fused.modules():
        if isinstance(module, DeformableAttention):
            module.sample = SAMPLERS["gather" if artifact.sampler == "gather" else "grid_sample"]
    return fused


def _pick(rows: Float[Tensor, "B Q n"], query: Int64[Tensor, "B K"]) -> Float[Tensor, "B K n"]:
    return rows.gather(1, query[..., None].expand(-1, -1, rows.shape[-1]))
