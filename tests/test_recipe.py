"""Settings that follow from the data: each rule at its edges, and what is given wins."""

from dataclasses import replace
from typing import Any

import pytest

from edgewise.config import TrainConfig
from edgewise.recipe import DataFacts, Recipe, Start, deim, input_size, recommend, unaugmented

CELLS = DataFacts(
    images=205, boxes=2804, most_boxes=28, size=(480, 640), one_shape=True, scale_spread=0.2, upright=False
)
COCO = DataFacts(
    images=118_287,
    boxes=849_949,
    most_boxes=93,
    size=(480, 640),
    one_shape=False,
    scale_spread=1.3,
    upright=True,
)


def rules(facts: DataFacts = CELLS, name: str = "n", start: Start = "fresh", **given: Any) -> Recipe:
    return recommend(name, facts, start, **given)


@pytest.mark.parametrize(
    ("size", "one_shape", "side", "expected"),
    [
        ((480, 640), True, 640, (480, 640)),
        ((480, 640), True, 416, (320, 416)),  # 312 is nearer to 320 than to 288
        ((640, 480), True, 416, (416, 320)),
        ((480, 640), False, 640, (640, 640)),
        ((200, 300), True, 640, (224, 320)),  # no more pixels than the images have
        ((3000, 4000), True, 640, (480, 640)),
        ((10, 4000), True, 640, (32, 640)),
    ],
)
def test_the_input_has_the_shape_of_the_images(
    size: tuple[int, int], one_shape: bool, side: int, expected: tuple[int, int]
) -> None:
    assert input_size(replace(CELLS, size=size, one_shape=one_shape), side)[0] == expected


def test_a_side_that_is_none() -> None:
    with pytest.raises(ValueError, match="400 is not a positive multiple of 32; use 384 or 416"):
        rules(side=400)


@pytest.mark.parametrize(("images", "batch"), [(1, 4), (85, 4), (205, 8), (399, 8), (400, 16), (118_287, 16)])
def test_small_sets_have_small_batches(images: int, batch: int) -> None:
    assert rules(replace(CELLS, images=images)).config.batch == batch


@pytest.mark.parametrize(
    ("epochs", "start", "batch"),
    [(100, "fresh", 16), (50, "backbone", 8), (40, "fresh", 4), (50, "detector", 16), (20, "scenes", 4)],
)
def test_short_runs_have_small_batches(epochs: int, start: Start, batch: int) -> None:
    assert rules(replace(CELLS, images=448), start=start, epochs=epochs).config.batch == batch


@pytest.mark.parametrize(
    ("start", "small", "large"),
    [("fresh", 107, 72), ("backbone", 107, 72), ("scenes", 107, 72), ("detector", 54, 36)],
)
def test_small_sets_have_more_epochs(start: Start, small: int, large: int) -> None:
    assert rules(start=start).config.schedule.epochs == small
    assert rules(COCO, start=start).config.schedule.epochs == large
    assert rules(replace(COCO, images=2_000_000), start=start).config.schedule.epochs == large


def test_rates_by_what_there_is_to_lose() -> None:
    def rates(start: Start, **given: Any) -> tuple[float, float]:
        optimizer = rules(start=start, **given).config.optimizer
        return optimizer.lr, optimizer.backbone_lr

    assert rates("fresh") == rates("scenes") == (8e-4, 8e-4)
    assert rates("backbone") == (8e-4, 4e-4)
    assert rates("detector") == pytest.approx((2e-4, 1e-4))  # √(8 / 128)
    assert rates("fresh", batch=512) == pytest.approx((16e-4, 16e-4))  # √(512 / 128)
    assert rates("fresh", name="my own") == rates("fresh", name="n")


def test_an_average_over_eight_epochs() -> None:
    schedule = rules().config.schedule
    assert (schedule.ema_decay, schedule.ema_warmup_steps) == (0.995, 200)
    schedule = rules(COCO).config.schedule
    assert (schedule.ema_decay, schedule.ema_warmup_steps, schedule.warmup_steps) == (0.9999, 1000, 500)
    assert rules(replace(CELLS, images=1)).config.schedule.ema_decay == 0.9


def test_only_small_sets_end_with_a_falling_rate() -> None:
    assert rules().config.schedule.flat == 0.5
    assert rules(COCO).config.schedule.flat == 1.0


def test_small_sets_take_the_matchability_aware_loss() -> None:
    assert rules().config.loss.classification == "mal"
    assert rules(COCO).config.loss.classification == "vfl"


def test_one_scale_is_kept() -> None:
    augment = rules().config.augment
    assert (augment.zoom_out, augment.crop, augment.multi_scale) == (0.0, 0.4, 0.15)
    assert augment.vertical_flip == 0.5
    assert rules(replace(CELLS, upright=True)).config.augment.vertical_flip == 0.0
    assert rules(COCO).config.augment == rules(replace(COCO, upright=False)).config.augment == type(augment)()


def test_what_is_given_wins_and_the_rest_follows() -> None:
    config = rules(epochs=20, batch=4, size=(64, 96)).config
    assert (config.schedule.epochs, config.batch, config.size) == (20, 4, (64, 96))
    assert config.schedule.plain_epochs == 2
    assert config.schedule.warmup_steps == 20 * 51 // 50
    short = rules(epochs=1, batch=8)  # 205 images
    assert short.config.schedule.plain_epochs == 0
    reasons = [one.text for one in short.reasons]
    assert any(one.startswith("schedule: no warm-up, ") and "strong" not in one for one in reasons)
    assert "1 epoch, 25 steps: as given" in reasons


@pytest.mark.parametrize("given", [{"epochs": 0}, {"batch": -1}, {"size": (30, 30)}])
def test_what_is_given_is_checked(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"epochs|batch|size"):
        rules(**given)


def test_reasons_are_those_of_the_settings() -> None:
    """What no longer holds is not said, and what was given in its place is."""
    recipe = rules()
    changes = {"optimizer.lr": 1e-4, "loss.classification": "vfl", "optimizer.kind": "muon", "seed": 5}
    found = recipe.changed(recipe.config.updated(changes))
    texts = [one.text for one in found.reasons]
    assert texts[-1] == (
        "as given: optimizer.kind muon in place of adamw; optimizer.lr 0.0001 in place of 0.0008; "
        "loss.classification vfl in place of mal"
    )
    assert texts[:-1] == [
        one.text for one in recipe.reasons if not one.text.startswith(("rate", "classification"))
    ]
    plain = found.changed(unaugmented(found.config), "no augmentation at all")
    texts = [one.text for one in plain.reasons]
    assert texts[-1] == "no augmentation at all"
    assert not any(one.startswith("augmentation") for one in texts)
    assert recipe.changed(recipe.config) == recipe


def test_reasons_are_read_by_people() -> None:
    reasons = [one.text for one in rules().reasons]
    assert len(reasons) == 8
    assert reasons[0] == (
        "205 training images, 13.7 boxes an image, at most 28; start: fresh weights (dfine-n-scenes is a "
        "better start for a small set)"
    )
    assert reasons[1].startswith("size 480x640 (height x width): the longer side is at most 640")
    assert all(len(reason) < 200 for reason in reasons)


# ── variants ───────────────────────────────────────────────────────────────────────────────────────


def test_deim_is_dense_and_matchability_aware() -> None:
    config = deim(TrainConfig())
    assert (config.dense.mosaic, config.dense.mixup, config.dense.copy_blend) == (0.5, 0.5, 0.5)
    assert (config.loss.classification, config.loss.mal_gamma) == ("mal", 1.5)
    assert (config.schedule.flat, config.schedule.final_lr) == (0.5, 0.5)
    rest = {"schedule", "dense", "loss"}
    assert config.model_dump(exclude=rest) == TrainConfig().model_dump(exclude=rest)


def test_deim_leaves_a_falling_rate_as_it_is() -> None:
    config = TrainConfig().updated({"schedule.flat": 0.7})
    assert deim(config).schedule == config.schedule


def test_unaugmented_is_none_at_all() -> None:
    config = unaugmented(deim(TrainConfig().updated({"augment.vertical_flip": 0.5})))
    chances = config.augment.model_dump(exclude={"max_zoom", "base_size_weight"})
    assert set(chances.values()) == {0.0}
    assert max(config.dense.mosaic, config.dense.mixup, config.dense.copy_blend) == 0
    assert config.schedule == deim(TrainConfig()).schedule
