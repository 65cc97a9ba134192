"""TensorRT 10 or 11: the ONNX graph as an engine for one kind of GPU, in single or mixed precision.

Where TensorRT or a GPU is missing, `write` says what it would do. Only documented calls are used.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewise.artifact import IMAGES, SIZES, Artifact, Precision
from edgewise.export import onnx
from edgewise.export.compare import TOLERANCES, Tolerance
from edgewise.extras import MissingExtra, require
from edgewise.model import DFine
from edgewise.runtime.engines import HEADER, cuda_runtime
from edgewise.sizes import STRIDE

BATCH = 8  # the most that an engine takes at once: what predictor and proof feed by default
GROWTH = 2  # a dynamic size goes up to so many times the model's own
NORMS = ("LayerNormalization",)
HALF = replace(TOLERANCES["fp16"], box_px=6.0, box_px_999=2.0)
"""For maps that are rounded, too: of the BCCD detector, in ONNX Runtime, by 4.6 px, 99.9 % by 1.7 px."""

Tolerances: Mapping[Precision, Tolerance] = TOLERANCES | {"fp16": HALF}


def refuse(artifact: Artifact) -> None:
    """ValueError for what is not built, with the reason."""
    if artifact.sampler != "gather":
        raise ValueError(
            "sampler 'native': TensorRT has computed GridSample wrongly in several versions, without a word; "
            "use gather, the default"
        )
    if artifact.resize_inside:
        raise ValueError(
            "resize_inside: an engine is built for a range of sizes, and photos have any; resize outside, as "
            "Detector.predict does"
        )


def write(model: DFine, artifact: Artifact, path: Path) -> None:
    """Writes the model as an engine for the GPU of this computer, after a line with its metadata.

    Without TensorRT, ModelOpt or a GPU, MissingExtra or ValueError says what is missing, and what would have
    been done.
    """
    source = path.with_suffix(".onnx")
    onnx.write(model, artifact, source)
    try:
        autocast = require("modelopt.onnx.autocast", "fp16") if artifact.precision == "fp16" else None
        trt = require("tensorrt", "tensorrt")
        cuda_runtime()
    except (MissingExtra, ValueError) as error:
        raise type(error)(f"{error}. {outlook(source, artifact)}") from None
    if autocast is not None:
        to_half(source, autocast)
    plan = build(trt, source, artifact)
    artifact = replace(artifact, versions=artifact.versions | {"tensorrt": trt.__version__})
    path.write_bytes(HEADER + artifact.to_json().encode() + b"\n" + plan)
    source.unlink()


def kept(proto: Any) -> list[str]:
    """The nodes of a graph that stay in fp32: norms, and all but what makes the encoder's maps.

    So queries, coordinates, the distributions of edges, their sums over layers and the heads are in fp32.
    """
    maps = onnx.backbone_and_encoder(proto)
    return [node.name for node in proto.graph.node if node.name not in maps or node.op_type in NORMS]


def to_half(source: Path, autocast: Any) -> None:
    """Puts the maps of an ONNX file in fp16, by ModelOpt's AutoCast; its inputs and outputs stay as they are.

    AutoCast may keep more nodes in fp32, whose numbers are too large for fp16.
    """
    proto = require("onnx", "export").load(source)
    half = autocast.convert_to_mixed_precision(
        onnx_path=str(source),
        low_precision_type="fp16",
        nodes_to_exclude=[f"{re.escape(name)}$" for name in kept(proto)],  # patterns, matched from the start
        keep_io_types=True,
    )
    require("onnx", "export").save(half, source)


def build(trt: Any, source: Path, artifact: Artifact) -> bytes:
    """The engine of an ONNX file: types are those of the file, without TF32, which rounds to ten bits."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    # In TensorRT 11 every network is strongly typed, and the flag is taken and ignored.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(source)):
        raise ValueError(
            f"tensorrt {trt.__version__} cannot read the ONNX graph: {parser.get_error(0).desc()}"
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    for name, shapes in profile_shapes(artifact).items():
        profile.set_shape(name, *shapes)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ValueError(f"tensorrt {trt.__version__} could not build the engine; its own message is above")
    return bytes(plan)


def profile_shapes(artifact: Artifact) -> dict[str, tuple[tuple[int, ...], ...]]:
    """For each input the least shape, the one to be fastest at, and the greatest."""
    height, width = least = most = artifact.size
    if artifact.dynamic_size:
        least = (2 * STRIDE, 2 * STRIDE)
        most = (min(GROWTH * height, onnx.LARGEST), min(GROWTH * width, onnx.LARGEST))
    shapes = {
        IMAGES: ((1, 3, *least), (1, 3, height, width), (BATCH, 3, *most)),
        SIZES: ((1, 2), (1, 2), (BATCH, 2)),
    }
    return {name: shapes[name] for name in artifact.inputs}


def outlook(source: Path, artifact: Artifact) -> str:
    """What `write` would do with an ONNX file, were everything there, and the way out."""
    proto = require("onnx", "export").load(source)
    count, kinds = len(proto.graph.node), Counter(node.op_type for node in proto.graph.node)
    stay = len(kept(proto))
    half = (
        f"ModelOpt AutoCast puts {count - stay} nodes of backbone and encoder in fp16; {stay} stay in fp32: "
        "norms, coordinates, the distributions of edges and all else of the decoder"
    )
    shapes = "; ".join(
        f"{name} from {least} to {most}, fastest at {best}"
        for name, (least, best, most) in (
            (name, ["x".join(map(str, one)) for one in row]) for name, row in profile_shapes(artifact).items()
        )
    )
    steps = [
        f"the graph as ONNX, opset {artifact.versions['opset']}: {count} nodes, {kinds['GridSample']} "
        "GridSample",
        half if artifact.precision == "fp16" else f"all {count} nodes stay in fp32",
        f"TensorRT 10 or 11 builds the engine, strongly typed, without TF32: {shapes}",
        "the engine runs on the GPU and is compared with the checkpoint",
    ]
    lines = "\n".join(f"  {number}. {step}" for number, step in enumerate(steps, 1))
    extra = "fp16" if artifact.precision == "fp16" else "export,tensorrt"
    return (
        f"Nothing was written. This would be done:\n{lines}\n"
        f"Do it on a computer with the kind of GPU that the engine is for: pip install 'edgewise[{extra}]', "
        "and export there; or export to onnx, which ONNX Runtime runs on GPUs, too"
    )
