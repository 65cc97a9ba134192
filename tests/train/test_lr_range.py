"""The range test: a rate from the course of a loss, and a model that stays as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgewise.train import lr_range
from edgewise.train.lr_range import LrRange, draw_range, find_rate
from edgewise.train.probe import Probe
from tests.train.tiny import Patches, settings, tiny_model

CPU = torch.device("cpu")


def course(diverged: bool = True) -> LrRange:
    """A loss that falls from 40 to 20 at 1e-2 and rises to 200 at 1e-1."""
    rates = np.geomspace(1e-6, 1e-1, 101)
    losses = np.interp(np.log10(rates), [-6, -4, -2, -1], [40, 38, 20, 200])
    return LrRange(rates, losses, backbone=0.5, diverged=diverged)


def test_smoothing_starts_with_the_first_loss_and_weighs_what_is_near() -> None:
    found = LrRange(np.ones(3), np.array([8.0, 4.0, 4.0]), 1.0, False)
    second = (4 + 0.85 * 8) / 1.85
    third = (4 + 0.85 * 4 + 0.85**2 * 8) / (1 + 0.85 + 0.85**2)
    assert found.smoothed == pytest.approx([8, second, third])


def test_a_tenth_of_the_turning_point_is_suggested() -> None:
    found = course()
    assert 1e-2 <= found.rates[found.turn] <= 1.5e-2  # smoothing lags a step or two
    assert found.suggested == pytest.approx(found.rates[found.turn] / 10, rel=0.05)
    assert found.changes == {
        "optimizer.lr": found.suggested,
        "optimizer.backbone_lr": pytest.approx(found.suggested / 2, rel=0.05),
    }
    assert found.idle == 20  # of 100 steps in five decades
    assert found.start == pytest.approx(40, rel=0.02)
    assert f"where the loss turns ({found.start:.2f} → " in str(found)


def test_a_loss_that_never_turned_is_said() -> None:
    rates = np.geomspace(1e-6, 1e-1, 50)
    found = LrRange(rates, np.linspace(40, 20, 50), 1.0, False)
    assert str(found).startswith("rate 1.0e-02 (backbone 1.0e-02): a tenth of 1.0e-01, the highest tried")


def test_the_picture_shows_the_course(tmp_path: Path) -> None:
    draw_range(course(), tmp_path / "lr_range.png")
    pixels = np.asarray(Image.open(tmp_path / "lr_range.png").convert("RGB")).reshape(-1, 3)
    for colour in ((31, 119, 180), (255, 127, 14)):  # the smoothed loss, the suggestion
        assert (np.abs(pixels.astype(int) - colour).max(1) < 8).sum() > 100


def test_a_rate_is_found_and_nothing_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_range, "STEPS", (24, 24))
    model, config = tiny_model(), settings()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    found = find_rate(model, Patches(), config, CPU)
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert found.rates[0] == pytest.approx(1e-6)
    assert found.rates[-1] <= 0.1 * 1.001
    assert np.isfinite(found.losses).all()
    assert 1e-6 < found.suggested < 1e-1
    assert found.backbone == pytest.approx(0.1)


def test_a_divergence_ends_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([*[10.0] * 10, 8.0, 6.0, *[1000.0] * 40])
    monkeypatch.setattr(Probe, "step", lambda self, batch, step, rate: {"vfl/0": next(losses)})
    found = find_rate(tiny_model(), Patches(), settings(), CPU)
    assert found.diverged
    assert len(found.losses) < 30


def test_a_step_that_is_not_finite_ends_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: object, batch: object, step: int, rate: float) -> dict[str, float]:
        if step == 20:
            raise FloatingPointError("step 20: vfl/0 is nan")
        return {"vfl/0": 26.0 - step, "l1/0": 4.0}

    monkeypatch.setattr(Probe, "step", step)
    found = find_rate(tiny_model(), Patches(), settings(), CPU)
    assert found.diverged
    assert len(found.losses) == 20
    assert found.losses[0] == 30


def test_no_rate_that_works_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "step", lambda self, batch, step, rate: {"vfl/0": 10.0 + step})
    with pytest.raises(
        ValueError, match=r"no rate from 1\.0e-06 to .* lowered the loss, which began at 12\.50 and"
    ):
        find_rate(tiny_model(), Patches(), settings(), CPU)


def test_weights_that_are_broken_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: object, batch: object, step: int, rate: float) -> dict[str, float]:
        raise FloatingPointError("step 0: vfl/0 is nan")

    monkeypatch.setattr(Probe, "step", step)
    with pytest.raises(ValueError, match="the very first loss is not finite"):
        find_rate(tiny_model(), Patches(), settings(), CPU)
