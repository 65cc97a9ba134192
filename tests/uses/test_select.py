import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from edgewise.api import Detector
from edgewise.structures import EncoderOutput, InitialOutput, LayerOutput, ModelOutput
from edgewise.uses.select import (
    Pick,
    Selection,
    _watched,
    movement,
    pick,
    ranks,
    relative_spread,
    standardised,
)
from tests.train.tiny import tiny_config
from tests.uses.cases import detections


def test_without_doubt_it_is_k_centres() -> None:
    features = np.array([[0.0], [1.0], [10.0], [11.0]])
    chosen, distances = pick(np.ones(4), features, np.zeros((0, 1)), 3)
    assert chosen.tolist() == [0, 3, 1]
    assert distances.tolist() == [np.inf, 11, 1]


def test_what_is_known_is_worth_less() -> None:
    features = np.array([[0.0], [1.0], [10.0], [11.0]])
    chosen, distances = pick(np.ones(4), features, np.array([[0.0], [10.5]]), 2)
    assert chosen.tolist() == [1, 2]
    assert distances.tolist() == [1, 0.5]


def test_doubt_counts_against_distance() -> None:
    features = np.array([[0.0], [4.0], [10.0]])
    assert pick(np.array([1.0, 0.9, 0.3]), features, np.zeros((0, 1)), 2)[0].tolist() == [0, 1]
    assert pick(np.array([1.0, 0.9, 0.5]), features, np.zeros((0, 1)), 2)[0].tolist() == [0, 2]


def test_all_alike_are_picked_once_each() -> None:
    chosen, _ = pick(np.ones(3), np.zeros((3, 2)), np.zeros((0, 2)), 3)
    assert sorted(chosen.tolist()) == [0, 1, 2]


def test_ranks_and_standard_features() -> None:
    np.testing.assert_allclose(ranks(np.array([3.0, 1, 1])), [1, 2 / 3, 2 / 3])
    np.testing.assert_allclose(standardised(np.array([[1.0, 5], [3, 5]])), [[-1, 0], [1, 0]])


def test_relative_spread_by_hand() -> None:
    found = detections((0, 0.5, (0, 0, 10, 20)), (1, 1.0, (0, 0, 5, 5)), std=[[1, 2, 1, 4], [1, 1, 1, 1]])
    assert relative_spread(found) == pytest.approx(0.5 * (0.1 + 0.1 + 0.1 + 0.2) / 4 + 0.2)
    assert relative_spread(detections()) == 0
    assert relative_spread(detections((0, 1.0, (5, 5, 5, 5)))) == 1  # no side is less than a pixel


def output(*boxes: list[list[float]]) -> ModelOutput:
    """Two queries, the second of no score, and a layer for each list of their boxes."""
    logits = torch.tensor([[[0.0], [-9.0]]])
    layers = tuple(LayerOutput(logits, torch.tensor([one]), torch.zeros(1, 2, 4, 3)) for one in boxes)
    at = layers[0].boxes
    return ModelOutput(
        layers, InitialOutput(None, at), EncoderOutput(logits, at, torch.zeros(1, 2, dtype=torch.int64))
    )


def test_movement_by_hand() -> None:
    one, half = [0.5, 0.5, 0.2, 0.2], [0.5, 0.55, 0.2, 0.1]
    assert movement(output([one, one], [half, half])).item() == pytest.approx(0.5 * (1 - 0.5))
    assert movement(output([one, one], [one, half])).item() == pytest.approx(0, abs=1e-6)
    assert movement(output([one, one])).item() == 0


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(tiny_config(2), ["dog", "cat"], device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)).save(tmp_path / f"{index}.png")
    Image.open(tmp_path / "3.png").save(tmp_path / "4.png")  # a copy
    return tmp_path


def test_images_that_differ_are_picked(detector: Detector, photos: Path) -> None:
    hooks = len(detector.model._forward_hooks)
    found = detector.select(photos, 4, batch=2)
    names = [Path(one.path or "").name for one in found.picks]
    assert len(set(names)) == 4
    assert not {"3.png", "4.png"} <= set(names)
    assert found.images == 5
    assert found.picks[0].distance is None
    assert len(detector.model._forward_hooks) == hooks
    known = detector.select(photos, 1, known=[photos / f"{index}.png" for index in (0, 1, 2)])
    assert Path(known.picks[0].path or "").name in ("3.png", "4.png")
    assert known.picks[0].distance is not None
    assert found.sheet().width > 1000


def test_batches_make_no_difference(detector: Detector, photos: Path) -> None:
    one, other = (detector.select(photos, 3, batch=batch) for batch in (1, 5))
    assert [a.index for a in one.picks] == [b.index for b in other.picks]


def test_what_a_gpu_is_too_small_for_is_not_counted(detector: Detector, photos: Path) -> None:
    def small(module: nn.Module, args: tuple[list[Tensor]]) -> None:
        if len(args[0][0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    movements: list[float] = []
    features: list[np.ndarray] = []
    handle = detector.model.decoder.register_forward_pre_hook(small)  # once the encoder has been looked at
    with (
        handle,
        _watched(detector.model, movements, features),
        pytest.warns(UserWarning, match="it gets 2 at a time now"),
    ):
        detector.predict(photos, batch=5)
    assert (len(movements), len(features)) == (5, 5)


def test_images_in_memory_go_by_their_place(detector: Detector) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (60, 80, 3)).astype(np.uint8) for _ in range(3)]
    found = detector.select(images, 2)
    assert [one.path for one in found.picks] == [None, None]


def test_too_many_are_refused(detector: Detector, photos: Path) -> None:
    for k in (0, 6):
        with pytest.raises(ValueError, match=rf"k={k}: expected a number from 1 to 5"):
            detector.select(photos, k)


def test_lists(tmp_path: Path) -> None:
    picks = (Pick(3, "a/b.png", 0.5, 1.0, 2.0, None), Pick(1, None, 0.25, 1.0, 2.0, 3.0))
    found = Selection(picks, (), 9)
    found.save(tmp_path / "one.txt")
    assert (tmp_path / "one.txt").read_text() == "a/b.png\n1\n"
    found.save(tmp_path / "one.csv")
    lines = (tmp_path / "one.csv").read_text().splitlines()
    assert lines == [
        "index,path,doubt,spread,movement,distance",
        "3,a/b.png,0.5,1.0,2.0,",
        "1,,0.25,1.0,2.0,3.0",
    ]
    found.save(tmp_path / "one.JSON")
    assert json.loads((tmp_path / "one.JSON").read_text())[1]["distance"] == 3
    with pytest.raises(ValueError, match=r"one\.xlsx: expected a list that ends with \.txt, \.csv or \.json"):
        found.save(tmp_path / "one.xlsx")
