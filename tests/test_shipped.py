"""The detector that comes with the package: small, whole, calibrated, and unsure where it should be."""

from functools import partial
from importlib.resources import files
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder
from safetensors import safe_open

from edgewise import Detector
from edgewise.data.scenes import CLASS_NAMES, SceneDataset, write_coco
from edgewise.evaluation.calibration.pairs import collect
from edgewise.uses.ambiguity import Ambiguity
from tests.cli.conftest import Edgewise
from tests.cli.conftest import edgewise as edgewise
from tests.doctor.folders import Coco

PLACE = "edgewise/checkpoint/scenes.safetensors"
LEAST = 0.8  # of each size group; 0.81 and more on 1,000 scenes (benchmarks/results/scenes)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.from_pretrained("dfine-n-scenes", device="cpu")


def test_it_is_a_whole_detector_of_size_n(detector: Detector) -> None:
    assert detector.config.name == "n"
    assert detector.class_names == CLASS_NAMES
    assert detector.calibration is not None
    assert detector.calibration.score is not None
    assert detector.thresholds is not None
    assert next(detector.model.parameters()).dtype.is_floating_point


def test_it_is_stored_in_half_precision_and_small() -> None:
    path = Path(str(files("edgewise") / PLACE.removeprefix("edgewise/")))
    assert path.stat().st_size <= 9e6
    with safe_open(path, "pt") as file:
        kinds = {file.get_slice(key).get_dtype() for key in file.offset_keys()}
    assert kinds <= {"F16", "I64"}


def test_it_is_in_the_wheel(tmp_path: Path) -> None:
    builder = WheelBuilder(str(Path(__file__).parents[1]))
    built = next(builder.build(directory=str(tmp_path), versions=["standard"]))
    with ZipFile(built) as archive:
        assert archive.getinfo(PLACE).compress_size <= 9e6
        archive.extract(PLACE, tmp_path)
    assert Detector.from_pretrained(tmp_path / PLACE, device="cpu").class_names == CLASS_NAMES


def test_predicted_spread_follows_the_true_one(detector: Detector) -> None:
    scenes = SceneDataset(160, seed=21, split="test")
    predict = partial(detector.predictor().predict_arrays, edges=True)
    pairs = collect(scenes, predict, detector.enough(scenes), batch=16).pairs
    assert len(pairs) > 300
    for group, one in Ambiguity.of(pairs, scenes).correlations().items():
        assert one["predicted"] >= LEAST, group
        assert abs(one["constant in pixels"]) < 0.1, group
        assert abs(one["constant in box sides"]) < 0.1, group


def test_training_starts_from_it(edgewise: Edgewise, tmp_path: Path) -> None:
    words = ("train", Coco(tmp_path).folder, "--out", tmp_path / "run", "--size", "64", "--epochs", "1")
    code, text = edgewise(*words, "--device", "cpu", "--no-selfcheck", "--set", "workers=0")
    assert code == 0, text
    assert "start: dfine-n-scenes, which comes with the package" in text
    assert "rows are kept: none; new, with fresh rows: cat, dog" in text
    found = Detector.from_pretrained(tmp_path / "run/best.safetensors", device="cpu")
    assert found.trained == "detector"
    assert found.config.decoder.num_queries == 300  # as published; for scenes 100 are enough


def test_more_scenes_leave_its_size_as_it_is(tmp_path: Path) -> None:
    own = Detector.from_pretrained("dfine-n-scenes", device="cpu")
    assert own.trained == "scenes"
    write_coco(tmp_path / "scenes", [SceneDataset(4, size=(480, 960))])
    run = own.train(
        tmp_path / "scenes", out=tmp_path / "run", epochs=1, selfcheck=False, changes={"workers": 0}
    )
    assert run.config.size == (160, 320)
    assert own.config.decoder.num_queries == 100
