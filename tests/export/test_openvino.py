from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewise.api import Detector
from edgewise.artifact import KEY, Artifact, Precision, read_artifact
from edgewise.export import Rejected, read_proof
from edgewise.export.openvino import convert
from edgewise.runtime.detector import ExportedDetector
from edgewise.runtime.engines import openvino_core
from tests.export.conftest import KINDS, Export, WriteInstead, proof_of
from tests.export.test_onnx import same

Convert = Callable[..., Artifact]


@pytest.fixture
def converted(exported: Export) -> Convert:
    """IR of what was exported to ONNX anyway, at a path."""

    def make(path: Path, precision: Precision = "fp32", **wishes: object) -> Artifact:
        made = exported(**wishes)
        artifact = replace(made.artifact, target="openvino", precision=precision)
        convert(made.path, artifact, path)
        return artifact

    return make


@pytest.mark.parametrize("wishes", KINDS, ids=["detections", "raw", "native"])
def test_answers_like_the_checkpoint(
    wishes: dict[str, object],
    converted: Convert,
    detector: Detector,
    images: list[np.ndarray],
    tmp_path: Path,
) -> None:
    artifact = converted(tmp_path / "a.xml", **wishes)
    proof = proof_of(tmp_path / "a.xml", detector, images)
    assert proof.passed, str(proof)
    assert proof.engine.startswith("openvino")
    assert proof.versions["openvino"]
    assert all(check.pairs > 0 and check.box_px <= 0.05 for check in proof.checks)
    found = ExportedDetector.from_pretrained(tmp_path / "a.xml")
    assert found.artifact == artifact
    for one, other in zip(found.predict(images, 0.3), detector.predict(images, 0.3), strict=True):
        same(one, other)
        assert len(one)


def test_half_precision_is_half_the_size(
    converted: Convert, detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    whole, half = tmp_path / "whole.xml", tmp_path / "half.xml"
    converted(whole)
    converted(half, "fp16")
    sizes = [path.with_suffix(".bin").stat().st_size for path in (whole, half)]
    assert 0.4 < sizes[1] / sizes[0] < 0.6
    assert ExportedDetector.from_pretrained(half).precision == "fp16"
    proof = proof_of(half, detector, images)
    assert not proof.passed  # what single precision must keep, half cannot
    assert proof.checks[0].box_px > 0.05


def test_a_weight_of_the_second_file_is_caught(
    converted: Convert, detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "a.xml"
    converted(path)
    graph = openvino_core().read_model(path)
    nodes = graph.get_ordered_ops()
    names = [{name for one in node.outputs() for name in one.names} for node in nodes]
    start = next(i for i, said in enumerate(names) if "backbone.stages.0" in said)
    conv = next(node for node in nodes[start:] if node.get_type_name() == "Convolution")
    weight = conv.input_value(1).get_node().data.copy().ravel()
    del graph, nodes, conv  # they hold the file
    weights = bytearray(path.with_suffix(".bin").read_bytes())
    place = weights.index(weight[:8].tobytes())
    weights[place : place + 4] = (weight[:1] + 5).tobytes()
    path.with_suffix(".bin").write_bytes(weights)
    proof = proof_of(path, detector, images)
    assert not proof.passed
    assert "the first tensor that drifts is backbone.stages.1 (after backbone.stages.0" in str(proof.drift)


def test_metadata_are_in_the_xml(converted: Convert, tmp_path: Path) -> None:
    artifact = converted(tmp_path / "a.xml")
    graph = openvino_core().read_model(tmp_path / "a.xml")
    assert read_artifact(graph.get_rt_info([KEY]).astype(str), "it") == artifact
    assert {name for one in graph.outputs for name in one.names} >= {"boxes", "scores", "labels", "edge_std"}
    text = (tmp_path / "a.xml").read_text()
    assert "GridSample" not in text
    assert str(tmp_path) not in text


def test_both_files_get_their_names_together(
    write_instead: WriteInstead,
    exported: Export,
    detector: Detector,
    images: list[np.ndarray],
    tmp_path: Path,
) -> None:
    """The proof is of both; what is rejected leaves both that lay there."""
    write_instead("openvino", lambda path, artifact: convert(exported().path, artifact, path))
    path = tmp_path / "model.xml"
    proof = detector.export("openvino", path, images=images)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "model.bin",
        "model.xml",
        "model.xml.proof.json",
    ]
    assert read_proof(path) == proof
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}

    def wrong(to: Path, artifact: Artifact) -> None:
        convert(exported().path, artifact, to)
        text = to.read_text().replace('type="Sigmoid"', 'type="Tanh"')
        to.write_text(text)

    write_instead("openvino", wrong)
    with pytest.raises(Rejected, match=r"model.xml: not written.*model.xml.rejected"):
        detector.export("openvino", path, images=images)
    after = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    assert {name: after.pop(name) for name in before} == before
    assert sorted(after) == ["model.bin.rejected", "model.xml.rejected", "model.xml.rejected.proof.json"]
    assert not read_proof(tmp_path / "model.xml.rejected").passed
    (tmp_path / "model.bin").write_bytes(before["model.bin"][:-4] + b"1234")
    with pytest.raises(ValueError, match=r"this proof is of another file than model.xml"):
        read_proof(path)


def test_a_full_disk_leaves_nothing(
    write_instead: WriteInstead, detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    def half(path: Path, _artifact: Artifact) -> None:
        path.with_suffix(".bin").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    write_instead("openvino", half)
    with pytest.raises(OSError, match=r"a.xml: cannot be written: .*No space left on device"):
        detector.export("openvino", tmp_path / "a.xml", images=images)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("unchecked")
def test_what_there_is_not(detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="precision 'fp16': onnx is written in fp32, int8"):
        detector.export("onnx", tmp_path / "a.onnx", precision="fp16")
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(ModuleNotFoundError, match=r"openvino is not installed.*edgewise\[openvino\]"):
        detector.export("openvino", tmp_path / "a.xml")
