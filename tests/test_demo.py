"""The demo as a user gets it: in small, and whole."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from edgewise import Detector, demo
from edgewise.data.scenes import CLASS_NAMES, SceneDataset


def numbers(page: Path) -> dict[str, str]:
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.read_text(encoding="utf-8"))
    return dict(found)


def test_another_camera_sees_the_same_boxes() -> None:
    seen, other = SceneDataset(2, 0, "test"), demo.InfraredScenes(2, 0, "test")
    np.testing.assert_array_equal(other[1].boxes_xyxy, seen[1].boxes_xyxy)
    image = other[1].image
    assert image.shape == seen[1].image.shape
    assert (image == image[..., :1]).all()  # one channel
    np.testing.assert_array_equal(image, demo.InfraredScenes(2, 0, "test")[1].image)  # the same grain
    grey = seen[1].image.mean(-1)
    assert np.corrcoef(grey.ravel(), image[..., 0].ravel())[0, 1] < -0.5  # negative


def test_it_shows_error_bars_and_their_truth_and_then_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, count in (("UNSEEN", 8), ("TRAIN", 16), ("VAL", 4)):
        monkeypatch.setattr(demo, name, count)
    monkeypatch.setattr(demo, "SETTINGS", demo.SETTINGS.updated({"schedule.epochs": 1, "workers": 0}))
    console = Console(record=True, width=200)
    page = demo.run(tmp_path / "demo", console=console)
    assert page == tmp_path / "demo" / "report.html"
    found, text = numbers(page), page.read_text(encoding="utf-8")
    assert re.fullmatch(r"0\.\d+ → 0\.\d+", found["AP, infrared"])
    for picture in ("detections", "ambiguity", "before", "after", "curves"):
        assert f"{picture}.png" in text
        with Image.open(tmp_path / "demo" / f"{picture}.png") as image:
            assert image.width > 500
    assert "constant in box sides" in text
    said = console.export_text()
    assert said.index("error bars") < said.index("infrared")  # before any training
    assert Detector.from_pretrained(tmp_path / "demo" / "demo.safetensors").class_names == CLASS_NAMES


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_demo_keeps_its_word(tmp_path: Path) -> None:
    found = numbers(demo.run(tmp_path / "demo"))
    assert min(map(float, found["ρ of predicted with true spread"].split(" · "))) >= 0.5
    before, after = map(float, found["AP, infrared"].split(" → "))
    assert after > before + 0.05
