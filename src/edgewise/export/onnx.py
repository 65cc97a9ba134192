"""ONNX: the graph to a file, and what its parts say in ONNX Runtime."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.export import Dim

from edgewise.artifact import IMAGES, KEY, Artifact
from edgewise.export.graph import Graph, inference_form
from edgewise.export.int8 import Feeds, between
from edgewise.extras import require
from edgewise.model import DFine
from edgewise.runtime.engines import Arrays, OnnxEngine
from edgewise.sizes import STRIDE

OPSET = 18  # the first with an antialiased Resize; GridSample of 20 is wrong in TensorRT
PACKAGES = dict.fromkeys(("onnx", "onnxscript", "onnxslim", "onnxruntime"), "export")
LAST_OPSET = 20  # of those that were tried
LARGEST = 4096  # sides of a dynamic size


def write(model: DFine, artifact: Artifact, path: Path) -> None:
    """Writes the model as the artifact that is described; any batch, and what else that says is dynamic.

    Tensors inside are named after the modules that make them, so that they can be compared (`steps`).
    """
    onnx, slim = require("onnx", "export"), require("onnxslim", "export").slim
    graph = Graph(inference_form(model, artifact), artifact).eval()
    inputs, shapes = example(artifact)
    with torch.no_grad():
        names = list(graph(*inputs))
    with _quiet():
        program = torch.onnx.export(
            graph,
            inputs,
            dynamo=True,
            opset_version=int(artifact.versions["opset"]),
            input_names=artifact.inputs,
            output_names=names,
            dynamic_shapes=shapes,
            optimize=True,  # before onnxslim, which by itself leaves an invalid Resize
            verbose=False,
        )
        assert program is not None
        proto = slim(program.model_proto)
    outputs = {one.name: one for one in proto.graph.output}
    del proto.graph.output[:]
    proto.graph.output.extend(outputs[name] for name in artifact.outputs)
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del part.metadata_props[:]  # stack traces: half of the file, and somebody's paths
    proto.producer_name, proto.producer_version = "edgewise", artifact.versions["edgewise"]
    onnx.helper.set_model_props(proto, {KEY: artifact.to_json()})
    onnx.save(proto, path)


def to_int8(source: Path, artifact: Artifact, path: Path, feeds: Feeds) -> None:
    """Writes `source` with the convolutions of backbone and encoder in int8 (QDQ), for the ranges of `feeds`.

    Weights are symmetric, an own scale each output channel, in seven bits: with eight, products saturate,
    without a word, where the CPU has no VNNI. Activations are asymmetric, in eight. Convolutions alone: with
    sums and concatenations in int8, too, the BCCD detector lost 0.01 AP and was no faster.
    """
    onnx, quantization = require("onnx", "export"), require("onnxruntime.quantization", "export")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    proto = onnx.load(source)
    inside = backbone_and_encoder(proto)
    convolutions = [one.name for one in proto.graph.node if one.op_type == "Conv" and one.name in inside]
    onnx.helper.set_model_props(proto, {"onnx.quant.pre_process": "onnxruntime.quant"})  # else it warns
    with _quiet():
        quantization.quantize_static(
            proto,
            path,
            Reader(),
            nodes_to_quantize=convolutions,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    proto = onnx.load(path)
    proto.producer_name, proto.producer_version = "edgewise", artifact.versions["edgewise"]
    onnx.helper.set_model_props(proto, {KEY: artifact.to_json()})
    onnx.save(proto, path)


def backbone_and_encoder(proto: Any) -> set[str]:
    """The names of a graph's nodes that make the encoder's maps of an image, told by the tensors' names."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    return between(
        {node.name: [makers[one].name for one in node.input if one in makers] for node in proto.graph.node},
        {name: node.name for name, node in makers.items()},
    )


def steps(path: Path, names: list[str], inputs: Arrays) -> dict[str, np.ndarray]:
    """What the tensors of these names are inside a file when it runs; those that it has not are left out."""
    onnx = require("onnx", "export")
    proto = onnx.load(path)
    inside = {name for node in proto.graph.node for name in node.output}
    there = {one.name for one in proto.graph.output}
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name in inside and name not in there
    )
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        onnx.save(proto, copy)
        return OnnxEngine(copy, device="cpu")(inputs)


def example(artifact: Artifact) -> tuple[tuple[torch.Tensor, ...], tuple[dict[int, Any], ...]]:
    """Inputs to trace with, and which of their dimensions are free."""
    (height, width), batch = artifact.size, Dim("batch", min=1, max=1024)
    if artifact.resize_inside:
        sides = (Dim("height", min=2, max=1 << 15), Dim("width", min=2, max=1 << 15))
        images = torch.zeros(2, height + 3, width + 5, 3, dtype=torch.uint8)
        free: dict[int, Any] = {0: batch, 1: sides[0], 2: sides[1]}
    else:
        images, free = torch.rand(2, 3, height, width), {0: batch}
    if artifact.dynamic_size:
        most = LARGEST // STRIDE
        free |= {
            i + 2: STRIDE * Dim(f"{name}_32", min=2, max=most) for i, name in enumerate(("height", "width"))
        }
    by_name = {IMAGES: (images, free)}
    sizes = torch.tensor([[height, width]] * 2)
    pairs = [by_name.get(name, (sizes, {0: batch})) for name in artifact.inputs]
    return tuple(one for one, _ in pairs), tuple(one for _, one in pairs)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own workings, and logs that torchvision is not there."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
