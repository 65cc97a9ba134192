"""Profile, cut and trace on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.api import Detector
from edgewise.data.scenes import CLASS_NAMES, SceneDataset, write_coco
from edgewise.thresholds import Thresholds
from tests.cli.conftest import Edgewise
from tests.train.tiny import tiny_config


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    config = tiny_config(len(CLASS_NAMES)).updated({"decoder.num_layers": 3})
    detector = Detector(config, CLASS_NAMES, device="cpu")
    classes = len(CLASS_NAMES)
    detector.thresholds = Thresholds(
        split="val", shared=0.4, by_class=(0.4,) * classes, counts=(1,) * classes
    )
    detector.save(path)
    return path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_coco(folder, [SceneDataset(3, split=split, size=(96, 96)) for split in ("train", "val")])
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(path)
    return path


def test_profile(weights: Path, scenes: Path, tmp_path: Path, edgewise: Edgewise) -> None:
    words = ("--queries", 4, "--repeats", 1, "--batch", 2, "--device", "cpu", "--out", tmp_path / "found")
    code, text = edgewise("profile-layers", weights, scenes, *words)
    assert code == 0, text
    assert "dynamic exit: not recommended" in text
    numbers = json.loads((tmp_path / "found/layers.json").read_text(encoding="utf-8"))
    assert numbers["images"] == 3
    assert {(one["layers"], one["queries"]) for one in numbers["cuts"]} == {
        (float(layer), queries) for layer in (1, 2, 3) for queries in (4, 10)
    }
    assert [one["layers"] for one in numbers["exits"]] == [2.0]  # untrained: sure of nothing, and so settled
    assert (tmp_path / "found/layers.md").exists()
    assert (tmp_path / "found/layers.png").exists()


def test_cut(weights: Path, photo: Path, tmp_path: Path, edgewise: Edgewise) -> None:
    fast = tmp_path / "fast.safetensors"
    code, text = edgewise("cut", weights, fast, "--layers", 2, "--queries", 5, "--exit", 0.3, "--no-half")
    assert code == 0, text
    assert "2 layers, 5 queries, stops below 0.3 nats" in text
    whole, cut = (Detector.from_pretrained(one, device="cpu") for one in (weights, fast))
    decoder = cut.config.decoder
    assert (decoder.num_layers, decoder.num_queries, decoder.exit) == (2, 5, 0.3)
    assert whole.thresholds is not None
    assert cut.thresholds is None  # those of another layer's scores
    expected = whole.at(layers=2, queries=5).predict(photo, 0.0)
    np.testing.assert_array_equal(cut.predict(photo, 0.0).boxes_xyxy, expected.boxes_xyxy)


def test_fewer_queries_keep_the_thresholds(weights: Path, tmp_path: Path, edgewise: Edgewise) -> None:
    fast = tmp_path / "fast.safetensors"
    assert edgewise("cut", weights, fast, "--queries", 5)[0] == 0
    whole, cut = (Detector.from_pretrained(one, device="cpu") for one in (weights, fast))
    assert cut.thresholds == whole.thresholds
    assert fast.stat().st_size < 0.7 * weights.stat().st_size


def test_trace(weights: Path, photo: Path, tmp_path: Path, edgewise: Edgewise) -> None:
    out = tmp_path / "new/trace.png"
    code, text = edgewise("trace", weights, photo, "--threshold", 0, "--box", 2, "--out", out)
    assert code == 0, text
    assert "object 2 of 10 over 3 layers is drawn in" in text
    with Image.open(out) as picture:
        assert picture.width > 500


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("cut", "WEIGHTS", "x.safetensors"), "nothing to cut; give --layers, --queries or --exit"),
        (("cut", "WEIGHTS", "x.safetensors", "--layers", 9), "layers=9: this model has 3; expected 1 to 3"),
        (
            ("cut", "WEIGHTS", "x.safetensors", "--exit", -1),
            "exit: Input should be greater than or equal to 0",
        ),
        (("trace", "WEIGHTS", "PHOTO"), "box 0: no object reached the threshold"),
        (("trace", "WEIGHTS", "PHOTO", "--threshold", 0, "--box", 10), "box 10: expected 0 to 9"),
        (("trace", "WEIGHTS", "PHOTO", "--threshold", 0, "--out", "a.txt"), "Format 'txt' is not supported"),
        (("profile-layers", "WEIGHTS", "SCENES", "--queries", 11), "queries=11: this model has 10"),
        (("profile-layers", "WEIGHTS", "SCENES", "--repeats", 0), "repeats 0: expected at least one"),
    ],
)
def test_mistakes_have_a_way_out(
    words: tuple[object, ...],
    expected: str,
    weights: Path,
    scenes: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    edgewise: Edgewise,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"WEIGHTS": weights, "SCENES": scenes, "PHOTO": photo}
    code, text = edgewise(*(places.get(str(word), word) for word in words))
    assert code == 1
    assert expected in text
