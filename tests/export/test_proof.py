import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgewise import export as room
from edgewise.api import Detector
from edgewise.artifact import Artifact
from edgewise.cli import main
from edgewise.export import Rejected, read_proof
from tests.cli.conftest import Edgewise
from tests.export.conftest import Export, WriteInstead, proof_of
from tests.train.tiny import Patches

Sabotage = Callable[[onnx.GraphProto], None]


def after(graph: onnx.GraphProto, tensor: str, *nodes: onnx.NodeProto) -> None:
    """Puts nodes that read `before` and make `after` behind a tensor; its readers read what they make."""
    if any(one.name == tensor for one in graph.input):
        for node in graph.node:
            node.input[:] = [f"{tensor}/new" if one == tensor else one for one in node.input]
        names, place = {"before": tensor, "after": f"{tensor}/new"}, 0
    else:
        place = next(i for i, node in enumerate(graph.node) if tensor in node.output)
        maker = graph.node[place]
        maker.output[:] = [f"{tensor}/old" if one == tensor else one for one in maker.output]
        names, place = {"before": f"{tensor}/old", "after": tensor}, place + 1
    for step, node in enumerate(nodes):
        node.input[:] = [names.get(one, one) for one in node.input]
        node.output[:] = [names.get(one, one) for one in node.output]
        graph.node.insert(place + step, node)


def constant(graph: onnx.GraphProto, name: str, values: object, dtype: type = np.float32) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(values, dtype), f"sabotage/{name}"))
    return f"sabotage/{name}"


def one_weight(graph: onnx.GraphProto) -> None:
    """One number of one convolution of the second stage."""
    place = next(i for i, node in enumerate(graph.node) if "backbone.stages.1" in node.output)
    conv = [node for node in graph.node[:place] if node.op_type == "Conv"][-1]
    weight = next(one for one in graph.initializer if one.name == conv.input[1])
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def channels(graph: onnx.GraphProto) -> None:
    bgr = constant(graph, "bgr", [2, 1, 0], np.int64)
    after(graph, "images", helper.make_node("Gather", ["before", bgr], ["after"], axis=1))


def mean(graph: onnx.GraphProto) -> None:
    wrong = constant(graph, "mean", np.reshape([0.485, 0.456, 0.406], (1, 3, 1, 1)))
    after(graph, "images", helper.make_node("Sub", ["before", wrong], ["after"]))


def first_slot_for_all(graph: onnx.GraphProto) -> None:
    zero, one = (constant(graph, f"row_{i}", [i], np.int64) for i in (0, 1))
    after(
        graph,
        "encoder.fpn_blocks.0",
        helper.make_node("Slice", ["before", zero, one, zero], ["slot"]),
        helper.make_node("Shape", ["before"], ["whole"]),
        helper.make_node("Expand", ["slot", "whole"], ["after"]),
    )


def shifted(graph: onnx.GraphProto) -> None:
    by = constant(graph, "two", [2, 2, 2, 2])
    after(graph, "boxes", helper.make_node("Add", ["before", by], ["after"]))


SABOTEURS = [
    (one_weight, "batch 1", "backbone.stages.1 (after backbone.stages.0"),
    (channels, "batch 1", "backbone.stem (the first that is compared)"),
    (mean, "batch 1", "backbone.stem (the first that is compared)"),
    (first_slot_for_all, "batch 2", "encoder.fpn_blocks.0 (after encoder."),
    (shifted, "batch 1", "boxes (after decoder.initial_boxes, which agrees)"),
]


def sabotaged(exported: Export, sabotage: Sabotage, path: Path) -> Path:
    proto = onnx.load(exported().path)
    sabotage(proto.graph)
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize(
    ("sabotage", "caught", "where"), SABOTEURS, ids=lambda one: getattr(one, "__name__", "")
)
def test_saboteurs_are_caught(
    sabotage: Sabotage,
    caught: str,
    where: str,
    exported: Export,
    detector: Detector,
    images: list[np.ndarray],
    tmp_path: Path,
) -> None:
    path = sabotaged(exported, sabotage, tmp_path / "bad.onnx")
    proof = proof_of(path, detector, images)
    assert not proof.passed
    assert proof.faults[0].startswith(caught)
    assert f"the first tensor that drifts is {where}" in str(proof.drift)
    if sabotage is shifted:
        assert proof.checks[0].box_px == pytest.approx(2, abs=0.01)
        assert proof.checks[0].score < 1e-4  # what compares scores alone does not see it


def test_the_honest_file_passes(
    exported: Export, detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    path = sabotaged(exported, lambda graph: None, tmp_path / "good.onnx")
    proof = proof_of(path, detector, images)
    assert proof.passed
    assert proof.drift is None
    assert all(check.pairs > 0 and check.box_px < 0.05 for check in proof.checks)
    names = [check.what for check in proof.checks]
    assert names == [
        *("batch 1, 96x128", "batch 2, 96x128", "batch 8, 96x128"),
        "one image in 8 slots, 96x128",
    ]


def test_a_rejected_file_keeps_no_name(
    write_instead: WriteInstead,
    exported: Export,
    detector: Detector,
    images: list[np.ndarray],
    tmp_path: Path,
) -> None:
    (tmp_path / "model.onnx").write_text("yesterday's")
    write_instead("onnx", lambda path, _: sabotaged(exported, shifted, path))
    with pytest.raises(Rejected, match=r"batch 1.*boxes differ by up to 2 px.*first tensor.*boxes.*rejected"):
        detector.export("onnx", tmp_path / "model.onnx", images=images)
    assert {one.name for one in tmp_path.iterdir()} == {
        *("model.onnx", "model.onnx.rejected", "model.onnx.rejected.proof.json")
    }
    assert (tmp_path / "model.onnx").read_text() == "yesterday's"
    assert not read_proof(tmp_path / "model.onnx.rejected").passed


def test_the_command(
    write_instead: WriteInstead,
    exported: Export,
    detector: Detector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 1 for a rejected file; a proven one lies beside the checkpoint and says what it is."""
    detector.save(tmp_path / "best.safetensors")
    command = ["edgewise", "export", str(tmp_path / "best.safetensors")]
    monkeypatch.setattr("sys.argv", command)
    write_instead("onnx", lambda path, _: sabotaged(exported, mean, path))
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert "the first tensor that drifts is backbone.stem" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "best.onnx").exists()
    write_instead("onnx", lambda path, _: path.write_bytes(exported().path.read_bytes()))
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    assert "passed in onnxruntime" in capsys.readouterr().err
    proof = json.loads((tmp_path / "best.onnx.proof.json").read_text())
    assert proof["passed"]
    assert proof["checkpoint"] == exported().artifact.checkpoint
    assert set(proof["versions"]) >= {"edgewise", "torch", "onnx", "onnxruntime", "pillow"}


def test_info_of_an_exported_file(exported: Export, tmp_path: Path, edgewise: Edgewise) -> None:
    path = exported().path
    _, text = edgewise("info", path)
    for part in ("tiny, 96x128", "head detections: boxes, scores, labels, edge_std", "passed in onnxruntime"):
        assert part in text
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(path.read_bytes())
    assert "copy.onnx is not proven" in edgewise("info", copy)[1]


def test_with_data_ap_and_latency(
    write_instead: WriteInstead, exported: Export, detector: Detector, tmp_path: Path
) -> None:
    write_instead("onnx", lambda path, _: path.write_bytes(exported().path.read_bytes()))
    proof = detector.export("onnx", tmp_path / "a.onnx", data=Patches(4))
    assert proof.table is not None
    assert list(proof.table) == ["checkpoint", "artifact"]
    assert proof.table["artifact"]["AP"] == pytest.approx(proof.table["checkpoint"]["AP"], abs=1e-3)
    assert proof.table["artifact"]["ms"] >= proof.table["artifact"]["least ms"] > 0
    assert "AP50" in str(proof)
    assert read_proof(tmp_path / "a.onnx") == proof


def test_ap_that_differs(
    write_instead: WriteInstead,
    exported: Export,
    detector: Detector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Boxes agree then, and no tensor can be said to drift."""
    write_instead("onnx", lambda path, _: path.write_bytes(exported().path.read_bytes()))
    table = {"checkpoint": {"AP": 0.5}, "artifact": {"AP": 0.4}}
    monkeypatch.setattr(room, "measure", lambda *_args, **_settings: table)
    with pytest.raises(
        Rejected, match=r"AP differs by 0.1000, at most 0.002 is allowed\. The file is a.onnx"
    ):
        detector.export("onnx", tmp_path / "a.onnx", data=Patches(4))


def test_a_proof_of_another_file(exported: Export, tmp_path: Path) -> None:
    made = exported()
    assert read_proof(made.path) == made.proof
    copy = tmp_path / "tiny.onnx"
    copy.write_bytes(made.path.read_bytes())
    with pytest.raises(
        FileNotFoundError, match=r"tiny.onnx.proof.json: not there, so tiny.onnx is not proven"
    ):
        read_proof(copy)
    room.write_proof(made.proof, copy)
    assert read_proof(copy) == made.proof
    copy.write_bytes(copy.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"this proof is of another file than tiny.onnx, which was changed"):
        read_proof(copy)
    (tmp_path / "tiny.onnx.proof.json").write_text("{")
    with pytest.raises(ValueError, match=r"proof.json: not JSON with .*, export tiny.onnx anew"):
        read_proof(copy)


def test_a_full_disk(
    write_instead: WriteInstead, detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    def half(path: Path, _artifact: Artifact) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    write_instead("onnx", half)
    with pytest.raises(OSError, match=r"a.onnx: cannot be written: .*No space left on device.*MB are free"):
        detector.export("onnx", tmp_path / "a.onnx", images=images)
    assert not list(tmp_path.iterdir())


def test_images_that_cannot_be_read_are_no_full_disk(
    write_instead: WriteInstead,
    exported: Export,
    detector: Detector,
    images: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_args: object, **_settings: object) -> None:
        raise FileNotFoundError("photo.jpg: no such image file")

    write_instead("onnx", lambda path, _: path.write_bytes(exported().path.read_bytes()))
    monkeypatch.setattr(room, "measure", gone)
    with pytest.raises(FileNotFoundError, match=r"^photo.jpg: no such image file$"):
        detector.export("onnx", tmp_path / "a.onnx", images=images, data=Patches(4))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_files(
    detector: Detector, images: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found out before the minutes of an export."""

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match=r"a.onnx: cannot be written: .*Permission denied"):
        detector.export("onnx", tmp_path / "not/there/a.onnx", images=images)


@pytest.mark.usefixtures("unchecked")
def test_names_and_targets(detector: Detector, images: list[np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.pt: expected a name that ends with .onnx"):
        detector.export("onnx", tmp_path / "a.pt", images=images)
    with pytest.raises(ValueError, match="unknown target onxn; did you mean onnx"):
        detector.export("onxn", tmp_path / "a.onnx")  # type: ignore[arg-type]


def test_images_that_prove_nothing(
    write_instead: WriteInstead,
    exported: Export,
    detector: Detector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_instead("onnx", lambda path, _: path.write_bytes(exported().path.read_bytes()))
    monkeypatch.setattr("edgewise.export.proof.GAP", 1e3)
    with pytest.raises(ValueError, match=r"in all 1 images rounding decides .*give others"):
        detector.export("onnx", tmp_path / "a.onnx", images=[np.zeros((50, 60, 3), np.uint8)])
