"""What changes over a run, worked by hand."""

import math

import pytest

from edgewise.config import DenseConfig, ScheduleConfig, TrainConfig
from edgewise.train import schedule

PLAIN = ScheduleConfig(epochs=10, warmup_steps=4, plain_epochs=3, ema_decay=0.9, ema_warmup_steps=20)


def test_the_rate_warms_up_linearly_and_stays() -> None:
    rates = [schedule.rate(PLAIN, step, 100) for step in (0, 1, 2, 3, 4, 99)]
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1]


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert schedule.rate(PLAIN.updated({"warmup_steps": 0}), 0, 100) == 1


def test_after_the_flat_part_a_cosine_falls_to_the_final_rate() -> None:
    config = PLAIN.updated({"flat": 0.5, "final_lr": 0.2})
    rates = [schedule.rate(config, step, 100) for step in (49, 50, 75, 100)]
    assert rates == pytest.approx([1, 1, 0.6, 0.2])
    assert schedule.rate(config, 99, 100) == pytest.approx(0.2, abs=1e-3)


def test_a_cosine_from_the_start_still_warms_up() -> None:
    config = PLAIN.updated({"flat": 0})
    rates = [schedule.rate(config, step, 100) for step in range(100)]
    assert rates[0] == 0.25
    assert max(rates) == rates[3]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] > 0


@pytest.mark.parametrize("warmup", [0, 3, 500])
@pytest.mark.parametrize("flat", [0, 0.3, 1])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_rate_is_positive_and_at_most_one(warmup: int, flat: float, steps: int) -> None:
    config = PLAIN.updated({"warmup_steps": warmup, "flat": flat})
    assert all(0 < schedule.rate(config, step, steps) <= 1 for step in range(steps))


def test_the_average_follows_quickly_at_first() -> None:
    assert schedule.ema_decay(PLAIN, 0) == pytest.approx(0.9 * (1 - math.exp(-1 / 20)))
    assert schedule.ema_decay(PLAIN, 19) == pytest.approx(0.9 * (1 - 1 / math.e))
    assert schedule.ema_decay(PLAIN, 10_000) == pytest.approx(0.9)
    assert schedule.ema_decay(PLAIN.updated({"ema_warmup_steps": 0}), 0) == 0.9


def test_strong_augmentation_ends_before_the_plain_epochs() -> None:
    assert [schedule.is_strong(PLAIN, epoch) for epoch in range(10)] == [True] * 7 + [False] * 3
    assert not schedule.is_strong(PLAIN.updated({"plain_epochs": 10}), 0)
    assert schedule.is_strong(PLAIN.updated({"plain_epochs": 0}), 9)


def test_a_moment_is_all_of_it_at_one_step() -> None:
    assert schedule.total_steps(PLAIN, 6) == 60
    config = TrainConfig(schedule=PLAIN)
    moment = schedule.at(config, step=41, steps_per_epoch=6)
    decay = schedule.ema_decay(PLAIN, 41)
    assert moment == schedule.Moment(rate=1.0, ema_decay=decay, strong=True, dense=False)
    assert not schedule.at(config, step=42, steps_per_epoch=6).strong
    dense = config.updated({"dense.mosaic": 0.5})
    assert schedule.at(dense, step=6, steps_per_epoch=6).dense
    assert not schedule.at(dense, step=5, steps_per_epoch=6).dense


def test_dense_epochs_are_a_share_of_the_strong_ones() -> None:
    mixed = DenseConfig(mixup=0.5, begin=0.1, end=0.6)  # of seven strong epochs: from 0.7 to 4.2
    assert [schedule.is_dense(mixed, PLAIN, epoch) for epoch in range(10)] == [False] + [True] * 4 + [
        False
    ] * 5
    always = mixed.updated({"begin": 0, "end": 1})
    assert [schedule.is_dense(always, PLAIN, epoch) for epoch in range(10)] == [True] * 7 + [False] * 3
    assert not any(schedule.is_dense(DenseConfig(), PLAIN, epoch) for epoch in range(10))
