"""TensorRT: no engine is built here. What is asked of it is checked, and what is done where it is missing."""

import gc
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

from edgewise.api import Detector
from edgewise.artifact import OUTPUTS, Artifact
from edgewise.export import Rejected, read_proof
from edgewise.export import onnx as onnx_room
from edgewise.export.describe import describe
from edgewise.export.graph import PARTS, PICKS, PREPROCESSING
from edgewise.export.tensorrt import kept, profile_shapes
from edgewise.runtime.engines import SHAPES, TensorRtEngine, load_engine
from tests.cli.conftest import Edgewise
from tests.export.conftest import Export
from tests.export.fake_tensorrt import TensorRt, install
from tests.export.test_onnx import same

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> TensorRt:
    return install(monkeypatch)


@pytest.fixture(autouse=True)
def _written_once(exported: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is that of the other tests."""

    def write(_model: object, artifact: Artifact, path: Path) -> None:
        shutil.copyfile(exported().path, path)

    exported()
    monkeypatch.setattr(onnx_room, "write", write)


@pytest.fixture
def engine(trt: TensorRt, detector: Detector, images: list[np.ndarray], tmp_path: Path) -> Path:
    detector.export("tensorrt", tmp_path / "a.engine", images=images)
    return tmp_path / "a.engine"


# ── what stays in single precision ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "wishes", [{}, {"resize_inside": True, "sampler": "native"}], ids=["plain", "resize"]
)
def test_norms_and_all_but_the_maps_stay_in_fp32(wishes: dict[str, object], exported: Export) -> None:
    proto = onnx.load(exported(**wishes).path)
    stay = set(kept(proto))
    makers = {name: node for node in proto.graph.node for name in node.output}
    parts = [name for name in makers if PARTS.fullmatch(name) or name in (PICKS, PREPROCESSING)]
    assert {"backbone.stem", "encoder.pan_blocks.0", "decoder.enc_output", PICKS} <= set(parts)
    for name in parts:
        node = makers[name]
        maps = name.startswith(("backbone.", "encoder.")) and node.op_type != "LayerNormalization"
        assert (node.name in stay) is not maps, name
    assert all(makers[name].name in stay for name in OUTPUTS["detections"])
    kinds = {
        op: [node for node in proto.graph.node if node.op_type == op] for op in ("Conv", "TopK", "Softmax")
    }
    norms = [node for node in proto.graph.node if node.op_type == "LayerNormalization"]
    assert len(norms) > 4
    assert all(node.name in stay for node in [*norms, *kinds["TopK"]])
    # Integrals of edges, LQE's probabilities, attention over queries; not the encoder's own attention.
    assert sum(node.name not in stay for node in kinds["Softmax"]) == 1
    assert len(kinds["Softmax"]) > 4
    assert sum(node.name not in stay for node in kinds["Conv"]) > 20
    # A tensor of the maps is made of maps, norms and inputs alone: nothing of the decoder comes back.
    fed = {PREPROCESSING} if PREPROCESSING in makers else {"images"}
    for node in proto.graph.node:
        if node.name not in stay:
            for name in set(node.input) & set(makers) - fed:
                assert makers[name].name not in stay or makers[name].op_type == "LayerNormalization", name


def test_autocast_is_told_so_by_name(
    trt: TensorRt,
    detector: Detector,
    images: list[np.ndarray],
    exported: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: dict[str, Any] = {}

    def convert(**settings: Any) -> onnx.ModelProto:
        told.update(settings)
        return onnx.load(settings["onnx_path"])

    autocast = ModuleType("modelopt.onnx.autocast")
    autocast.convert_to_mixed_precision = convert  # type: ignore[attr-defined]
    for name in ("modelopt", "modelopt.onnx"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "modelopt.onnx.autocast", autocast)
    proof = detector.export("tensorrt", tmp_path / "a.engine", precision="fp16", images=images)
    assert (told["low_precision_type"], told["keep_io_types"]) == ("fp16", True)
    proto = onnx.load(exported().path)
    stay = kept(proto)
    patterns = [re.compile(one) for one in told["nodes_to_exclude"]]
    matched = [node.name for node in proto.graph.node if any(one.match(node.name) for one in patterns)]
    assert matched == stay
    assert 0 < len(stay) < len(proto.graph.node)
    assert (proof.tolerance.box_px_999, proof.tolerance.ap) == (2.0, 0.002)


# ── building ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_engine_is_built_and_proven(
    trt: TensorRt, engine: Path, detector: Detector, images: list[np.ndarray]
) -> None:
    assert trt.built.flags == 1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert trt.built.cleared == [trt.BuilderFlag.TF32]
    assert trt.built.profile == {
        "images": ((1, 3, 96, 128), (1, 3, 96, 128), (8, 3, 96, 128)),
        "sizes": ((1, 2), (1, 2), (8, 2)),
    }
    proof = read_proof(engine)
    assert proof.passed
    assert proof.engine == "tensorrt 11.4.0"
    assert [check.images for check in proof.checks] == [4, 4, 8, 8]
    assert sorted(one.name for one in engine.parent.iterdir()) == ["a.engine", "a.engine.proof.json"]
    assert engine.read_bytes().split(b"\n")[0].startswith(b'edgewise {"version": 1, "target": "tensorrt"')
    found = Detector.from_pretrained(engine, trust=True)
    assert (found.class_names, found.thresholds) == (detector.class_names, detector.thresholds)
    assert found.artifact.versions["tensorrt"] == "11.4.0"  # type: ignore[attr-defined]
    for batch in (1, 3):
        expected = detector.predict(images, 0.3)
        for one, other in zip(found.predict(images, 0.3, batch=batch), expected, strict=True):
            same(one, other)
            assert len(one)
            assert one.calibrated


def test_what_a_wrong_engine_says_is_rejected(
    trt: TensorRt, detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    def shift(outputs: dict[str, np.ndarray]) -> None:
        outputs["boxes"] += 2

    trt.spoil = shift
    with pytest.raises(Rejected, match=r"a.engine: not written.*boxes differ by up to 2 px"):
        detector.export("tensorrt", tmp_path / "a.engine", images=images)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "a.engine.rejected",
        "a.engine.rejected.proof.json",
    ]


def test_the_shapes_of_a_dynamic_size(detector: Detector) -> None:
    artifact = describe(detector.checkpoint(), target="tensorrt", head="raw", dynamic_size=True)
    assert profile_shapes(artifact) == {"images": ((1, 3, 64, 64), (1, 3, 96, 128), (8, 3, 192, 256))}
    large = replace(artifact, size=(2080, 96))
    assert profile_shapes(large)["images"][2] == (8, 3, 4096, 192)


def test_what_is_not_built(detector: Detector, tmp_path: Path) -> None:
    for wishes, message in (
        ({"sampler": "native"}, "sampler 'native': TensorRT has computed GridSample wrongly.*use gather"),
        ({"resize_inside": True}, "resize_inside: an engine is built for a range of sizes.*resize outside"),
        ({"precision": "int8"}, "precision 'int8': tensorrt is written in fp32, fp16"),
    ):
        with pytest.raises(ValueError, match=message):
            detector.export("tensorrt", tmp_path / "a.engine", **wishes)  # type: ignore[arg-type]


# ── where it is missing ────────────────────────────────────────────────────────────────────────────────


def test_without_tensorrt_it_says_what_it_would_do(
    detector: Detector,
    images: list[np.ndarray],
    exported: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = onnx.load(exported().path).graph.node
    stay = len(kept(onnx.load(exported().path)))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        detector.export("tensorrt", tmp_path / "a.engine", images=images)
    assert str(caught.value).splitlines() == [
        "tensorrt is not installed; this needs the extra: pip install 'edgewise[tensorrt]'. "
        "Nothing was written. This would be done:",
        f"  1. the graph as ONNX, opset 18: {len(nodes)} nodes, 0 GridSample",
        f"  2. all {len(nodes)} nodes stay in fp32",
        "  3. TensorRT 10 or 11 builds the engine, strongly typed, without TF32: images from 1x3x96x128 to "
        "8x3x96x128, fastest at 1x3x96x128; sizes from 1x2 to 8x2, fastest at 1x2",
        "  4. the engine runs on the GPU and is compared with the checkpoint",
        "Do it on a computer with the kind of GPU that the engine is for: pip install "
        "'edgewise[export,tensorrt]', and export there; or export to onnx, which ONNX Runtime runs on GPUs, "
        "too",
    ]
    with pytest.raises(ModuleNotFoundError, match=r"modelopt is not installed.*edgewise\[fp16\]") as caught:
        detector.export("tensorrt", tmp_path / "a.engine", precision="fp16", images=images)
    assert (
        f"  2. ModelOpt AutoCast puts {len(nodes) - stay} nodes of backbone and encoder in fp16; {stay} stay "
        "in fp32: norms, coordinates, the distributions of edges and all else of the decoder\n"
    ) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_without_a_gpu(trt: TensorRt, detector: Detector, images: list[np.ndarray], tmp_path: Path) -> None:
    trt.cuda.devices = 0
    with pytest.raises(
        ValueError, match=r"no NVIDIA GPU that CUDA can use \(cudaErrorNoDevice\). Nothing was w"
    ):
        detector.export("tensorrt", tmp_path / "a.engine", images=images)
    assert not list(tmp_path.iterdir())


def test_on_the_command_line(
    edgewise: Edgewise, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    detector.save(tmp_path / "a.safetensors")
    code, done = edgewise("export", tmp_path / "a.safetensors", "--to", "tensorrt")
    assert code == 1
    assert "error: tensorrt is not installed" in done
    assert "Nothing was written" in done
    assert [one.name for one in tmp_path.iterdir()] == ["a.safetensors"]


# ── running ────────────────────────────────────────────────────────────────────────────────────────────


def feed(batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    images = np.random.default_rng(seed).random((batch, 3, 96, 128), np.float32)
    return {"images": images, "sizes": np.array([[120, 200]] * batch)}


def test_a_graph_for_each_shape(trt: TensorRt, engine: Path, exported: Export) -> None:
    expected = load_engine(exported().path, device="cpu", threads=1)
    gc.collect()
    trt.cuda.captures = trt.cuda.launches = 0
    found = load_engine(engine, trust=True)
    kept_answer = found(feed(1))
    before = {name: one.copy() for name, one in kept_answer.items()}
    for batch, seed in ((2, 1), (1, 2), (2, 3)):
        answer = found(feed(batch, seed))
        assert tuple(sorted(answer)) == tuple(sorted(found.artifact.outputs))
        for name, own in expected(feed(batch, seed)).items():
            np.testing.assert_allclose(answer[name], own, rtol=1e-5, atol=1e-4)
    for name, one in before.items():
        np.testing.assert_array_equal(kept_answer[name], one)
    assert (trt.cuda.captures, trt.cuda.launches) == (2, 4)


def test_memory_is_given_back(trt: TensorRt, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    assert not trt.cuda.memory  # of the proof
    monkeypatch.setattr("edgewise.runtime.engines.SHAPES", 2)
    found = load_engine(engine, trust=True)
    for batch in (1, 2, 3, 2):
        found(feed(batch))
    gc.collect()
    tensors = len(found.artifact.inputs) + len(found.artifact.outputs)
    assert len(trt.cuda.memory) == 2 * tensors
    assert (trt.cuda.captures, len(trt.cuda.graphs)) == (trt.cuda.captures, 2)
    del found
    gc.collect()
    assert not trt.cuda.memory
    assert not trt.cuda.graphs
    assert SHAPES == 8


def test_engines_that_do_not_run(trt: TensorRt, engine: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.engine: it holds machine code.*trust=True, or --trust"):
        Detector.from_pretrained(engine)
    with pytest.raises(
        ValueError, match=r"a.engine: images are 9x3x96x128; it was built for 1x3x96x128 to 8x3x96"
    ):
        load_engine(engine, trust=True)(feed(9))
    with pytest.raises(ValueError, match=r"device 'cpu': .*a.engine runs on the GPU alone"):
        load_engine(engine, device="cpu", trust=True)
    (tmp_path / "theirs.engine").write_bytes(b"ftrt\n{}")
    with pytest.raises(ValueError, match=r"theirs.engine: no edgewise metadata"):
        TensorRtEngine(tmp_path / "theirs.engine")
    header = engine.read_bytes().split(b"\n")[0]
    (tmp_path / "other.engine").write_bytes(header.replace(b"11.4.0", b"10.13.0") + b"\nother")
    with pytest.raises(
        ValueError, match=r"tensorrt 11.4.0 cannot load it;.*built it, 10.13.0, on the kind of GPU"
    ):
        TensorRtEngine(tmp_path / "other.engine")
    trt.cuda.devices = 0
    with pytest.raises(ValueError, match="no NVIDIA GPU"):
        TensorRtEngine(engine)
