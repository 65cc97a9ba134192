"""A small calibrated detector and what it is exported to, made once."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

from edgewise import export as room
from edgewise.api import Detector
from edgewise.artifact import Artifact, Precision
from edgewise.calibration import LEVELS, Calibration, ScoreCalibration, Source
from edgewise.data.scenes import SceneDataset
from edgewise.export import Proof, export, prove
from edgewise.export.compare import TOLERANCES
from edgewise.export.describe import describe
from edgewise.thresholds import Thresholds
from tests.cli.conftest import edgewise as edgewise
from tests.train.tiny import NAMES, tiny_config


def calibration() -> Calibration:
    """One in which every number matters."""
    rows = tuple(tuple(edge + 3 * level for level in LEVELS) for edge in (0.1, 0.2, 0.3, 0.4))
    return Calibration(
        temperature=(0.8, 1.1, 1.3, 0.9),
        scale=(1.2, 0.7, 1.1, 0.9),
        floor=(0.01, 0.02, 0.03, 0.04),
        margins=rows,
        joint=rows[3],
        score=ScoreCalibration((0.0, 0.2, 0.6, 1.0), (0.0, 0.1, 0.8, 1.0)),
        source=Source("abc", "val", "2026-01-01", 12, 345, 0.1),
    ).sealed()


@pytest.fixture(scope="session")
def detector() -> Detector:
    """Weights that make every part of the model speak."""
    config = tiny_config().updated({"size": (96, 128), "decoder.num_queries": 20})
    made, generator = Detector(config, NAMES, device="cpu"), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in made.model.parameters():
            if weight.requires_grad:
                fan = weight[0].numel() if weight.dim() > 1 else 25
                weight += torch.randn(weight.shape, generator=generator) / fan**0.5
        for head in made.model.decoder.dec_score_head:
            head.bias += 5  # scores on both sides of a half
    made.thresholds = Thresholds("val", 0.5, (0.4, None, 0.6), (3, 0, 5))
    made.calibration = calibration()
    return made


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Scenes whose shape is not the model's."""
    scenes = SceneDataset(4, seed=3, split="val", size=(120, 200))
    return [scenes[i].image for i in range(4)]


KINDS = [{}, {"head": "raw", "dynamic_size": True}, {"resize_inside": True, "sampler": "native"}]


@contextmanager
def tracing() -> Iterator[None]:
    """Annotations are not checked: shapes of a trace are symbols."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def proof_of(
    path: Path, detector: Detector, images: list[np.ndarray], precision: Precision = "fp32"
) -> Proof:
    return prove(path, detector.model, images, detector.predictor, tolerance=TOLERANCES[precision])


@dataclass(frozen=True)
class Exported:
    path: Path
    artifact: Artifact
    proof: Proof


Export = Callable[..., Exported]


@pytest.fixture(scope="session")
def exported(
    detector: Detector, images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Export:
    """`exported(head="raw", …)`: the detector as ONNX; each kind is made once."""
    made: dict[str, Exported] = {}

    def make(**wishes: object) -> Exported:
        key = repr(sorted(wishes.items()))
        if key not in made:
            path = tmp_path_factory.mktemp("export") / "tiny.onnx"
            artifact = describe(detector.checkpoint(), **wishes)
            with tracing():
                proof = export(detector.model, artifact, path, images, detector.predictor)
            made[key] = Exported(path, artifact, proof)
        return replace(made[key])

    return make


Write = Callable[[Path, Artifact], object]
WriteInstead = Callable[[str, Write], None]


@pytest.fixture
def write_instead(monkeypatch: pytest.MonkeyPatch) -> WriteInstead:
    """What export writes in place of a target's graph."""

    def put(target: str, write: Write) -> None:
        made = replace(room.TARGETS[target], write=lambda _model, artifact, path: write(path, artifact))
        monkeypatch.setitem(room.TARGETS, target, made)

    return put


CheckPage = Callable[[str, Path], None]


@pytest.fixture
def check_page(
    detector: Detector,
    images: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> CheckPage:
    """`check_page("import onnx", path)`: the lines of docs/export.md with this find what `detector` does."""

    def check(words: str, path: Path) -> None:
        page = Path(__file__).parents[2] / "docs/export.md"
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        (code,) = (one for one in blocks if words in one)
        (tmp_path / f"model{path.suffix}").write_bytes(path.read_bytes())
        Image.fromarray(images[0]).save(tmp_path / "photo.png")
        monkeypatch.chdir(tmp_path)
        exec(code.replace("photo.jpg", "photo.png"), {})
        lines = capsys.readouterr().out.splitlines()
        expected = detector.predict(images[0], 0.5)
        assert len(lines) == len(expected) > 0
        assert Counter(line.split()[0] for line in lines) == Counter(expected.names.tolist())

    return check
