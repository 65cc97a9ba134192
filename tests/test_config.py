"""Settings: strict, checked when made, there and back as YAML, and errors that name the way out."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgewise.config import (
    BackboneConfig,
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
    ScheduleConfig,
    Settings,
    TrainConfig,
    parse_settings,
    read_settings,
    write_settings,
)
from edgewise.presets import SIZES, preset
from edgewise.sizes import check_size
from edgewise.spelling import unknown


def message(call: Any, *arguments: Any) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    return str(caught.value)


# ── unknown keys ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"batchsize": 4}, "run: unknown key batchsize; did you mean batch?"),
        ({"schedule": {"epoch": 4}}, "run: unknown key schedule.epoch; did you mean schedule.epochs?"),
        (
            {"loss": {"matching": {"l1cost": 4}}},
            "run: unknown key loss.matching.l1cost; did you mean loss.matching.l1_cost?",
        ),
        (
            {"denoising": {"zzz": 1}},
            "run: unknown key denoising.zzz; expected one of queries, label_noise, box_noise",
        ),
    ],
)
def test_an_unknown_key_suggests_the_nearest(values: dict[str, Any], expected: str) -> None:
    assert message(parse_settings, TrainConfig, values, "run") == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 3}, "settings: unknown key epochs; did you mean schedule.epochs?"),
        ({"lr": 3}, "settings: unknown key lr; did you mean optimizer.lr?"),
        ({"l1_costs": 3}, "settings: unknown key l1_costs; did you mean loss.matching.l1_cost?"),
        ({"loss.l1_cost": 3}, "settings: unknown key loss.l1_cost; did you mean loss.matching.l1_cost?"),
        (
            {"optimizer.learning_rate": 3},
            "settings: unknown key optimizer.learning_rate; did you mean optimizer.lr?",
        ),
        ({"learning_rate": 3}, "settings: unknown key learning_rate; did you mean optimizer.lr?"),
        ({"optimizer.wd": 3}, "settings: unknown key optimizer.wd; did you mean optimizer.weight_decay?"),
        ({"xyz": 3}, "settings: unknown key xyz; expected one of schedule, optimizer, "),
        ({"schedule.epoch": 3}, "settings: unknown key schedule.epoch; did you mean schedule.epochs?"),
        ({"optimzer.lr": 3}, "setting optimzer.lr: unknown section optimzer; did you mean optimizer?"),
        (
            {"loss.matchin.alpha": 0.5},
            "setting loss.matchin.alpha: unknown section loss.matchin; did you mean loss.matching?",
        ),
        ({"batch.size": 3}, "setting batch.size: unknown section batch; expected one of schedule, "),
        ({"batch": "many"}, "settings: batch: Input should be a valid integer"),
        ({"loss": 3}, "settings: loss: Input should be a valid dictionary"),
    ],
)
def test_updated_names_key_and_way_out(changes: dict[str, Any], expected: str) -> None:
    assert message(TrainConfig().updated, changes).startswith(expected)


def test_unknown_lists_what_is_known_when_nothing_is_near() -> None:
    assert unknown("medum", ["small", "medium"], "size") == "unknown size medum; did you mean medium?"
    assert unknown("q", ["small", "medium"]) == "unknown name q; expected one of small, medium"


# ── bad values ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"batch": 0}, "settings: batch: Input should be greater than 0 (given 0)"),
        (
            {"augment.flip": 1.5},
            "settings: augment.flip: Input should be less than or equal to 1 (given 1.5)",
        ),
        ({"augment.max_zoom": 0.5}, "settings: augment.max_zoom: Input should be greater than or equal to 1"),
        ({"optimizer.lr": -1}, "settings: optimizer.lr: Input should be greater than 0 (given -1)"),
        (
            {"precision": "float64"},
            "settings: precision: Input should be 'auto', 'float32', 'bfloat16' or 'float16'",
        ),
        (
            {"schedule.epochs": 3},
            "settings: schedule: plain_epochs=8 is more than epochs=3; set fewer of them",
        ),
        (
            {"size": (100, 64)},
            "settings: size 100x64 (height x width): 100 is not a positive multiple of 32; use 96 or 128",
        ),
    ],
)
def test_a_bad_value_says_where_what_and_what_instead(changes: dict[str, Any], expected: str) -> None:
    assert message(TrainConfig().updated, changes).startswith(expected)


def test_one_word_is_a_list_of_one() -> None:
    found = TrainConfig().updated({"freeze": "backbone", "loggers": "wandb"})
    assert (found.freeze, found.loggers) == (("backbone",), ("wandb",))
    assert message(TrainConfig().updated, {"freeze": "head", "loggers": "tensorbord"}) == (
        "settings: freeze.0: Input should be 'backbone', 'encoder' or 'decoder' (given 'head')\n"
        "settings: loggers.0: Input should be 'tensorboard', 'wandb', 'mlflow' or 'trackio' "
        "(given 'tensorbord')"
    )


def test_every_bad_key_has_its_line() -> None:
    text = message(TrainConfig().updated, {"batch": 0, "seed": -1, "optimizer.lr": "fast"})
    assert [line.split(": ")[1] for line in text.splitlines()] == ["optimizer.lr", "batch", "seed"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrainConfig(size=(100, 100)),
        lambda: TrainConfig(size=(0, 64)),
        lambda: ModelConfig.model_validate(preset("n", 3).model_dump() | {"size": (640, 30)}),
        lambda: ScheduleConfig(epochs=3),
        lambda: TrainConfig.model_validate({"nope": 1}),
    ],
)
def test_a_bad_value_fails_when_the_config_is_made(make: Any) -> None:
    with pytest.raises(ValidationError):
        make()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().batch = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 640), "size 100x640 (height x width): 100 is not a positive multiple of 32; use 96 or 128"),
        ((640, 20), "size 640x20 (height x width): 20 is not a positive multiple of 32; use 32 or 64"),
        ((0, 0), "size 0x0 (height x width): 0 is not a positive multiple of 32; use 32 or 64"),
        ((-32, 64), "size -32x64 (height x width): -32 is not a positive multiple of 32; use 32 or 64"),
    ],
)
def test_check_size_names_the_nearest_sizes(size: tuple[int, int], expected: str) -> None:
    assert message(check_size, size) == expected


def test_check_size_returns_a_good_size() -> None:
    assert check_size((32, 640)) == (32, 640)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: EncoderConfig(dim=36, num_heads=8), "dim=36 is not divisible by num_heads=8 and by 4"),
        (lambda: EncoderConfig(dim=30, num_heads=2), "dim=30 is not divisible by num_heads=2 and by 4"),
        (lambda: DecoderConfig(dim=36, num_heads=8), "dim=36 is not divisible by num_heads=8"),
        (lambda: DecoderConfig(num_bins=31), "num_bins=31: expected an even number of at least 4"),
        (lambda: DecoderConfig(num_bins=2), "num_bins=2: expected an even number of at least 4"),
        (lambda: DecoderConfig(num_bins=8, quality_top=10), "quality_top=10: an edge has 9 probabilities"),
        (
            lambda: preset("n", 3).updated({"decoder.num_points": (3, 6, 3)}),
            "settings: decoder.num_points=(3, 6, 3): expected one per level, 2",
        ),
        (
            lambda: preset("n", 3).updated({"backbone.returned": (1, 2)}),
            "settings: backbone: returned=(1, 2): expected consecutive stages ending with 3",
        ),
    ],
)
def test_model_settings_that_do_not_fit_together(call: Any, expected: str) -> None:
    assert expected in message(call)


# ── copies and files ───────────────────────────────────────────────────────────────────────────────


def test_updated_reaches_into_sections_and_leaves_the_original() -> None:
    before = TrainConfig()
    after = before.updated({"schedule.epochs": 50, "loss.matching.gamma": 1.5, "batch": 4})
    assert (after.schedule.epochs, after.loss.matching.gamma, after.batch) == (50, 1.5, 4)
    assert before == TrainConfig()
    assert after.updated({"schedule.epochs": 72, "loss.matching.gamma": 2.0, "batch": 16}) == before
    assert before.updated({}) == before


def test_updated_reads_numbers_written_as_text() -> None:
    """YAML 1.1 takes 4e-4 for a text; the command line reads values as YAML."""
    assert TrainConfig().updated({"optimizer.lr": "4e-4"}).optimizer.lr == 4e-4


@pytest.mark.parametrize(
    "settings",
    [
        TrainConfig(),
        TrainConfig().updated({"size": (320, 480), "augment.flip": 0.1, "device": "cpu", "seed": 5}),
        *(make(7) for make in SIZES.values()),
    ],
)
def test_there_and_back_as_yaml(settings: Settings, tmp_path: Path) -> None:
    write_settings(settings, tmp_path / "settings.yaml")
    assert read_settings(type(settings), tmp_path / "settings.yaml") == settings


def test_yaml_keeps_the_order_of_the_page(tmp_path: Path) -> None:
    write_settings(TrainConfig(), tmp_path / "settings.yaml")
    lines = (tmp_path / "settings.yaml").read_text().splitlines()
    assert [line.split(":")[0] for line in lines if line[0].isalpha()] == list(TrainConfig.model_fields)


def test_a_file_may_say_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("batch: 4\nschedule:\n  epochs: 50\n")
    assert read_settings(TrainConfig, path) == TrainConfig().updated({"batch": 4, "schedule.epochs": 50})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train:\n  optimzer: 3", "{}: unknown key train; "),
        ("optimizer:\n  lrr: 3", "{}: unknown key optimizer.lrr; did you mean optimizer.lr?"),
        ("batch: [", "{}: not YAML: "),
        ("- batch", "{}: expected a mapping of settings, found list"),
        ("", "{}: expected a mapping of settings, found NoneType"),
        ("size: [100, 64]", "{}: size 100x64 (height x width): 100 is not a positive multiple of 32"),
        ("schedule: {epochs: 2}", "{}: schedule: plain_epochs=8 is more than epochs=2"),
    ],
)
def test_a_bad_file_is_named(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert message(read_settings, TrainConfig, path).startswith(expected.format(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run.yaml: no such settings file$"):
        read_settings(TrainConfig, tmp_path / "run.yaml")


# ── derived numbers ────────────────────────────────────────────────────────────────────────────────


def test_what_follows_from_the_backbone() -> None:
    backbone: BackboneConfig = preset("n", 3).backbone
    assert backbone.out_channels == (512, 1024)
    assert backbone.strides == (16, 32)
    assert preset("s", 3).backbone.strides == (8, 16, 32)
    assert preset("x", 3).backbone.out_channels == (512, 1024, 2048)


def test_what_follows_from_the_encoder() -> None:
    widths = {name: make(1).encoder.fusion_dim for name, make in SIZES.items()}
    blocks = {name: make(1).encoder.fusion_blocks for name, make in SIZES.items()}
    assert widths == {"n": 21, "s": 64, "m": 128, "l": 128, "x": 192}
    assert blocks == {"n": 2, "s": 1, "m": 2, "l": 3, "x": 3}
