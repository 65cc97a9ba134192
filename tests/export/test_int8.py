"""int8: what becomes of a graph, what its proof catches, what it asks for."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from edgewise import export as room
from edgewise.api import Detector
from edgewise.data.open import open_dataset
from edgewise.data.scenes import SceneDataset
from edgewise.detections import Detections
from edgewise.export import TARGETS, Rejected, prove, read_proof
from edgewise.export import onnx as onnx_room
from edgewise.export import openvino as openvino_room
from edgewise.export.compare import TOLERANCES, Alike, Likeness, likeness
from edgewise.export.int8 import FEWEST, Feeds, Typical, between, typical
from edgewise.runtime.detector import ExportedDetector
from edgewise.runtime.engines import openvino_core
from tests.cli.conftest import Edgewise
from tests.export.conftest import Export, WriteInstead
from tests.export.test_compare import detections
from tests.export.test_proof import Sabotage, first_slot_for_all, shifted
from tests.train.tiny import NAMES, Patches

Records = list[dict[str, Any]]


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Scenes, some to take ranges from and some to score."""
    folder, scenes = tmp_path_factory.mktemp("scenes"), SceneDataset(FEWEST + 4, seed=3, size=(120, 200))
    found = []
    for i in range(len(scenes)):
        Image.fromarray(scenes[i].image).save(folder / f"{i}.png")
        found.append(
            {
                "image": folder / f"{i}.png",
                "boxes": scenes[i].boxes_xyxy.tolist(),
                "labels": [NAMES[label % len(NAMES)] for label in scenes[i].labels],
                "split": "train" if i < FEWEST else "val",
            }
        )
    return found


Quantized = Callable[..., Path]


@pytest.fixture(scope="session")
def quantized(
    exported: Export, images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Quantized:
    """`quantized("onnx", head="raw", …)`: in int8 what was exported anyway; each kind is made once."""
    made: dict[str, Path] = {}

    def make(target: str, **wishes: object) -> Path:
        key = repr((target, sorted(wishes.items())))
        if key not in made:
            whole = exported(**wishes)
            artifact = replace(whole.artifact, target=target, precision="int8")
            folder, feeds = tmp_path_factory.mktemp("int8"), Feeds(artifact, images)
            if target == "onnx":
                made[key] = folder / "tiny.onnx"
                onnx_room.to_int8(whole.path, artifact, made[key], feeds)
            else:
                made[key] = folder / "tiny.xml"
                openvino_room.convert(whole.path, artifact, folder / "float.xml")
                openvino_room.to_int8(folder / "float.xml", artifact, made[key], feeds)
        return made[key]

    return make


RESIZING = {"resize_inside": True, "sampler": "native"}


@pytest.mark.parametrize("wishes", [{}, RESIZING], ids=["", "resizing"])
def test_what_becomes_int8_in_onnx(wishes: dict[str, object], quantized: Quantized, exported: Export) -> None:
    """All convolutions, which are in backbone and encoder, and what they give; nothing before or behind."""
    before, after = onnx.load(exported(**wishes).path).graph, onnx.load(quantized("onnx", **wishes)).graph
    makers = {name: node for node in after.node for name in node.output}
    whole = {one.name: numpy_helper.to_array(one) for one in after.initializer}
    for node in after.node:
        if node.op_type == "Conv":
            assert makers[node.input[0]].op_type == "DequantizeLinear"
            values = whole[makers[node.input[1]].input[0]]
            assert values.dtype == np.int8
            assert np.abs(values).max() <= 64  # eight bits saturate where there is no VNNI
        else:
            assert not any(makers[name].input[0] in whole for name in node.input if dequantized(makers, name))
    inside = between(
        {node.name: [makers[one].name for one in node.input if one in makers] for node in after.node},
        {name: node.name for name, node in makers.items()},
    )
    assert {node.name for node in after.node if node.op_type == "QuantizeLinear"} <= inside
    plain = Counter(node.op_type for node in after.node)
    assert plain.pop("QuantizeLinear") < plain.pop("DequantizeLinear")
    assert plain == Counter(node.op_type for node in before.node)


def dequantized(makers: dict[str, onnx.NodeProto], name: str) -> bool:
    return name in makers and makers[name].op_type == "DequantizeLinear"


@pytest.mark.parametrize("wishes", [{}, RESIZING], ids=["", "resizing"])
def test_what_becomes_int8_in_openvino(wishes: dict[str, object], quantized: Quantized) -> None:
    nodes = openvino_core().read_model(quantized("openvino", **wishes)).get_ordered_ops()
    fakes = [node for node in nodes if node.get_type_name() == "FakeQuantize"]
    readers = Counter(
        one.get_node().get_type_name() for fake in fakes for one in fake.output(0).get_target_inputs()
    )
    assert set(readers) <= {"Convolution", "GroupConvolution", "ShapeOf"}
    weights = [node for node in nodes if node.get_output_element_type(0).to_string() == "i8"]
    kinds: dict[str, list[Any]] = {}
    for node in nodes:
        kinds.setdefault(node.get_type_name(), []).append(node)
    assert len(weights) == len(kinds["Convolution"]) > 20
    depthwise = kinds["GroupConvolution"]  # their weights are reshaped, and so kept as ranges beside floats
    assert {node.input_value(1).get_node().get_type_name() for node in depthwise} == {"FakeQuantize"}
    assert max(int(np.abs(node.data.astype(int)).max()) for node in weights) <= 64


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_the_file_says_what_it_is(
    target: Any, quantized: Quantized, exported: Export, images: list[np.ndarray], edgewise: Edgewise
) -> None:
    path = quantized(target)
    found = ExportedDetector.from_pretrained(path)
    assert found.precision == "int8"
    assert found.artifact == replace(exported().artifact, target=target, precision="int8")
    assert f"{target} int8" in edgewise("info", path)[1]
    assert "int8" in edgewise("bench", path, "--repeats", 1)[1]


# ── the proof ──────────────────────────────────────────────────────────────────────────────────────────────

LIMITS = TOLERANCES["int8"]
LOOSE = replace(
    LIMITS, alike=Alike(share=0.1, median_px=5.0, shift_px=5.0)
)  # weights that are none round far off


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_every_slot_of_a_batch_answers_as_alone(
    target: str, quantized: Quantized, detector: Detector, images: list[np.ndarray]
) -> None:
    proof = prove(quantized(target), detector.model, images, detector.predictor, tolerance=LOOSE)
    assert proof.passed, str(proof)
    assert [one.what for one in proof.checks] == [
        *("batch 1, 96x128", "batch 2, 96x128", "batch 8, 96x128"),
        "one image in 8 slots, 96x128",
    ]
    assert all(one.pairs > 0 and one.box_px <= 0.05 for one in proof.checks)
    (alike,) = proof.likeness
    assert alike.sure > 10
    assert alike.median_px > 0  # the checkpoint is another
    assert "against the checkpoint" in str(proof)
    assert "against each alone" in str(proof)


def test_a_slot_that_answers_for_another_is_caught(
    quantized: Quantized, detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    path = sabotaged(quantized("onnx"), first_slot_for_all, tmp_path)
    proof = prove(path, detector.model, images, detector.predictor, tolerance=LOOSE)
    assert not proof.passed
    assert proof.faults[0].startswith("batch 2, 96x128: ")


def test_a_shift_is_caught_by_what_int8_is_held_to(
    exported: Export, detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    """Alone among the saboteurs: random weights hardly mind the others, trained ones do (test_sizes.py)."""
    whole = prove(exported().path, detector.model, images, detector.predictor, tolerance=LIMITS)
    assert whole.passed
    assert (whole.likeness[0].share, whole.likeness[0].faults) == (1, ())
    path = sabotaged(exported().path, shifted, tmp_path)
    proof = prove(path, detector.model, images, detector.predictor, tolerance=LIMITS)
    assert not proof.passed
    assert "are found again, at least 90% are expected" in "; ".join(proof.faults)


def sabotaged(source: Path, sabotage: Sabotage, folder: Path) -> Path:
    proto = onnx.load(source)
    sabotage(proto.graph)
    onnx.save(proto, folder / "bad.onnx")
    return folder / "bad.onnx"


@pytest.mark.usefixtures("unchecked")
def test_from_data_to_proof(
    write_instead: WriteInstead,
    exported: Export,
    detector: Detector,
    records: Records,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ranges of training images, AP of the others; more AP is no fault."""
    write_instead("onnx", lambda path, _: path.write_bytes(exported().path.read_bytes()))
    monkeypatch.setitem(TOLERANCES, "int8", LOOSE)
    make = partial(detector.export, "onnx", tmp_path / "a.onnx", precision="int8", data=records)
    proof = make()
    assert read_proof(tmp_path / "a.onnx") == proof
    assert proof.table is not None
    assert set(proof.table) == {"checkpoint", "artifact"}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.onnx", "a.onnx.proof.json"]
    assert Detector.from_pretrained(tmp_path / "a.onnx").precision == "int8"
    for lost, passes in ((-0.1, True), (0.004, True), (0.006, False)):
        table = {"checkpoint": {"AP": 0.5}, "artifact": {"AP": 0.5 - lost}}
        monkeypatch.setattr(room, "measure", lambda *_args, table=table, **_settings: table)
        if passes:
            assert make().passed
        else:
            with pytest.raises(Rejected, match=r"AP differs by 0.0060, at most 0.005 is allowed"):
                make()


def test_the_part_between() -> None:
    """What the encoder is made of, less what comes before the model; the decoder is not."""
    parents = {"resize": [], "stem": ["resize"], "fpn": ["stem", "weight"], "weight": [], "head": ["fpn"]}
    makers = {"preprocessing": "resize", "encoder.fpn_blocks.0": "fpn", "decoder.enc_output": "head"}
    assert between(parents, makers) == {"stem", "fpn", "weight"}


# ── what it asks for ───────────────────────────────────────────────────────────────────────────────────────


def test_ranges_are_of_training_images_always_the_same(records: Records) -> None:
    chosen, again = typical(records, "val"), typical(records, "validation")
    assert len(chosen) == FEWEST
    training = [np.asarray(Image.open(one["image"])) for one in records if one["split"] == "train"]
    for one, other in zip(chosen, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert any(np.array_equal(one, image) for image in training)
    few = Typical(open_dataset(records, "train"), count=3)
    assert len(list(few)) == len(few) == 3


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_without_data(target: Any, detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / f"a{TARGETS[target].suffix}"
    with pytest.raises(
        ValueError, match=r"'int8': the ranges of its numbers .*give the annotated images .*--data"
    ):
        detector.export(target, path, precision="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({"data": Patches(4)}, "Patches is one split, but ranges are taken from the training images"),
        ({"split": "train"}, "AP on them says little; give another split, such as val"),
        ({"few": True}, "3 training images in the data, but its ranges need at least 16, better 200"),
    ],
)
def test_data_that_will_not_do(
    wishes: dict[str, Any], text: str, records: Records, detector: Detector, tmp_path: Path
) -> None:
    given = records[-7:] if wishes.pop("few", False) else records
    with pytest.raises(ValueError, match=text):
        detector.export("onnx", tmp_path / "a.onnx", precision="int8", **{"data": given} | wishes)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("unchecked")
def test_what_is_missing(detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="precision 'int8': torch is written in fp32"):
        detector.export("torch", tmp_path / "a.pt2", precision="int8")
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ModuleNotFoundError, match=r"nncf is not installed.*edgewise\[int8\]"):
        detector.export("openvino", tmp_path / "a.xml", precision="int8")


# ── being alike ────────────────────────────────────────────────────────────────────────────────────────────

ALIKE = Alike(share=0.9, median_px=1.0, shift_px=0.5)
HALF = (200, 200)  # the model's input; images are 400x400


def like(one: Detections, other: Detections) -> Likeness:
    return likeness("it", [one], [other], HALF, ALIKE)


def test_the_same_is_alike() -> None:
    one = detections()
    found = like(one, one[np.random.default_rng(1).permutation(40)])
    assert (found.sure, found.share, found.median_px, found.shift_px) == (
        int((one.scores >= 0.5).sum()),
        1,
        0,
        0,
    )
    assert found.faults == ()


def test_rounding_either_way_is_alike_but_a_shift_is_not() -> None:
    """In pixels of the model's input, half of those of the image."""
    one, rng = detections(), np.random.default_rng(2)
    apart = rng.choice([-1.6, 1.6], one.boxes_xyxy.shape).astype(np.float32)
    apart -= np.median(apart[one.scores >= 0.5], 0)  # as many to the left as to the right
    noise = like(one, replace(one, boxes_xyxy=one.boxes_xyxy + 0.5 * np.sign(apart)))
    assert noise.median_px == pytest.approx(0.25, abs=1e-4)
    moved = like(one, replace(one, boxes_xyxy=one.boxes_xyxy + np.float32(1.2)))
    assert moved.share == 1
    assert (moved.shift_px, moved.median_px) == pytest.approx((0.6, 0.6), abs=1e-4)
    assert moved.faults == (
        "their edges are shifted by 0.6 px of the model's input in the median, at most 0.5 is allowed",
    )
    far = like(one, replace(one, boxes_xyxy=one.boxes_xyxy + np.float32([-2.4, -2.4, 2.4, 2.4])))
    assert far.faults[0] == (
        "their edges are off by 1.2 px of the model's input in the median, at most 1 is allowed"
    )


def test_what_is_not_found_again() -> None:
    one = detections()
    sure = int((one.scores >= 0.5).sum())
    found = like(one, one[3:])
    assert found.share == (sure - 3) / sure
    assert found.faults == (
        f"of {sure} detections that score 0.5 only {found.share:.1%} are found again, "
        "at least 90% are expected",
    )
    other = replace(one, labels=(one.labels + 1) % 3)
    assert like(one, other).share < 0.5
    assert like(one, one[:0]).share == 0
    assert like(one[:0], one).faults == ()
