"""What an artifact will say about itself, and the pictures that prove it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgewise.artifact import Artifact, Bins, Head, Precision, Sampler, Target
from edgewise.checkpoint import Checkpoint
from edgewise.data.scenes import SceneDataset
from edgewise.export import maker, onnx
from edgewise.export.proof import fingerprint, versions
from edgewise.predict.sources import Source, expand, load

if TYPE_CHECKING:
    from edgewise.evaluation.run import AnnotatedImages

PICTURES = 16


def describe(
    checkpoint: Checkpoint,
    *,
    target: Target = "onnx",
    precision: Precision = "fp32",
    head: Head = "detections",
    sampler: Sampler = "gather",
    size: tuple[int, int] | None = None,
    dynamic_size: bool = False,
    resize_inside: bool = False,
    max_detections: int = 300,
    opset: int = onnx.OPSET,
) -> Artifact:
    """The metadata of an artifact of this checkpoint.

    ValueError for what cannot be exported, MissingExtra where a package is missing that it takes.
    """
    make = maker(target, precision)
    if not onnx.OPSET <= opset <= onnx.LAST_OPSET:
        raise ValueError(
            f"opset {opset}: expected {onnx.OPSET} to {onnx.LAST_OPSET}; older ones take norms to pieces, "
            "which overflow in float16"
        )
    operators = {} if target in ("torch", "aot") else {"opset": str(opset)}
    config = checkpoint.config
    decoder = config.decoder
    artifact = Artifact(
        target=target,
        precision=precision,
        head=head,
        sampler=sampler,
        size=size or config.size,
        dynamic_size=dynamic_size,
        resize_inside=resize_inside,
        model=config.name,
        num_queries=decoder.num_queries,
        max_detections=max_detections,
        bins=Bins(decoder.num_bins, decoder.a, decoder.c),
        class_names=checkpoint.class_names,
        category_ids=checkpoint.category_ids,
        thresholds=checkpoint.thresholds,
        calibration=None if checkpoint.calibration is None else checkpoint.calibration.sealed(),
        checkpoint=fingerprint(checkpoint),
        versions=versions(*make.needed(precision)) | operators,
    )
    make.refuse(artifact)
    return artifact


def pictures(
    images: Source | None, dataset: "AnnotatedImages | None", size: tuple[int, int]
) -> Sequence[np.ndarray]:
    """What a proof looks at: the images given, else some of the data set, else painted scenes."""
    if images is not None:
        return [load(image)[0] for image in expand(images)[0]]
    if dataset is None:
        scenes = SceneDataset(PICTURES, seed=0, split="val", size=(size[0] + 48, size[1] + 80))
        return [scenes[i].image for i in range(PICTURES)]
    rows = np.linspace(0, len(dataset) - 1, min(PICTURES, len(dataset))).round().astype(int)
    return [dataset[i].image for i in rows.tolist()]
