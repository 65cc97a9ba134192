"""The five sizes, fresh and published."""

import pytest

from edgewise.presets import SIZES, preset, trainable


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
