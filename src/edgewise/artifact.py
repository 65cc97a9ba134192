"""What an exported detector says about itself, and what goes in and comes out of it. No torch.

An artifact is a file that one runtime executes: ONNX, OpenVINO's IR and their like. Its metadata hold a JSON
under the key `KEY`, an `Artifact`: all that is needed to use the file, so that no second file has to travel
with it. docs/export.md states the contract for other programs.

In, B images at once:
  images  float32 [B, 3, H, W], RGB in [0, 1], already of the model's size (`edgewise.preprocess`);
          or, with `resize_inside`, uint8 [B, H, W, 3], RGB, of any size, B of one size at a time
  sizes   int64 [B, 2], (height, width) of each original image, which boxes and error bars are measured in;
          only with head "detections" and without `resize_inside`, where `images` tells it

Out, head "detections": all finished, best first, calibration applied; K is `max_detections`, or all there are
  boxes     float32 [B, K, 4], boxes_xyxy in pixels of the original image, not clipped
  scores    float32 [B, K]
  labels    int64 [B, K], indices into `class_names`
  edge_std  float32 [B, K, 4], left, top, right, bottom in pixels: with a `calibration` calibrated, so that
            `margins` times it are the intervals

Out, head "raw": nothing is done after the decoder; `edgewise.decode` does it in numpy
  logits         float32 [B, Q, C], before sigmoid and calibration
  boxes          float32 [B, Q, 4], cxcywh in shares of the image
  edge_logits    float32 [B, Q, 4, N+1]
  initial_boxes  float32 [B, Q, 4], cxcywh in shares of the image
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from edgewise.bins import bin_values
from edgewise.calibration import Calibration
from edgewise.plain import from_plain, versioned
from edgewise.preprocess import Preprocessing
from edgewise.sizes import check_size
from edgewise.thresholds import Thresholds

KEY = "edgewise"  # of the file's metadata; its value is the JSON
VERSION = 1

IMAGES, SIZES = "images", "sizes"
OUTPUTS = {
    "detections": ("boxes", "scores", "labels", "edge_std"),
    "raw": ("logits", "boxes", "edge_logits", "initial_boxes"),
}
"""The names of what comes out, in order, by head."""

Head = Literal["detections", "raw"]
Sampler = Literal["gather", "native"]
Precision = Literal["fp32", "fp16", "int8"]  # of the weights; int8: products of the backbone and encoder, too
Target = Literal["onnx", "openvino", "torch", "aot", "tensorrt"]


@dataclass(frozen=True)
class Bins:
    """The parameters of W(n), as `edgewise.bins.bin_values` takes them."""

    num_bins: int
    a: float
    c: float


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The metadata of an artifact: what it is, how to feed it, what its numbers mean.

    `size` is (height, width) of the model's input: the only one, unless `dynamic_size`, and then the one it
    was trained at. `checkpoint` is the sha256 of the weights and settings it was made from, `versions` that
    of each package that made it, and of the ONNX operators ("opset").
    """

    version: int = VERSION
    target: Target
    precision: Precision = "fp32"
    head: Head
    sampler: Sampler  # "gather": no GridSample in the file
    size: tuple[int, int]
    dynamic_size: bool = False  # takes any multiple of 32
    resize_inside: bool = False  # takes uint8 images of any size
    model: str  # n, s, m, l, x, or the user's own name
    num_queries: int
    max_detections: int = 300  # of head "detections", where there are as many
    bins: Bins
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    thresholds: Thresholds | None = None
    calibration: Calibration | None = None
    checkpoint: str
    versions: dict[str, str]

    def __post_init__(self) -> None:
        check_size(self.size)
        for name in ("num_queries", "max_detections"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        classes, ids = len(self.class_names), self.category_ids
        if not classes or (ids is not None and len(ids) != classes):
            raise ValueError(f"{classes} class_names and category_ids {ids}; expected one of each a class")
        if self.dynamic_size and self.resize_inside:
            raise ValueError(
                "resize_inside brings every image to one size; dynamic_size would change nothing"
            )

    def to_json(self) -> str:
        """The text for a file's metadata; `read_artifact` reads it."""
        return json.dumps(asdict(self))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what goes in, in order."""
        return (IMAGES, SIZES) if self.head == "detections" and not self.resize_inside else (IMAGES,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what comes out, in order."""
        return OUTPUTS[self.head]

    @property
    def values(self) -> Float64[np.ndarray, " n"]:
        """W(n) in sides of the initial box."""
        return bin_values(self.bins.num_bins, self.bins.a, self.bins.c)


def read_artifact(text: str | None, where: str) -> Artifact:
    """The artifact of the text under `KEY` in the metadata of the file `where`; None says that there is none.

    Raises ValueError for a file of another program, of a later version of this one, or one whose text was
    altered.
    """
    if text is None:
        raise ValueError(
            f"{where}: no edgewise metadata, so it says nothing of its classes and its input; expected one "
            "that `edgewise export` wrote"
        )
    artifact = from_plain(Artifact, versioned(text, VERSION, f"{where}: its metadata", "export it"), where)
    if artifact.calibration is not None:
        artifact.calibration.check_seal(where)
    return artifact


def parts(path: Path) -> list[Path]:
    """The files of an artifact, that of its name first: IR keeps weights apart (.bin of .xml)."""
    named = re.fullmatch(r"(.+)\.xml(\.rejected)?", path.name, re.IGNORECASE)
    return [path, path.with_name(f"{named[1]}.bin{named[2] or ''}")] if named else [path]
