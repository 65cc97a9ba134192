"""Exported files small enough to be written by hand: the mean colour of an image, times weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgewise.artifact import KEY, Artifact, Bins
from edgewise.thresholds import Thresholds

QUERIES, BINS = 6, 4
NAMES = ("cat", "dog")
PARTS = {"logits": 2, "boxes": 4, "edge_logits": 4 * (BINS + 1), "initial_boxes": 4}  # numbers a query
WEIGHTS = {
    name: np.random.default_rng(i).normal(0, 2, (3, QUERIES * count)).astype(np.float32)
    for i, (name, count) in enumerate(PARTS.items())
}

RAW = Artifact(
    target="onnx",
    head="raw",
    sampler="gather",
    size=(64, 96),
    model="toy",
    num_queries=QUERIES,
    bins=Bins(BINS, 0.5, 0.25),
    class_names=NAMES,
    category_ids=(7, 3),
    thresholds=Thresholds(split="val", shared=0.5, by_class=(0.6, None), counts=(3, 0)),
    checkpoint="0" * 64,
    versions={"edgewise": "0.1.0"},
)
FINISHED = replace(RAW, head="detections")


def raw_outputs(images: np.ndarray) -> dict[str, np.ndarray]:
    """What the file of `RAW` gives for images float32 [B, 3, H, W], in numpy."""
    means = images.mean((2, 3))
    shapes = {"edge_logits": (4, BINS + 1)}
    found = {
        name: (means @ weight).reshape(len(images), QUERIES, *shapes.get(name, (-1,)))
        for name, weight in WEIGHTS.items()
    }
    return {name: 1 / (1 + np.exp(-one)) if "boxes" in name else one for name, one in found.items()}


def finished_outputs(images: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """What the file of `FINISHED` gives: two boxes that are shares of the image, and scores of its red."""
    scale = np.tile(sizes[:, None, ::-1], (1, 1, 2)).astype(np.float32)
    red = images.mean((2, 3))[:, :1]
    return {
        "boxes": SHARES * scale,
        "scores": np.concatenate([red, red / 2], 1),
        "labels": np.tile(np.array([1, 0]), (len(images), 1)),
        "edge_std": np.broadcast_to(np.float32(0.01) * scale, (len(images), 2, 4)),
    }


SHARES = np.array([[[0.1, 0.2, 0.6, 0.8], [0.5, 0.5, 1.0, 0.9]]], np.float32)


def write(path: Path, artifact: Artifact | None) -> Path:
    """An ONNX file of that description; without one, as of another program."""
    raw = artifact is None or artifact.head == "raw"
    graph = _raw() if raw else _finished()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if artifact is not None:
        helper.set_model_props(model, {KEY: artifact.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_openvino(path: Path, artifact: Artifact) -> Path:
    """The same as OpenVINO's IR."""
    import openvino

    model = openvino.convert_model(write(path.with_suffix(".onnx"), artifact))
    model.set_rt_info(replace(artifact, target="openvino").to_json(), KEY)
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def _raw() -> onnx.GraphProto:
    nodes = [helper.make_node("ReduceMean", ["images", "axes"], ["means"], keepdims=0)]
    constants = [numpy_helper.from_array(np.array([2, 3]), "axes")]
    outputs = []
    for name, weight in WEIGHTS.items():
        shape = [0, QUERIES, 4, BINS + 1] if name == "edge_logits" else [0, QUERIES, PARTS[name]]
        constants += [
            numpy_helper.from_array(weight, f"{name}.weight"),
            numpy_helper.from_array(np.array(shape), f"{name}.shape"),
        ]
        nodes += [
            helper.make_node("MatMul", ["means", f"{name}.weight"], [f"{name}.flat"]),
            helper.make_node("Reshape", [f"{name}.flat", f"{name}.shape"], [f"{name}.open"]),
            helper.make_node("Sigmoid" if "boxes" in name else "Identity", [f"{name}.open"], [name]),
        ]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", *shape[1:]]))
    return helper.make_graph(nodes, "raw", [_images()], outputs, constants)


def _finished() -> onnx.GraphProto:
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in {
            "axes": np.array([2, 3]),
            "turn": np.array([1, 0, 1, 0]),
            "middle": np.array([1]),
            "first": np.array([0]),
            "shares": SHARES,
            "weak": np.array([[1, 0.5]], np.float32),
            "percent": np.array(0.01, np.float32),
            "pairs": np.array([[[1], [1]]], np.float32),
            "own": np.array([[1, 0]]),
        }.items()
    ]
    make = helper.make_node
    nodes = [
        make("Gather", ["sizes", "turn"], ["turned"], axis=1),
        make("Cast", ["turned"], ["sides"], to=TensorProto.FLOAT),
        make("Unsqueeze", ["sides", "middle"], ["scale"]),
        make("Mul", ["scale", "shares"], ["boxes"]),
        make("Mul", ["scale", "percent"], ["std"]),
        make("Mul", ["std", "pairs"], ["edge_std"]),
        make("ReduceMean", ["images", "axes"], ["means"], keepdims=0),
        make("Gather", ["means", "first"], ["red"], axis=1),
        make("Mul", ["red", "weak"], ["scores"]),
        make("Cast", ["scores"], ["whole"], to=TensorProto.INT64),
        make("Sub", ["whole", "whole"], ["zeros"]),
        make("Add", ["zeros", "own"], ["labels"]),
    ]
    kinds = {"boxes": [2, 4], "scores": [2], "labels": [2], "edge_std": [2, 4]}
    outputs = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name == "labels" else TensorProto.FLOAT, ["B", *shape]
        )
        for name, shape in kinds.items()
    ]
    sizes = helper.make_tensor_value_info("sizes", TensorProto.INT64, ["B", 2])
    return helper.make_graph(nodes, "finished", [_images(), sizes], outputs, constants)


def _images() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 3, "H", "W"])


def picture(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    """Noise around a colour of its own."""
    rng = np.random.default_rng(seed)
    return rng.integers(rng.integers(0, 150, 3), 256, (height, width, 3), np.uint8)
