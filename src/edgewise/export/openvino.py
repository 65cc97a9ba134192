"""OpenVINO: the ONNX graph as IR, in single or half precision, and what its parts say."""

from pathlib import Path

import numpy as np

from edgewise.artifact import KEY, Artifact
from edgewise.export import onnx
from edgewise.extras import require
from edgewise.model import DFine
from edgewise.runtime.engines import Arrays, openvino_core

PACKAGES = onnx.PACKAGES | {"openvino": "openvino"}


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
