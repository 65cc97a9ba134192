"""An exported detector answers like any other."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgewise
from edgewise.api import Detector
from edgewise.artifact import Artifact
from edgewise.calibration import Calibration
from edgewise.decode import decode
from edgewise.detections import Detections
from edgewise.preprocess import preprocess
from edgewise.runtime.base import BaseDetector
from edgewise.runtime.detector import OF_WEIGHTS, ExportedDetector
from edgewise.runtime.engines import Arrays, Engine
from tests.runtime import toy
from tests.test_calibration import calibration

PICTURES = [toy.picture(0), toy.picture(1, 90, 70), toy.picture(2)]


class Recorded(Engine):
    """The toy without a file; remembers what it was fed."""

    bytes = 0

    def __init__(self, artifact: Artifact) -> None:
        self.artifact, self.path = artifact, Path("recorded.onnx")
        self.name, self.device = "numpy", "cpu"
        self.fed: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.fed.append(dict(inputs))
        images = inputs["images"]
        if self.artifact.resize_inside:
            images = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
        if self.artifact.head == "raw":
            return toy.raw_outputs(images)
        return toy.finished_outputs(images, inputs["sizes"])


def expected(picture: np.ndarray, threshold: float, calibration: Calibration | None = None) -> Detections:
    """What `decode` makes of the toy's numbers."""
    image, geometry = preprocess(picture, toy.RAW.size)
    arrays = [one[0] for one in toy.raw_outputs(image[None]).values()]
    return decode(
        *arrays,
        geometry,
        values=toy.RAW.values,
        class_names=toy.NAMES,
        category_ids=(7, 3),
        threshold=threshold,
        calibration=calibration,
    )


def same(found: Detections, wanted: Detections) -> None:
    assert len(found) == len(wanted)
    for name in ("boxes_xyxy", "scores", "labels", "edge_std"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=1e-4)
    assert (found.size, found.class_names, found.category_ids) == (
        wanted.size,
        wanted.class_names,
        wanted.category_ids,
    )


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_raw_head_is_decoded_as_ever(artifacts: Path, suffix: str) -> None:
    detector = Detector.from_pretrained(artifacts / f"raw{suffix}", device="cpu", threads=1)
    assert isinstance(detector, ExportedDetector)
    assert isinstance(detector, BaseDetector)
    for threshold in (0.0, 0.5):
        wanted = [expected(one, threshold) for one in PICTURES]
        assert any(len(one) for one in wanted)
        for batch in (1, 2, 8):
            for found, one in zip(detector.predict(PICTURES, threshold, batch=batch), wanted, strict=True):
                same(found, one)
        for found, one in zip(detector.predict_arrays(PICTURES, threshold), wanted, strict=True):
            same(found, one)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_finished_head_is_taken_as_it_is(artifacts: Path, suffix: str) -> None:
    detector = Detector.from_pretrained(artifacts / f"finished{suffix}")
    for picture, found in zip(PICTURES, detector.predict(PICTURES, 0.0), strict=True):
        height, width = picture.shape[:2]
        np.testing.assert_allclose(
            found.boxes_xyxy[0], [0.1 * width, 0.2 * height, 0.6 * width, 0.8 * height]
        )
        np.testing.assert_allclose(found.edge_std[1], [0.01 * width, 0.01 * height] * 2, rtol=1e-6)
        assert found.labels.tolist() == [1, 0]
        assert found.size == (height, width)
        best = float(found.scores[0])
        assert best == pytest.approx(preprocess(picture, (64, 96))[0][0].mean(), abs=1e-5)
        assert len(detector.predict(picture, best - 0.01)) == 1
        assert not len(detector.predict(picture, best + 0.01))
        assert detector.predict(picture, np.array([1.0, best - 0.01])).labels.tolist() == [1]


def test_files_and_their_places(artifacts: Path, tmp_path: Path) -> None:
    detector = Detector.from_pretrained(artifacts / "raw.onnx")
    for i, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    found = detector.predict(tmp_path, 0.0)
    assert [one.source for one in found] == [tmp_path / f"{i}.png" for i in range(3)]
    same(found[1], expected(PICTURES[1], 0.0))
    stream = detector.predict(tmp_path, 0.0, stream=True)
    same(next(stream), expected(PICTURES[0], 0.0))


def test_edges_of_a_raw_head_and_none_of_a_finished_one(artifacts: Path) -> None:
    raw = Detector.from_pretrained(artifacts / "raw.onnx").predict(PICTURES[0], 0.0, edges=True)
    assert raw.edges is not None
    np.testing.assert_allclose(raw.edges.std, raw.edge_std, rtol=1e-5)
    with pytest.raises(ValueError, match=r"finished\.onnx: its head gives finished detections"):
        Detector.from_pretrained(artifacts / "finished.onnx").predict(PICTURES[0], edges=True)


def test_thresholds_travel_with_the_file(artifacts: Path) -> None:
    detector = Detector.from_pretrained(artifacts / "raw.onnx")
    assert detector.thresholds == toy.RAW.thresholds
    same(detector.predict(PICTURES[0], "auto"), detector.predict(PICTURES[0], np.array([0.6, 0.5])))


def test_a_calibration_travels_with_the_file() -> None:
    raw = ExportedDetector(Recorded(replace(toy.RAW, calibration=calibration())))
    found = raw.predict(PICTURES[0], 0.0)
    same(found, expected(PICTURES[0], 0.0, calibration()))
    assert found.calibrated
    same(raw.uncalibrated().predict(PICTURES[0], 0.0), expected(PICTURES[0], 0.0))
    finished = ExportedDetector(Recorded(replace(toy.FINISHED, calibration=calibration())))
    found = finished.predict(PICTURES[0], 0.0)
    reach = found.edge_interval(0.9)[..., 1] - found.boxes_xyxy
    np.testing.assert_allclose(reach, 2.7 * found.edge_std, rtol=1e-4)
    with pytest.raises(ValueError, match=r"recorded\.onnx: its calibration is part of the graph"):
        finished.uncalibrated()


def test_what_goes_in() -> None:
    engine = Recorded(toy.FINISHED)
    ExportedDetector(engine).predict(PICTURES, 0.0, batch=2)
    assert [one["images"].shape for one in engine.fed] == [(2, 3, 64, 96), (1, 3, 64, 96)]
    assert engine.fed[0]["images"].dtype == np.float32
    assert [one["sizes"].tolist() for one in engine.fed] == [[[40, 60], [90, 70]], [[40, 60]]]


def test_a_file_that_resizes_gets_the_images_as_they_are() -> None:
    engine = Recorded(replace(toy.RAW, resize_inside=True))
    found = ExportedDetector(engine).predict([PICTURES[0], PICTURES[2]], 0.0)
    assert [one["images"].shape for one in engine.fed] == [(2, 40, 60, 3)]
    assert engine.fed[0]["images"].dtype == np.uint8
    assert [one.size for one in found] == [(40, 60), (40, 60)]
    engine.fed.clear()
    mixed = ExportedDetector(engine).predict(PICTURES, 0.0)
    assert [one["images"].shape[1:3] for one in engine.fed] == [(40, 60), (90, 70), (40, 60)]
    same(mixed[0], found[0])
    assert mixed[1].size == (90, 70)


def test_sizes_that_a_file_takes() -> None:
    fixed, free = (ExportedDetector(Recorded(replace(toy.RAW, dynamic_size=one))) for one in (False, True))
    assert len(free.predict(PICTURES[0], 0.0, size=(32, 64)))
    assert free.engine.fed[-1]["images"].shape == (1, 3, 32, 64)  # type: ignore[attr-defined]
    assert len(fixed.predict(PICTURES[0], 0.0, size=(64, 96)))
    with pytest.raises(ValueError, match=r"size 64x64: recorded\.onnx takes 64x96 \(height x width\) alone"):
        fixed.predict(PICTURES[0], size=64)
    with pytest.raises(ValueError, match="not a positive multiple of 32"):
        free.predict(PICTURES[0], size=65)


def test_what_needs_weights_is_not_there(artifacts: Path) -> None:
    detector = Detector.from_pretrained(artifacts / "raw.onnx")
    with pytest.raises(
        AttributeError, match="an exported detector has no train; it is of the checkpoint that"
    ):
        detector.train("data")
    with pytest.raises(AttributeError, match="'ExportedDetector' object has no attribute 'trian'"):
        detector.trian  # type: ignore[attr-defined]  # noqa: B018
    own = {name for name in dir(Detector) if not name.startswith("_")}
    shared = {name for name in dir(ExportedDetector) if not name.startswith("_")}
    assert (own - shared) | {"model"} == {*OF_WEIGHTS}


def test_classes_are_the_files_own(artifacts: Path) -> None:
    assert Detector.from_pretrained(artifacts / "raw.onnx", ["cat", "dog"]).class_names == toy.NAMES
    with pytest.raises(ValueError, match=r"raw\.onnx: its classes are cat, dog; leave out classes"):
        Detector.from_pretrained(artifacts / "raw.onnx", ["a", "b"])


def test_without_torch_the_detector_is_that_of_exported_files(artifacts: Path) -> None:
    """As where torch is not installed: it cannot be found, and nothing asks for it."""
    program = f"""
import importlib.util, json, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "torch" else find(name, package)
sys.modules["torch"] = sys.modules["pydantic"] = None
import numpy as np
from edgewise import Detections, Detector
detector = Detector.from_pretrained({str(artifacts / "raw.onnx")!r})
found = detector.predict(np.full((40, 60, 3), 90, np.uint8), 0.0)
assert isinstance(found, Detections)
try:
    Detector.from_pretrained("best.safetensors")
except ValueError as error:
    print(json.dumps([found.to_dict(), str(error)]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, error = json.loads(done.stdout)
    here = edgewise.Detector.from_pretrained(artifacts / "raw.onnx")
    assert found == here.predict(np.full((40, 60, 3), 90, np.uint8), 0.0).to_dict()
    assert error == (
        "best.safetensors: without torch only exported detectors are read, .onnx, .xml or .engine; export it "
        "with `edgewise export`, or install what reads weights: pip install edgewise"
    )
