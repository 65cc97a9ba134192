"""OpenVINO: the ONNX graph as IR, in single or half precision or int8, and what its parts say."""

import logging
import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from edgewise.artifact import KEY, Artifact
from edgewise.export import onnx
from edgewise.export.int8 import Feeds, between
from edgewise.extras import require
from edgewise.model import DFine
from edgewise.runtime.engines import Arrays, openvino_core

PACKAGES = onnx.PACKAGES | {"openvino": "openvino"}
CONVOLUTIONS = ("Convolution", "GroupConvolution")
NO_WORK = ("Constant", "Parameter", "Result")


def write(model: DFine, artifact: Artifact, path: Path) -> None:
    """Writes the model as the artifact that is described: `path`, and its weights beside it as .bin.

    precision "fp16" stores weights in half precision; what they are computed with is the engine's affair.
    """
    source = path.with_suffix(".onnx")
    onnx.write(model, artifact, source)
    convert(source, artifact, path)
    source.unlink()


def convert(source: Path, artifact: Artifact, path: Path) -> None:
    """The IR of an ONNX file, with the metadata of `artifact`."""
    openvino = require("openvino", "openvino")
    graph = openvino_core().read_model(source)
    graph.set_rt_info(artifact.to_json(), [KEY])
    openvino.save_model(graph, path, compress_to_fp16=artifact.precision == "fp16")


def to_int8(source: Path, artifact: Artifact, path: Path, feeds: Feeds) -> None:
    """Writes `source` with the convolutions of backbone and encoder in int8, for the ranges of `feeds`.

    Weights are of seven bits, as in `onnx.to_int8`.
    """
    os.environ.setdefault("NNCF_CI", "1")  # else it tells its makers that it was used
    nncf, openvino = require("nncf", "int8"), require("openvino", "openvino")
    nncf.set_log_level(logging.ERROR)
    graph = openvino_core().read_model(source)
    nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
    inside = between(
        {
            name: [one.get_node().get_friendly_name() for one in node.input_values()]
            for name, node in nodes.items()
        },
        {name: own for own, node in nodes.items() for one in node.outputs() for name in one.names},
    )
    left = [
        name
        for name, node in nodes.items()
        if not (name in inside and node.get_type_name() in CONVOLUTIONS)
        and node.get_type_name() not in NO_WORK
    ]
    with redirect_stdout(StringIO()):  # it draws bars there
        done = nncf.quantize(
            graph,
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            ignored_scope=nncf.IgnoredScope(names=left, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )
    openvino.save_model(done, path, compress_to_fp16=False)


def steps(path: Path, names: list[str], inputs: Arrays) -> dict[str, np.ndarray]:
    """What the tensors of these names are inside a file when it runs; those that it has not are left out."""
    graph = openvino_core().read_model(path)
    there = {name for one in graph.outputs for name in one.names}
    inside = {name for node in graph.get_ops() for one in node.outputs() for name in one.names}
    wanted = [name for name in names if name in inside]
    graph.add_outputs([name for name in wanted if name not in there])
    compiled = openvino_core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(dict(inputs))
    return {name: found[name] for name in wanted}
