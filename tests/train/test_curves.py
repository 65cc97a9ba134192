"""The picture of a run: there, not blank, whatever the run could measure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgewise.train.curves import LOSSES, plot_curves


def line(epoch: int, ap: float | None = 0.3, loss: float = 1.0) -> dict[str, Any]:
    classes = {"cat": {"ap": ap}, "owl": {"ap": None}}
    val = {"ap": ap, "ap50": ap, "ap75": None, "best_f1": ap, "best_threshold": None, "per_class": classes}
    losses = dict.fromkeys(LOSSES, loss / epoch)
    speed = {"images_per_s": 5.0, "wait_share": 0.1, "skipped": 0}
    return {"epoch": epoch, "lr": 1e-3 / epoch, "loss": losses, "val": val} | speed


def colours(path: Path) -> int:
    with Image.open(path) as image:
        return len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))


def without_val(one: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != "val"}


def with_classes(one: dict[str, Any], count: int) -> dict[str, Any]:
    classes = {f"class {i}": {"ap": i / count / one["epoch"]} for i in range(count)}
    return one | {"val": one["val"] | {"per_class": classes}}


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([line(1), line(2), line(3, 0.5)], id="three epochs"),
        pytest.param([line(1)], id="one epoch"),
        pytest.param([without_val(line(1)), without_val(line(2))], id="without validation"),
        pytest.param([without_val(line(1)), line(2), without_val(line(3))], id="validated now and then"),
        pytest.param([line(1) | {"skipped": 2}, line(2)], id="skipped steps"),
        pytest.param([with_classes(line(1), 30), with_classes(line(2), 30)], id="many classes"),
        pytest.param([line(1, None), line(2, None), line(3, 0.1)], id="undefined AP"),
        pytest.param(
            [line(1) | {"loss": dict.fromkeys(LOSSES, 0.0) | {"cls": 2.0}}], id="nothing but background"
        ),
    ],
)
def test_a_picture_that_is_not_blank(history: list[dict[str, Any]], tmp_path: Path) -> None:
    plot_curves(history, tmp_path / "results.png")
    assert colours(tmp_path / "results.png") > 50


def test_a_longer_run_looks_different(tmp_path: Path) -> None:
    for count in (2, 3):
        plot_curves([line(epoch) for epoch in range(1, count + 1)], tmp_path / f"{count}.png")
    assert (tmp_path / "2.png").read_bytes() != (tmp_path / "3.png").read_bytes()
