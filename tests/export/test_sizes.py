"""Every size with the recorded weights, and the trained BCCD detector, in both heads and samplers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import onnx
import pytest
from onnx import numpy_helper

from edgewise.api import Detector
from edgewise.artifact import Head, Precision, Sampler, Target
from edgewise.classes import COCO
from edgewise.data.open import open_dataset
from edgewise.export import TARGETS, prove
from edgewise.export.compare import TOLERANCES
from edgewise.export.describe import pictures
from edgewise.model import DFine
from tests.export.test_proof import channels, mean, shifted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.usefixtures("unchecked")]

WEIGHTS = Path(__file__).parents[2] / "benchmarks/results/bccd/best.safetensors"
KINDS = [(head, sampler) for head in get_args(Head) for sampler in get_args(Sampler)]
SIZES = ["n", "s", "m", "l", "x"]
Recorded = Callable[[str], DFine]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("head", "sampler"), KINDS)
def test_recorded_weights(
    size: str, head: Head, sampler: Sampler, recorded_model: Recorded, tmp_path: Path
) -> None:
    detector = recorded(recorded_model(size))
    wishes: Any = {"head": head, "sampler": sampler, "size": (256, 320), "dynamic_size": head == "raw"}
    proof = detector.export("onnx", tmp_path / "a.onnx", **wishes)
    assert proof.passed
    assert max(one.box_px for one in proof.checks) <= 0.05


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_recorded_weights_in_openvino(
    size: str, precision: Precision, recorded_model: Recorded, tmp_path: Path
) -> None:
    """In fp16 of images so small that all candidates are queries: there rounding may choose others."""
    small = (192, 256) if size == "n" else (96, 128)
    pixels = (256, 320) if precision == "fp32" else small
    detector = recorded(recorded_model(size))
    proof = detector.export("openvino", tmp_path / "a.xml", precision=precision, size=pixels)
    assert proof.passed
    assert max(one.box_px for one in proof.checks) <= (0.05 if precision == "fp32" else 0.5)


def recorded(model: DFine) -> Detector:
    detector = Detector(model.config, COCO, device="cpu")
    detector.model.load_state_dict(model.state_dict())
    return detector


@pytest.mark.parametrize(("head", "sampler"), KINDS)
@pytest.mark.parametrize("resize_inside", [False, True])
def test_trained(head: Head, sampler: Sampler, resize_inside: bool, shared: Path, tmp_path: Path) -> None:
    wishes = {"head": head, "sampler": sampler, "resize_inside": resize_inside}
    assert abs(lost_ap("onnx", tmp_path / "a.onnx", shared, **wishes)) <= 5e-4


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("head", "sampler"), [("raw", "native"), ("detections", "gather")])
def test_trained_in_openvino(
    precision: Precision, head: Head, sampler: Sampler, shared: Path, tmp_path: Path
) -> None:
    wishes = {"head": head, "sampler": sampler, "precision": precision}
    assert abs(lost_ap("openvino", tmp_path / "a.xml", shared, **wishes)) <= 2e-3


@pytest.mark.parametrize(("target", "head"), [("onnx", "raw"), ("openvino", "detections")])
def test_trained_in_int8(target: Target, head: Head, shared: Path, tmp_path: Path) -> None:
    path = tmp_path / f"a{TARGETS[target].suffix}"
    assert lost_ap(target, path, shared, head=head, precision="int8") <= 5e-3


def twice_its_scale(graph: onnx.GraphProto) -> None:
    """The weights of one convolution of the second stage."""
    place = next(i for i, node in enumerate(graph.node) if "backbone.stages.1" in node.output)
    conv = [node for node in graph.node[:place] if node.op_type == "Conv"][-1]
    weight = next(node for node in graph.node if conv.input[1] in node.output)
    scale = next(one for one in graph.initializer if one.name == weight.input[1])
    scale.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(scale), scale.name))


def test_saboteurs_of_a_trained_int8_are_caught(shared: Path, tmp_path: Path) -> None:
    """By the shift, the distance or the share of what the checkpoint is sure of, without AP."""
    assert lost_ap("onnx", tmp_path / "a.onnx", shared, precision="int8") <= 5e-3
    detector = Detector.from_pretrained(WEIGHTS, device="cpu")
    images = pictures(None, open_dataset(shared / "data/bccd", "val"), detector.config.size)
    for sabotage, fault, where in (
        (channels, "their edges are", "backbone.stem (the first"),
        (mean, "are found again", "backbone.stem (the first"),
        (shifted, "their edges are shifted by 1.", "none of the"),
        (
            twice_its_scale,
            "px of the model's input in the median",
            "backbone.stages.1 (after backbone.stages.0",
        ),
    ):
        proto = onnx.load(tmp_path / "a.onnx")
        sabotage(proto.graph)
        onnx.save(proto, tmp_path / "bad.onnx")
        found = prove(
            tmp_path / "bad.onnx", detector.model, images, detector.predictor, tolerance=TOLERANCES["int8"]
        )
        assert not found.passed, sabotage.__name__
        assert fault in "; ".join(found.faults), sabotage.__name__
        assert where in str(found.drift), sabotage.__name__


def lost_ap(target: Any, path: Path, shared: Path, **wishes: Any) -> float:
    """The checkpoint's AP on the validation images less the artifact's."""
    detector = Detector.from_pretrained(WEIGHTS, device="cpu")
    proof = detector.export(target, path, data=shared / "data/bccd", **wishes)
    assert proof.table is not None
    return proof.table["checkpoint"]["AP"] - proof.table["artifact"]["AP"]
