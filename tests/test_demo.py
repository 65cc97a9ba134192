"""The demo as a user gets it, whole."""

from pathlib import Path

import pytest

from edgewise import Detector, demo


def test_small_model_is_small_and_trainable() -> None:
    detector = Detector(demo.small_model(5), [f"class_{i}" for i in range(5)])
    assert detector.config.size == demo.SIZE
    assert len(detector.model.decoder.decoder.layers) == 2
    assert sum(p.numel() for p in detector.model.parameters() if p.requires_grad) < 1_300_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_demo_detects_unseen_scenes(tmp_path: Path) -> None:
    page = demo.run(tmp_path / "demo")
    text = page.read_text(encoding="utf-8")
    assert "detections.png" in text
    ap50 = float(text.split("AP50, unseen scenes</dt><dd>")[1][:5])
    assert ap50 >= 0.6
    again = Detector.from_pretrained(tmp_path / "demo" / "demo.safetensors")
    assert again.class_names == demo.CLASS_NAMES
