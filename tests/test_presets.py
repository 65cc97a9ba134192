"""The five sizes, fresh and published, and the recipe that trains them."""

import pytest

from edgewise.config import TrainConfig
from edgewise.presets import SIZES, preset, recipe, trainable


def make(name: str = "s", **given: object) -> TrainConfig:
    arguments = {"epochs": 72, "batch": 32, "size": (640, 640), "images": 1000, "pretrained": True} | given
    return recipe(name, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SIZES)
def test_a_size_by_its_name(name: str) -> None:
    config = preset(name, 7)
    assert config == SIZES[name](7)
    assert (config.name, config.num_classes, config.size) == (name, 7, (640, 640))


def test_what_tells_the_sizes_apart() -> None:
    def facts(name: str) -> tuple[object, ...]:
        config = preset(name, 80)
        backbone, decoder = config.backbone, config.decoder
        return (
            backbone.stem,
            len(backbone.returned),
            backbone.affine,
            config.encoder.dim,
            decoder.dim,
            decoder.num_layers,
            decoder.num_points,
            decoder.c,
        )

    assert {name: facts(name) for name in SIZES} == {
        "n": ((16, 16), 2, True, 128, 128, 3, (6, 6), 0.25),
        "s": ((16, 16), 3, True, 256, 256, 3, (3, 6, 3), 0.25),
        "m": ((24, 32), 3, True, 256, 256, 4, (3, 6, 3), 0.25),
        "l": ((32, 48), 3, False, 256, 256, 6, (3, 6, 3), 0.25),
        "x": ((32, 64), 3, False, 384, 256, 6, (3, 6, 3), 0.125),
    }


def test_an_unknown_size_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"^unknown size nano; expected one of n, s, m, l, x$"):
        preset("nano", 3)


def test_fresh_weights_have_nothing_frozen() -> None:
    frozen = {name for name in SIZES if preset(name, 3).backbone.freeze_stem}
    assert frozen == {"l", "x"} == {name for name in SIZES if preset(name, 3).backbone.freeze_norms}
    for name in SIZES:
        free = trainable(preset(name, 3))
        assert not free.backbone.freeze_stem
        assert not free.backbone.freeze_norms
        assert free.updated({"backbone": preset(name, 3).backbone.model_dump()}) == preset(name, 3)


@pytest.mark.parametrize(
    ("name", "batch", "rates"),
    [
        ("n", 128, (8e-4, 4e-4, 1e-4)),
        ("s", 32, (2e-4, 1e-4, 1e-4)),
        ("m", 32, (2e-4, 2e-5, 1e-4)),
        ("l", 32, (2.5e-4, 1.25e-5, 1.25e-4)),
        ("x", 32, (2.5e-4, 2.5e-6, 1.25e-4)),
    ],
)
def test_the_published_batch_has_the_published_rates(
    name: str, batch: int, rates: tuple[float, float, float]
) -> None:
    optimizer = make(name, batch=batch).optimizer
    assert (optimizer.lr, optimizer.backbone_lr, optimizer.weight_decay) == pytest.approx(rates)


def test_rates_go_with_the_root_of_the_batch() -> None:
    quarter, full = make(batch=8).optimizer, make(batch=32).optimizer
    assert quarter.lr == pytest.approx(full.lr / 2)
    assert quarter.backbone_lr == pytest.approx(full.backbone_lr / 2)


def test_a_fresh_backbone_takes_the_full_rate() -> None:
    optimizer = make("x", pretrained=False).optimizer
    assert optimizer.backbone_lr == optimizer.lr


def test_a_model_of_another_name_trains_like_n() -> None:
    assert make("mine") == make("n")


@pytest.mark.parametrize(
    ("given", "warmup", "plain"),
    [
        pytest.param({}, 72 * 31 // 10, 7, id="a tenth"),
        pytest.param({"images": 100_000}, 500, 7, id="a long run"),
        pytest.param({"images": 3, "epochs": 5}, 0, 0, id="a handful of steps"),
        pytest.param({"epochs": 1}, 3, 0, id="one epoch"),
    ],
)
def test_warm_up_and_plain_epochs_follow_the_length(given: dict[str, int], warmup: int, plain: int) -> None:
    schedule = make(**given).schedule
    assert (schedule.warmup_steps, schedule.plain_epochs) == (warmup, plain)


def test_size_and_batch_are_those_given() -> None:
    config = make(batch=3, size=(320, 480), epochs=9)
    assert (config.batch, config.size, config.schedule.epochs) == (3, (320, 480), 9)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"epochs": 0}, "settings: schedule.epochs: Input should be greater than 0 (given 0)"),
        ({"epochs": -1}, "settings: schedule.epochs: Input should be greater than 0 (given -1)"),
        ({"batch": 0}, "settings: batch: Input should be greater than 0 (given 0)"),
        ({"batch": -4}, "settings: batch: Input should be greater than 0 (given -4)"),
        ({"size": (640, 100)}, "settings: size 640x100 (height x width): 100 is not a positive multiple"),
    ],
)
def test_what_is_out_of_range_is_named(given: dict[str, object], expected: str, unchecked: None) -> None:
    with pytest.raises(ValueError) as caught:
        make(**given)
    assert str(caught.value).startswith(expected)
