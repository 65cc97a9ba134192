import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgewise.api import Detector
from edgewise.artifact import KEY, read_artifact
from edgewise.detections import Detections
from edgewise.export.onnx import steps
from edgewise.preprocess import preprocess
from edgewise.runtime.detector import ExportedDetector
from edgewise.sizes import STRIDE
from tests.export.conftest import CheckPage, Export


def same(found: Detections, expected: Detections) -> None:
    """But for rounding, and for places in a ranking of equals."""
    order, other = (np.lexsort((one.labels, one.boxes_xyxy[:, 0])) for one in (found, expected))
    np.testing.assert_array_equal(found.labels[order], expected.labels[other])
    for name in ("boxes_xyxy", "scores", "edge_std"):
        a, b = getattr(found, name)[order], getattr(expected, name)[other]
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_finished_detections(exported: Export, detector: Detector, images: list[np.ndarray]) -> None:
    made = exported()
    found = ExportedDetector.from_pretrained(made.path)
    assert made.proof.passed
    expected = detector.predict(images, 0.3)
    for one, other in zip(found.predict(images, 0.3, batch=4), expected, strict=True):
        same(one, other)
        assert len(one)
        assert one.calibrated
        np.testing.assert_allclose(one.joint_interval(0.9), other.joint_interval(0.9), atol=5e-3)
    assert len(found.predict(images[0], "auto")) == len(detector.predict(images[0], "auto"))


def test_raw_head_of_any_size(exported: Export, detector: Detector, images: list[np.ndarray]) -> None:
    made = exported(head="raw", dynamic_size=True)
    found = ExportedDetector.from_pretrained(made.path)
    for size in ((96, 128), (64, 64), (160, 96)):
        expected = detector.predict(images, 0.3, size=size, edges=True)
        for one, other in zip(found.predict(images, 0.3, size=size, edges=True), expected, strict=True):
            same(one, other)
            assert len(one)
            assert one.edges is not None
    assert {check.what.split(", ")[1] for check in made.proof.checks} == {"96x128", "160x160"}


def test_resizes_inside(exported: Export, detector: Detector, images: list[np.ndarray]) -> None:
    made = exported(resize_inside=True, sampler="native")
    found = ExportedDetector.from_pretrained(made.path)
    pictures = [images[0], images[1][:90, :70], images[2][:50], np.repeat(images[3], 3, 0)]
    for one, other in zip(found.predict(pictures, 0.3), detector.predict(pictures, 0.3), strict=True):
        same(one, other)
        assert len(one)
    noise = np.random.default_rng(4).integers(0, 256, (368, 496, 3), dtype=np.uint8)
    inside = steps(made.path, ["preprocessing"], {"images": noise[None]})["preprocessing"]
    np.testing.assert_allclose(inside[0], preprocess(noise, (96, 128))[0], atol=1e-7)  # no step of 1/255


def test_sampler_gather_has_no_grid_sample(exported: Export) -> None:
    gather = Counter(node.op_type for node in onnx.load(exported().path).graph.node)
    native = Counter(
        node.op_type for node in onnx.load(exported(resize_inside=True, sampler="native").path).graph.node
    )
    assert gather["GridSample"] == 0
    assert native["GridSample"] == 4  # two layers, two maps


def test_the_file_says_what_it_is(exported: Export, detector: Detector) -> None:
    made = exported()
    proto = onnx.load(made.path)
    onnx.checker.check_model(proto, full_check=True)
    properties = {one.key: one.value for one in proto.metadata_props}
    assert read_artifact(properties[KEY], "it") == made.artifact
    values = json.loads(properties[KEY])
    assert values["class_names"] == list(detector.class_names)
    assert values["thresholds"]["by_class"] == [0.4, None, 0.6]
    assert values["calibration"]["seal"] == detector.calibration.seal  # type: ignore[union-attr]
    assert values["versions"]["opset"] == "18" == str(proto.opset_import[0].version)
    assert proto.producer_name == "edgewise"
    shapes = {
        one.name: [side.dim_param or side.dim_value for side in one.type.tensor_type.shape.dim]
        for one in (*proto.graph.input, *proto.graph.output)
    }
    assert shapes["images"] == ["batch", 3, 96, 128]
    assert shapes["sizes"] == ["batch", 2]
    assert list(shapes)[2:] == ["boxes", "scores", "labels", "edge_std"]
    assert b"/" + Path(__file__).parts[1].encode() not in made.path.read_bytes()  # nobody's paths


def test_the_code_of_the_page(exported: Export, check_page: CheckPage) -> None:
    """docs/export.md's use of plain onnxruntime, as it stands."""
    check_page("import onnx", exported().path)


def test_a_size_must_be_of_whole_strides(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="100 is not a positive multiple of 32; use 96 or 128"):
        detector.export("onnx", tmp_path / "a.onnx", size=100)
    assert STRIDE == 32


def test_an_opset_too_low(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="opset 16: expected 18 to 20; older ones take norms to pieces"):
        detector.export("onnx", tmp_path / "a.onnx", opset=16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("missing", "extra"), [("onnxruntime", "export"), ("onnxscript", "export")])
def test_a_missing_package(
    detector: Detector, tmp_path: Path, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=f"{missing} is not installed.*edgewise\\[{extra}\\]"):
        detector.export("onnx", tmp_path / "a.onnx")


def test_early_exits_are_no_graph(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"stops early .*exit=0.1.*detector.at\(exit=0\)"):
        detector.at(exit=0.1).export("onnx", tmp_path / "a.onnx", images=[np.zeros((32, 32, 3), np.uint8)])


def test_of_another_program(exported: Export, tmp_path: Path) -> None:
    proto = onnx.load(exported().path)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "other.onnx")
    assert onnxruntime.InferenceSession(tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"other.onnx: no edgewise metadata.*`edgewise export`"):
        ExportedDetector.from_pretrained(tmp_path / "other.onnx")
