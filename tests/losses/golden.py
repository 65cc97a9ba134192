"""The recorded cases of the criterion, as our structures and under our names."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgewise.structures import (
    DecoderOutput,
    DenoisingQueries,
    EncoderOutput,
    InitialOutput,
    LayerOutput,
    ModelOutput,
    Targets,
)

LOSSES = {"vfl": "vfl", "l1": "bbox", "giou": "giou", "fgl": "fgl", "ddf": "ddf"}


def recorded_name(name: str, layers: int) -> str:
    """Our name of a loss as the recorded one: l1/0 is loss_bbox_aux_0.

    >>> [recorded_name(name, 3) for name in ("vfl/2", "l1/0", "giou/initial", "vfl/encoder", "fgl/dn/2")]
    ['loss_vfl', 'loss_bbox_aux_0', 'loss_giou_pre', 'loss_vfl_enc_0', 'loss_fgl_dn_2']
    """
    loss, output = name.split("/", 1)
    suffix = {
        str(layers - 1): "",
        "initial": "_pre",
        "encoder": "_enc_0",
        "dn/initial": "_dn_pre",
        **{str(i): f"_aux_{i}" for i in range(layers - 1)},
        **{f"dn/{i}": f"_dn_{i}" for i in range(layers)},
    }[output]
    return f"loss_{LOSSES[loss]}{suffix}"


def recorded_matches(record: dict[str, Any]) -> list[list[tuple[int, int, int]]]:
    """(image, query, target) of each output, in the order of `Matching.outputs`, then of the union."""
    layers = sorted(key for key in record["match"] if key.startswith("aux."))
    union = record.get("stable", {}).get("go_indices") or record["go_indices"]
    order = [*(record["match"][key] for key in (*layers, "final", "pre", "enc.0")), union]
    return [triples(one) for one in order]


def triples(images: list[list[list[int]]]) -> list[tuple[int, int, int]]:
    return sorted(
        (image, query, target)
        for image, (queries, targets) in enumerate(images)
        for query, target in zip(queries, targets, strict=True)
    )


@dataclass(frozen=True)
class Case:
    """One case of ops/criterion: `inputs` are leaves that gather gradients, by their recorded names.

    The recording gave edge losses other references than the initial boxes, which no model does:
    `output(references=True)` has those in place of the initial boxes.
    """

    name: str
    record: dict[str, Any]
    inputs: dict[str, Tensor]
    gradients: dict[str, np.ndarray]
    targets: Targets

    @property
    def scale(self) -> float:
        """c of W(n)."""
        return 1 / float(self.record["options"].get("reg_scale", 4.0))

    @property
    def losses(self) -> dict[str, float]:
        losses: dict[str, float] = {**self.record["losses"], **self.record["stable"].get("losses", {})}
        return losses

    @property
    def denoising(self) -> DenoisingQueries | None:
        """Only its layout was recorded."""
        if "dn_meta" not in self.record:
            return None
        count, groups = self.record["dn_meta"]["dn_num_split"][0], self.record["dn_meta"]["dn_num_group"]
        size = (len(self.targets.counts), count)
        return DenoisingQueries(
            torch.zeros(size, dtype=torch.int64), torch.zeros(*size, 4), groups, count // groups
        )

    def output(self, references: bool = False) -> ModelOutput:
        x = self.inputs
        normal = DecoderOutput(
            (self._layer("aux.0"), self._layer("final")),
            InitialOutput(x["pre/pred_logits"], x["ref_points" if references else "pre/pred_boxes"]),
        )
        noised = None
        if self.denoising is not None:
            boxes = x["dn.ref_points" if references else "dn_pre/pred_boxes"]
            noised = DecoderOutput(
                (self._layer("dn.0"), self._layer("dn.1")), InitialOutput(x["dn_pre/pred_logits"], boxes)
            )
        index = torch.zeros(x["enc.0/pred_logits"].shape[:2], dtype=torch.int64)
        encoder = EncoderOutput(x["enc.0/pred_logits"], x["enc.0/pred_boxes"], index)
        return ModelOutput(normal.layers, normal.initial, encoder, noised)

    def _layer(self, name: str) -> LayerOutput:
        logits, boxes, corners = (
            self.inputs[f"{name}/pred_{kind}"] for kind in ("logits", "boxes", "corners")
        )
        return LayerOutput(logits, boxes, corners.unflatten(-1, (4, 33)))


def load_case(folder: Path, name: str, dtype: torch.dtype = torch.float32) -> Case:
    record = json.loads((folder / "ops/criterion.json").read_text())[name]
    with np.load(folder / "ops/criterion.npz") as arrays:
        mine = {key.removeprefix(f"{name}/"): arrays[key] for key in arrays if key.startswith(f"{name}/")}
    stable = any(key.startswith("stable/grad/") for key in mine)
    count = len(record["counts"])
    return Case(
        name,
        record,
        {
            key.removeprefix("in/"): torch.from_numpy(value).to(dtype).requires_grad_()
            for key, value in mine.items()
            if key.startswith("in/")
        },
        {
            key.split("grad/")[1]: value
            for key, value in mine.items()
            if key.startswith("stable/grad/" if stable else "grad/")
        },
        Targets.of(
            [torch.from_numpy(mine[f"target.{i}.labels"]) for i in range(count)],
            [torch.from_numpy(mine[f"target.{i}.boxes"]).to(dtype) for i in range(count)],
        ),
    )
