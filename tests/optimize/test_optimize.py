"""The fastest engine there is: what is chosen, that it says the same, and what happens without it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgewise import optimize as room
from edgewise.api import Detector
from edgewise.data.scenes import SceneDataset
from edgewise.export.compare import Tolerance
from edgewise.extras import MissingExtra
from edgewise.optimize import Differs, default_cache, openvino
from edgewise.optimize.engines import Order
from tests.export.conftest import detector as detector
from tests.export.conftest import images as images
from tests.export.conftest import tracing
from tests.process_groups import interrupted_without


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No home is written into, and torch has its threads back."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    threads = torch.get_num_threads()
    with tracing():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversions that several tests use."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)


def has_bf16(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(room, "multiplies_bf16", lambda: has)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_equal_detections(engine: Any, detector: Detector, images: list[np.ndarray], cache: Path) -> None:
    fast = detector.optimize("cpu", engine=engine, precision="fp32", cache=cache, threads=1)
    assert fast.choice.startswith(f"{engine} ")
    assert fast.choice.endswith(" in fp32 (as asked) on 1 thread")
    assert (fast.precision, fast.backend.split()[0]) == ("fp32", engine)
    for edges in (False, True):
        expected, found = (one.predict(images, "auto", edges=edges) for one in (detector, fast))
        for one, other in zip(expected, found, strict=True):
            assert len(one) > 0
            np.testing.assert_allclose(other.boxes_xyxy, one.boxes_xyxy, atol=0.05)
            np.testing.assert_allclose(other.scores, one.scores, atol=5e-4)
            np.testing.assert_allclose(other.edge_std, one.edge_std, atol=0.05)
            assert other.labels.tolist() == one.labels.tolist()
            assert (other.edges is not None) == edges
    assert fast.predict(images[0], 0.0).size == images[0].shape[:2]


def test_bf16_is_near(detector: Detector, images: list[np.ndarray]) -> None:
    if not room.multiplies_bf16():
        pytest.skip("this processor does not multiply bf16")
    fast = detector.optimize(engine="torch", precision="bf16", images=images)
    assert fast.precision == "bf16"
    best, near = (one.predict(images[0], 0.0) for one in (detector, fast))
    assert 0 < abs(near.scores[0] - best.scores[0]) < 0.1


def test_openvino_comes_first_and_is_quick_the_second_time(
    detector: Detector, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_bf16(monkeypatch, False)
    first = detector.optimize(cache=cache, threads=1)
    assert "in fp32 (this processor does not multiply bf16) on 1 thread" in first.choice
    assert first.choice.startswith("openvino")
    kept = {*cache.iterdir()}
    assert sorted(path.suffix for path in kept) == [".bin", ".bin", ".xml", ".xml"]
    monkeypatch.setattr(openvino, "converted", None)  # would fail if it were called
    detector.optimize(cache=cache, threads=1)
    assert {*cache.iterdir()} == kept


def test_other_weights_are_another_file(detector: Detector, tmp_path: Path) -> None:
    order = Order(detector, torch.device("cpu"), (96, 128), 1, tmp_path)
    other = detector.at()
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    paths = {
        openvino.cached_paths(one)
        for one in (order, replace(order, detector=other), replace(order, size=(64, 64)))
    }
    assert len(paths) == 3


@pytest.mark.parametrize("damage", ["half", "no weights", "other weights", "no graph"])
def test_a_damaged_cache_is_made_anew(
    damage: str, detector: Detector, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes: dict[str, Any] = {"engine": "openvino", "precision": "fp32", "threads": 1}
    detector.optimize(cache=cache, **wishes)
    copy = tmp_path / "copy"
    copy.mkdir()
    texts = {path.name: path.read_bytes() for path in cache.iterdir()}
    (xml,) = (name for name in texts if name.endswith("-decoder.xml"))
    weights = xml.replace(".xml", ".bin")
    size = len(texts[weights])
    if damage == "half":
        texts[weights] = texts[weights][: len(texts[weights]) // 2]
    elif damage == "no weights":
        del texts[weights]
    elif damage == "other weights":
        texts[weights] = bytes(len(texts[weights]))
    else:
        texts[xml] = texts[xml][:100]
    for name, text in texts.items():
        (copy / name).write_bytes(text)
    assert detector.optimize(cache=copy, **wishes).precision == "fp32"
    assert (copy / weights).stat().st_size == size
    monkeypatch.setattr(openvino, "converted", None)  # would fail if it were called
    assert detector.optimize(cache=copy, **wishes).precision == "fp32"


def test_where_nothing_can_be_kept(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fast = detector.optimize(engine="openvino", precision="fp32", cache=tmp_path / "file/cache")
    assert "; not kept for the next time: " in fast.choice
    assert len(fast.predict(SceneDataset(1)[0].image, 0.0))


@pytest.mark.usefixtures("no_openvino")
def test_without_openvino(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    has_bf16(monkeypatch, False)
    fast = detector.optimize()
    assert fast.choice.startswith(f"torch {torch.__version__.split('+')[0]} in fp32 (this processor does not")
    assert fast.choice.endswith("; openvino is not installed (pip install 'edgewise[openvino]')")
    with pytest.raises(MissingExtra, match=r"pip install 'edgewise\[openvino\]'"):
        detector.optimize(engine="openvino")


@pytest.mark.usefixtures("no_openvino")
def test_threads_are_the_cores_there_are(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    has_bf16(monkeypatch, False)
    torch.set_num_threads(3)
    monkeypatch.setattr(room, "cpu_cores", lambda: 1)
    assert " on 1 thread;" in detector.optimize().choice
    assert torch.get_num_threads() == 1
    monkeypatch.setattr(room, "cpu_cores", lambda: 64)  # but torch was told one
    assert " on 1 thread;" in detector.optimize().choice
    assert torch.get_num_threads() == 1


def test_what_differs_is_passed_over_or_refused(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    has_bf16(monkeypatch, True)
    monkeypatch.setitem(room.TOLERANCES, "bf16", Tolerance(box_px=1e-9, score=1e-9))
    fast = detector.optimize(engine="torch")
    assert " in fp32 (bf16 is out of tolerance) on " in fast.choice
    assert "in bf16 differs: of the 40 best detections in 2 images, " in fast.choice
    assert "90% are needed" in fast.choice
    with pytest.raises(Differs, match=r"torch .* in bf16 differs: of the 40 best .* within 1e-09 px"):
        detector.optimize(engine="torch", precision="bf16")
    monkeypatch.setitem(room.TOLERANCES, "fp32", Tolerance(box_px=1e-9, score=1e-9))
    with pytest.raises(
        Differs, match=r"^no engine says what this detector says: .*bf16 differs.*fp32 differs"
    ):
        detector.optimize(engine="torch")


def test_an_engine_that_says_nothing(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = ((20, 3), (20, 4), (20, 4, 33), (20, 4))
    nothing = tuple(np.full(shape, np.nan, np.float32) for shape in shapes)
    monkeypatch.setattr(room.TorchEngine, "__call__", lambda _self, pixels: [nothing] * len(pixels))
    with pytest.raises(Differs, match="not numbers"):
        detector.optimize(engine="torch", precision="fp32")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"engine": "torhc"}, "torch"),
        ({"precision": "fp23"}, "fp32"),
        ({"precision": "bf16"}, "neither AVX512_BF16 nor AMX.*or ask for 'fp32'"),
        ({"threads": 0}, "threads 0: expected at least one"),
        ({"size": 100}, "32"),
        ({"precision": "fp16"}, "precision 'fp16' is for GPUs; .* ask for 'bf16' or 'fp32'"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not at hand; expected auto or one of cpu"),
        ({"device": "gpu"}, "device 'gpu' is not at hand"),
        ({"device": "meta"}, "device 'meta': optimize is for 'cpu' and 'cuda'"),
    ],
)
def test_wishes_that_cannot_be(
    wishes: dict[str, Any], message: str, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_bf16(monkeypatch, False)
    with pytest.raises(ValueError, match=message):
        detector.optimize(**wishes)


def test_one_size_and_no_weights(detector: Detector) -> None:
    fast = detector.optimize(engine="torch", precision="fp32", size=(64, 96))
    assert repr(fast).endswith("3 classes, 64x96, " + fast.backend + ", fp32)")
    with pytest.raises(ValueError, match=r"optimized for 64x96 .* alone; optimize\(size=\(96, 128\)\)"):
        fast.predict(SceneDataset(1)[0].image, size=(96, 128))
    with pytest.raises(AttributeError, match="an optimized detector has no train; it is of the detector"):
        getattr(fast, "train")  # noqa: B009
    assert not hasattr(fast, "nonsense")
    assert default_cache().name == "edgewise"


ENGINES = """
from openvino import Model, opset13
from edgewise.optimize import OpenVinoEngine
pixels = opset13.parameter([1])
graph = Model([opset13.relu(pixels)], [pixels])
engines = [OpenVinoEngine((graph, graph), "fp32", 1) for _ in range(2)]
"""


def test_ctrl_c_after_several_engines_is_an_interrupt() -> None:
    """Where each had a Core of its own, it was a segmentation fault."""
    run = interrupted_without(ENGINES)
    assert (run.returncode, run.stdout) == (0, "interrupted\n"), run.stderr


OLD_PROCESSOR = """
import torch
from edgewise.api import Detector
from tests.train.tiny import NAMES, tiny_config
print(torch.backends.cpu.get_cpu_capability())
print(Detector(tiny_config(), NAMES, device="cpu").optimize(engine="torch", precision="fp32").likeness)
"""


def test_a_processor_without_avx512() -> None:
    """As torch and oneDNN are told to behave; what is there otherwise is not looked at."""
    told = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    words, root = [sys.executable, "-c", OLD_PROCESSOR], Path(__file__).parents[2]
    run = subprocess.run(words, env=os.environ | told, cwd=root, capture_output=True, text=True)
    capability, *likeness = run.stdout.splitlines()
    assert "AVX512" not in capability
    assert likeness == [
        "of the 40 best detections in 2 images, 40 are within 0.05 px, 0.0005 of score, 0.05 px of edge_std"
    ], run.stderr
