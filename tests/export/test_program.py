from pathlib import Path

import numpy as np
import pytest
import torch

from edgewise.api import Detector
from edgewise.artifact import KEY, Artifact, read_artifact
from edgewise.export import read_proof
from edgewise.export.describe import describe
from edgewise.export.int8 import inputs_of
from edgewise.export.program import PackageEngine, ProgramEngine, write
from edgewise.runtime.engines import is_exported
from tests.export.conftest import KINDS, CheckPage, proof_of, tracing
from tests.export.test_onnx import same


def written(detector: Detector, path: Path, **wishes: object) -> Artifact:
    artifact = describe(detector.checkpoint(), target="torch", **wishes)  # type: ignore[arg-type]
    with tracing():
        write(detector.model, artifact, path)
    return artifact


@pytest.mark.parametrize("wishes", KINDS, ids=["detections", "raw", "native"])
def test_answers_like_the_checkpoint(
    wishes: dict[str, object], detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "a.pt2"
    artifact = written(detector, path, **wishes)
    proof = proof_of(path, detector, images)
    assert proof.passed, str(proof)
    assert proof.engine.startswith("torch")
    assert all(check.pairs > 0 for check in proof.checks)
    texts = {KEY: ""}
    module = torch.export.load(path, extra_files=texts).module()  # as a user does, without Edgewise
    assert read_artifact(texts[KEY], "it") == artifact
    inputs = [torch.from_numpy(one) for one in inputs_of(artifact, images[:1]).values()]
    assert tuple(module(*inputs)) == artifact.outputs


def test_a_changed_weight_is_caught(detector: Detector, images: list[np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    artifact = written(detector, path)
    program = torch.export.load(path)
    weights = program.state_dict
    name = next(one for one in weights if "backbone.stages.1" in one and one.endswith("weight"))
    with torch.no_grad():
        weights[name].view(-1)[0] += 5
    torch.export.save(program, path, extra_files={KEY: artifact.to_json()})
    proof = proof_of(path, detector, images)
    assert not proof.passed
    assert "the first tensor that drifts is backbone.stages.1 (after backbone.stages.0" in str(proof.drift)


def test_of_another_program(tmp_path: Path) -> None:
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "a.pt2")
    with pytest.raises(ValueError, match=r"a.pt2: no edgewise metadata"):
        ProgramEngine(tmp_path / "a.pt2")


@pytest.mark.usefixtures("unchecked")
def test_exported_by_the_detector(
    detector: Detector, images: list[np.ndarray], tmp_path: Path, check_page: CheckPage
) -> None:
    """Programs run what is in them, so that nothing but export loads one: docs/export.md says how to."""
    path = tmp_path / "a.pt2"
    proof = detector.export("torch", path, images=images)
    assert read_proof(path) == proof
    assert not is_exported(path)
    with pytest.raises((ValueError, FileNotFoundError)):
        Detector.from_pretrained(path)
    check_page("torch.export.load", path)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_a_compiled_package(
    detector: Detector, images: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling it takes a minute or two."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "a.aot.pt2"
    proof = detector.export("aot", path, images=images)
    assert read_proof(path) == proof
    assert [check.images for check in proof.checks] == [4, 4, 8, 8]
    assert all(check.pairs > 0 and check.box_px <= 0.05 for check in proof.checks)
    assert "AOTInductor" in proof.engine
    with pytest.raises(ValueError, match=r"a.aot.pt2: it holds machine code.*trust=True, or --trust"):
        Detector.from_pretrained(path)
    found = Detector.from_pretrained(path, trust=True)
    assert found.artifact.target == "aot"  # type: ignore[attr-defined]
    for one, other in zip(found.predict(images, 0.3), detector.predict(images, 0.3), strict=True):
        same(one, other)
        assert len(one)
    with pytest.raises(ValueError, match=r"device 'cuda': .*a.aot.pt2 was compiled for the CPU"):
        Detector.from_pretrained(path, device="cuda", trust=True)
    with pytest.raises(ValueError, match=r"a.aot.pt2: expected a name that ends with \.pt2"):
        detector.export("torch", path, images=images)


def test_a_package_that_is_none(tmp_path: Path) -> None:
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "a.aot.pt2")
    with pytest.raises(ValueError, match=r"a.aot.pt2: torch cannot load it: .+"):
        PackageEngine(tmp_path / "a.aot.pt2")


@pytest.mark.usefixtures("unchecked")
def test_without_a_compiler(
    detector: Detector, images: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(
        ValueError, match=r"'aot' needs a C\+\+ compiler, and torch finds none.*export to torch"
    ):
        detector.export("aot", tmp_path / "a.aot.pt2", images=images)
    assert not list(tmp_path.iterdir())
