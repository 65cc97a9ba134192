"""The values that flow through the training half: frozen, checked when they are made.

`Sample`, `Detections` and `Geometry`, which need no torch, are in `sample.py` and `detections.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """The boxes of a batch in one row: labels [N] and boxes_cxcywh [N, 4] in [0, 1], image after image.

    `counts[i]` boxes belong to image i; a zero is an image without objects.
    """

    labels: Int64[Tensor, " N"]
    boxes: Float[Tensor, "N 4"]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if sum(self.counts) != len(self.labels) or len(self.labels) != len(self.boxes):
            raise ValueError(
                f"counts {self.counts} are not of {len(self.labels)} labels and {len(self.boxes)} boxes"
            )

    @classmethod
    def of(cls, labels: Sequence[Tensor], boxes: Sequence[Tensor]) -> "Targets":
        """Targets from one (labels [n], boxes_cxcywh [n, 4]) pair an image."""
        return cls(torch.cat(list(labels)), torch.cat(list(boxes)), tuple(len(one) for one in labels))

    @property
    def image(self) -> Int64[Tensor, " N"]:
        """The image each box belongs to."""
        counts = torch.tensor(self.counts, device=self.labels.device)
        images = torch.arange(len(counts), device=counts.device)
        return torch.repeat_interleave(images, counts, output_size=len(self.labels))

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each image's boxes begin in the row."""
        return tuple(int(n) for n in np.concatenate([[0], np.cumsum(self.counts)[:-1]]))

    def part(self, first: int, last: int) -> "Targets":
        """Those of the images from `first` up to `last`."""
        begin, end = sum(self.counts[:first]), sum(self.counts[:last])
        return Targets(self.labels[begin:end], self.boxes[begin:end], self.counts[first:last])

    def to(self, device: torch.device | str) -> "Targets":
        return Targets(
            self.labels.to(device, non_blocking=True), self.boxes.to(device, non_blocking=True), self.counts
        )


@dataclass(frozen=True)
class Batch:
    """Model input with its targets: images float [B, 3, H, W] in [0, 1]; targets in cxcywh of [0, 1].

    Where a step's images are divided among processes or passes, `first` is the place of this part's first
    image in the whole, which keys its random streams. `paths` are those of the images' files, where known.
    """

    images: Float[Tensor, "B 3 H W"]
    targets: Targets
    image_ids: tuple[int, ...]
    first: int = 0
    paths: tuple[str, ...] = ()

    def passes(self, count: int) -> "list[Batch]":
        """`count` parts of it, as equal as can be, or one for each image if these are fewer."""
        images = len(self.images)
        count = min(count, images)
        cuts = [images * i // count for i in range(count + 1)]
        return [
            Batch(
                self.images[first:last],
                self.targets.part(first, last),
                self.image_ids[first:last],
                self.first + first,
                self.paths[first:last],
            )
            for first, last in pairwise(cuts)
        ]

    @classmethod
    def joined(cls, parts: "Sequence[Batch]") -> "Batch":
        """The whole of consecutive parts."""
        targets = [one.targets for one in parts]
        return cls(
            torch.cat([one.images for one in parts]),
            Targets(
                torch.cat([one.labels for one in targets]),
                torch.cat([one.boxes for one in targets]),
                tuple(chain.from_iterable(one.counts for one in targets)),
            ),
            tuple(chain.from_iterable(one.image_ids for one in parts)),
            parts[0].first,
            tuple(chain.from_iterable(one.paths for one in parts)),
        )

    def to(self, device: torch.device | str) -> "Batch":
        images = self.images.to(device, non_blocking=True)
        return replace(self, images=images, targets=self.targets.to(device))


@dataclass(frozen=True)
class DenoisingQueries:
    """Noised ground truth, put in front of the queries in training (made by `train.denoising`).

    labels [B, T] in 0..C, where C is padding; references [B, T, 4], cxcywh before the sigmoid.
    T = groups · group_size; a group is positives then negatives of M slots each (group_size = 2M), slot
    k of both halves being box k of its image. Only slots k < counts[b] are real.
    """

    labels: Int64[Tensor, "B T"]
    references: Float[Tensor, "B T 4"]
    groups: int
    group_size: int

    def __post_init__(self) -> None:
        if self.groups * self.group_size != self.labels.shape[1]:
            raise ValueError(
                f"{self.groups} groups of {self.group_size} are not {self.labels.shape[1]} queries"
            )

    def to(self, device: torch.device | str) -> "DenoisingQueries":
        return replace(self, labels=self.labels.to(device), references=self.references.to(device))


@dataclass(frozen=True)
class LayerOutput:
    """One decoder layer: logits [B, Q, C], boxes_cxcywh [B, Q, 4], edge_logits [B, Q, 4, N+1].

    edge_logits are accumulated over the layers so far (Eq. 3) and not yet softmaxed; `boxes` follow from
    them and the initial boxes (Eq. 2).
    """

    logits: Float[Tensor, "B Q C"]
    boxes: Float[Tensor, "B Q 4"]
    edge_logits: Float[Tensor, "B Q 4 bins"]


@dataclass(frozen=True)
class InitialOutput:
    """The first layer's plain regression: `boxes` [B, Q, 4] are what every layer refines.

    `logits` [B, Q, C] train the first layer; None in the inference form.
    """

    logits: Float[Tensor, "B Q C"] | None
    boxes: Float[Tensor, "B Q 4"]


@dataclass(frozen=True)
class EncoderOutput:
    """The Q best encoder tokens: logits [B, Q, C], boxes [B, Q, 4], index [B, Q] into the T tokens."""

    logits: Float[Tensor, "B Q C"]
    boxes: Float[Tensor, "B Q 4"]
    index: Int64[Tensor, "B Q"]


@dataclass(frozen=True)
class DecoderOutput:
    """All layers of one kind of query (normal or denoising)."""

    layers: tuple[LayerOutput, ...]
    initial: InitialOutput

    @property
    def logits(self) -> Float[Tensor, "B Q C"]:
        """The last layer's."""
        return self.layers[-1].logits

    @property
    def boxes(self) -> Float[Tensor, "B Q 4"]:
        """The last layer's, cxcywh in [0, 1]; not clamped."""
        return self.layers[-1].boxes


@dataclass(frozen=True)
class ModelOutput(DecoderOutput):
    """What the model returns. `denoising` has the same form for the denoising queries, if any were given."""

    encoder: EncoderOutput
    denoising: DecoderOutput | None = None


@dataclass(frozen=True)
class Matches:
    """(query, target) pairs of a batch in one row: image [M], query [M] of that image, target [M].

    `target` counts within its image; `row` is where it lies in `Targets`.
    """

    image: Int64[Tensor, " M"]
    query: Int64[Tensor, " M"]
    target: Int64[Tensor, " M"]
    row: Int64[Tensor, " M"]

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str) -> "Matches":
        return replace(
            self,
            image=self.image.to(device),
            query=self.query.to(device),
            target=self.target.to(device),
            row=self.row.to(device),
        )
