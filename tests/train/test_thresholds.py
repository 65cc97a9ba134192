"""The thresholds that a validation finds travel with the weights it chose."""

from pathlib import Path
from typing import Any

import pytest

from edgewise import checkpoint
from edgewise.thresholds import Thresholds
from tests.train.tiny import settings, trainer


class Scores:
    ap = 0.5

    def to_dict(self) -> dict[str, Any]:
        red = {"ap": 0.5, "best_threshold": 0.4, "count": 3}
        return {"ap": 0.5, "ap50": 0.5, "ap75": 0.5, "best_threshold": 0.3, "per_class": {"red": red}}


def test_best_and_last_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)
    config = settings(schedule__epochs=1, schedule__plain_epochs=0)
    for _ in trainer(tmp_path, config, validate=lambda model: Scores()).steps():
        pass
    expected = Thresholds(split="val", shared=0.3, by_class=(0.4, None, None), counts=(3, 0, 0))
    for name in ("best", "last"):
        assert checkpoint.load(tmp_path / f"{name}.safetensors").thresholds == expected
