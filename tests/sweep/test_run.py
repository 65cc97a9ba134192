"""What is measured, of a tiny detector. How long anything takes is not asked here."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgewise.api import Detector
from edgewise.optimize import Differs, Engine
from edgewise.sweep import run as room
from edgewise.sweep import sweep
from edgewise.sweep.points import EAGER, Cut, Way, sizes
from edgewise.sweep.run import Drawn
from tests.sweep.conftest import Told

NAME = "Detector('tiny', 3 classes, 96x128)"
BASE = Cut(NAME, (96, 128), 2, 20)


@pytest.fixture
def torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.mark.usefixtures("torch_alone", "float32_alone")
def test_every_cut_has_its_ap_and_every_change_its_time(detector: Detector, told: Told) -> None:
    found = sweep([detector], told, repeats=2, threads=1)
    points = {(one.setting.cut, one.setting.way): one for one in found.points}
    cuts = {cut for cut, _ in points}
    wanted = {
        Cut(NAME, size, layers, queries)
        for size in sizes((96, 128))
        for layers in (1, 2)
        for queries in (20, 13, 7, 3)
    }
    assert cuts == wanted
    timed = {cut: one for (cut, _), one in points.items() if one.whole}
    changes = [
        sum(getattr(cut, what) != getattr(BASE, what) for what in ("size", "layers", "queries"))
        for cut in wanted
    ]
    assert {cut for cut, change in zip(wanted, changes, strict=True) if change <= 1} <= {*timed}
    assert {way for cut, way in points if cut == BASE} == {EAGER, Way("torch", "fp32")}
    some = [BASE, Cut(NAME, (96, 128), 2, 7), Cut(NAME, (96, 128), 1, 20), Cut(NAME, (64, 96), 2, 13)]
    for cut in some:
        own = detector.at(cut.layers, cut.queries).evaluate(told, size=cut.size).ap
        told_ap = {one.ap for (other, _), one in points.items() if other == cut}
        assert [*told_ap] == [pytest.approx(own, abs=1e-3)]
    assert points[BASE, EAGER].ap == pytest.approx(1)
    assert any(0 < (one.ap or 0) < 1 for one in points.values())
    assert found.recommended in found.front
    assert not found.stopped
    assert [one.split(":")[0] for one in found.notes] == [
        "this processor does not multiply bf16",
        "openvino is left out",
    ]
    assert "pip install 'edgewise[openvino]'" in found.notes[1]
    assert found.protocol["images"] == "4 of 4"
    assert "torch" in found.protocol["engines"]


@pytest.mark.usefixtures("torch_alone", "few")
def test_bf16_is_evaluated_itself(detector: Detector, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def quality(one: Any, *_: Any, **__: Any) -> tuple[float, None]:
        asked.append(one)
        return 0.25, None

    _pretend_bf16(monkeypatch)
    monkeypatch.setattr(room, "quality", quality)
    found = sweep([detector], told, repeats=1, threads=1, images=2)
    half = [one for one in found.points if one.setting.way.precision == "bf16"]
    assert half
    assert {one.ap for one in half} == {0.25}
    assert len(asked) == len(half)
    assert {one.ap for one in found.points if one.setting.way == Way("torch", "fp32")} != {0.25}


def _pretend_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any processor has it, slow or not."""
    from edgewise import optimize

    for one in (room, optimize):
        monkeypatch.setattr(one, "multiplies_bf16", lambda: True)


@pytest.mark.usefixtures("torch_alone", "float32_alone", "few")
def test_an_engine_that_says_something_else_is_left_out(
    detector: Detector, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(*_: Any, **__: Any) -> Engine:
        raise Differs("torch in fp32 differs: of the 40 best detections 3 are within 0.05 px")

    monkeypatch.setattr(Detector, "optimize", differs)
    found = sweep([detector], told, repeats=1, threads=1)
    assert {one.setting.way for one in found.points} == {EAGER}
    assert (
        f"{NAME} 96x128, 2 layers, 20 queries, torch fp32 is left out: torch in fp32 differs"
        in found.notes[1]
    )


@pytest.mark.usefixtures("torch_alone", "float32_alone", "few")
@pytest.mark.parametrize("when", ["first engines", "accuracy", "last turns"])
def test_ctrl_c_keeps_what_is_measured(
    when: str, detector: Detector, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    if when == "first engines":
        monkeypatch.setattr(Detector, "at", _at_most(1, Detector.at, stop))  # the first is asked for before
    elif when == "accuracy":
        monkeypatch.setattr(room, "coco_metrics", _at_most(4, room.coco_metrics, stop))  # one resolution
    else:
        monkeypatch.setattr(room, "turns", _at_most(2, room.turns, stop))
    found = sweep([detector], told, repeats=1, threads=1)
    assert found.stopped
    timed = [one for one in found.points if one.whole]
    if when == "first engines":
        assert found.points == ()
        assert found.recommended is None
    elif when == "accuracy":
        assert {one.setting.cut for one in timed} == {BASE}
        assert {one.setting.cut.size for one in found.points} == {(96, 128)}
        assert found.recommended is not None
    else:
        assert len(timed) == 2 + 1 + 1 + 1  # the base, and each change of it


def _at_most(count: int, allowed: Any, after: Any) -> Any:
    """`allowed`, so many times."""
    calls = iter([allowed] * count)

    def call(*args: Any, **given: Any) -> Any:
        return next(calls, after)(*args, **given)

    return call


def test_openvino_takes_part(detector: Detector, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the base alone: converting takes seconds."""
    monkeypatch.setattr(room, "multiplies_bf16", lambda: False)
    monkeypatch.setattr(room, "singles", lambda *_: [])
    monkeypatch.setattr(room, "sizes", lambda own: [own])
    found = sweep([detector], told, repeats=1, threads=1)
    ways = {one.setting.way: one for one in found.points if one.whole}
    assert {way.engine for way in ways} == {"eager", "torch", "openvino"}
    assert [one.ap for one in ways.values()] == [pytest.approx(1)] * 3


@pytest.mark.usefixtures("torch_alone", "float32_alone", "few")
def test_several_checkpoints_are_on_one_front(detector: Detector, told: Told) -> None:
    small = detector.at(layers=1, queries=5)
    small.ref = "small.safetensors"
    found = sweep([detector, small], told, size=64, repeats=1, threads=1)
    names = {one.setting.cut.checkpoint for one in found.points}
    assert names == {NAME, "small.safetensors"}
    assert {one.setting.cut.size for one in found.points} == {(64, 64), (64, 96)}
    shown = {one.setting.cut.layers for one in found.points if one.setting.cut.checkpoint != NAME}
    assert shown == {1}


def test_images_are_drawn_from_a_seed(told: Told) -> None:
    one, same, every = Drawn(told, 2), Drawn(told, 2), Drawn(told, 9)
    assert one.image_ids == same.image_ids
    assert len(one) == 2
    assert every.image_ids == told.image_ids
    assert {box["image_id"] for box in one.annotations["annotations"]} <= {*one.image_ids}
    assert [box["id"] for box in one.annotations["images"]] == [*one.image_ids]
    assert [one[i].image_id for i in range(2)] == [*one.image_ids]
    ids = {Drawn(told, 1).image_ids[0] for _ in range(3)}
    assert len(ids) == 1


def _call(detectors: Sequence[Detector], told: Told, **given: Any) -> None:
    sweep(detectors, told, threads=1, **given)


def test_mistakes_have_a_way_out(detector: Detector, told: Told) -> None:
    with pytest.raises(
        ValueError, match="0 detectors, 200 images, repeats 20: expected at least one of each"
    ):
        _call([], told)
    with pytest.raises(ValueError, match="1 detectors, 0 images, repeats 20: expected at least one of each"):
        _call([detector], told, images=0)
    with pytest.raises(ValueError, match="expected each checkpoint once"):
        _call([detector, detector], told)
    with pytest.raises(ValueError, match="100 is not a positive multiple of 32; use 96 or 128"):
        _call([detector], told, size=100)
    other = Detector(detector.config.updated({"num_classes": 1}), ["cat"], device="cpu")
    with pytest.raises(ValueError, match="the predictor's classes are cat; the dataset's are"):
        _call([other], told)
    told.annotations["annotations"] = []
    with pytest.raises(ValueError, match="no boxes to find in 3 of 4 images; expected annotated ones"):
        _call([detector], told, images=3)


def test_the_detector_is_left_as_it_was(detector: Detector, told: Told) -> None:
    before = (detector.calibration, detector.thresholds, detector.model.training)
    room._plain(detector).model.double()
    assert (detector.calibration, detector.thresholds, detector.model.training) == before
    assert math.isfinite(float(np.float32(detector.predict(told[0].image, 0.0).scores[0])))
    assert detector.precision == "fp32"
