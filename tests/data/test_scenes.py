import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgewise.data import painting
from edgewise.data.open import open_dataset
from edgewise.data.scenes import (
    CLASS_NAMES,
    EDGE_STD,
    MIN_SIDE,
    MIN_VISIBLE,
    Scene,
    SceneDataset,
    Thing,
    arrange,
    paint,
    scene,
    write_coco,
)
from edgewise.detections import Detections
from edgewise.evaluation.run import evaluate


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene(3, index) for index in range(600)]


def _all(scenes: Sequence[Scene], name: str) -> np.ndarray:
    return np.concatenate([getattr(one, name) for one in scenes])


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


# ── one scene ──────────────────────────────────────────────────────────────────────────────────────


def test_a_scene_is_a_function_of_seed_and_index() -> None:
    first, again = scene(0, 5), scene(0, 5)
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (scene(0, 6).image != first.image).any()
    assert (scene(1, 5).image != first.image).any()


def test_a_scene_of_another_size() -> None:
    one = scene(0, 0, size=(96, 224))
    assert one.image.shape == (96, 224, 3)
    assert (one.true_boxes <= [224, 96, 224, 96]).all()


def test_a_size_too_small_for_its_objects_is_refused() -> None:
    with pytest.raises(ValueError, match=r"64x160 \(height x width\) are too small.*at least 90"):
        scene(0, 0, size=(64, 160))


def test_one_to_six_objects_of_every_class(scenes: list[Scene]) -> None:
    counts = Counter(len(one.labels) for one in scenes)
    assert set(counts) == {1, 2, 3, 4, 5, 6}
    assert min(counts.values()) > 600 / 6 / 2
    labels = np.bincount(_all(scenes, "labels"))
    assert len(labels) == len(CLASS_NAMES)
    assert labels.min() > 0.8 * labels.mean()


def test_boxes_are_valid_and_inside_the_image(scenes: list[Scene]) -> None:
    for boxes in (_all(scenes, "boxes_xyxy"), _all(scenes, "true_boxes")):
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert boxes.min() >= 0
        assert boxes.max() <= 160
    true = _all(scenes, "true_boxes")
    assert (true[:, 2:] - true[:, :2]).min() > MIN_SIDE - 0.01


def test_objects_cover_each_other_but_never_wholly(scenes: list[Scene]) -> None:
    visible = _all(scenes, "visible")
    assert visible.min() >= MIN_VISIBLE
    assert 0.1 < (visible < 0.95).mean() < 0.5


# ── its truth ──────────────────────────────────────────────────────────────────────────────────────


def test_std_is_independent_of_the_box_and_of_the_other_edges(scenes: list[Scene]) -> None:
    boxes, std = _all(scenes, "true_boxes"), _all(scenes, "edge_std")
    assert len(boxes) > 1900
    side = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    limit = 4 / np.sqrt(len(boxes))  # four standard errors
    for edge in range(4):
        assert abs(_rank_correlation(std[:, edge], side[:, edge])) < limit
        for other in range(edge):
            assert abs(_rank_correlation(std[:, edge], std[:, other])) < limit


def test_annotated_boxes_are_draws_with_that_std(scenes: list[Scene]) -> None:
    off, std = _all(scenes, "boxes_xyxy") - _all(scenes, "true_boxes"), _all(scenes, "edge_std")
    z = off[std > 0] / std[std > 0]
    assert abs(z.mean()) < 0.05
    assert abs(z.std() - 1) < 0.03
    assert np.abs(z).max() < 3.001
    assert (off[std == 0] == 0).all()


def test_std_spans_its_range_and_is_zero_only_at_the_border(scenes: list[Scene]) -> None:
    std, boxes = _all(scenes, "edge_std"), _all(scenes, "true_boxes")
    cut = std == 0
    assert 0.1 < cut.any(1).mean() < 0.25
    np.testing.assert_array_equal(boxes[cut], np.broadcast_to([0, 0, 160, 160], boxes.shape)[cut])
    assert EDGE_STD[0] <= std[~cut].min() < 0.52
    assert 4.8 < std[~cut].max() <= EDGE_STD[1]


# ── its pixels ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def things() -> list[Thing]:
    rng = np.random.default_rng(0)
    return [thing for _ in range(150) for thing in arrange(rng, (160, 160))[0]]


def _painted(thing: Thing) -> np.ndarray:
    """White on black, [160, 160]."""
    canvas = np.zeros((160, 160, 3), np.float32)
    paint(canvas, thing, np.ones((*thing.alpha.shape, 3), np.float32))
    return canvas[..., 0]


def test_what_is_more_than_half_opaque_just_fills_the_box(things: list[Thing]) -> None:
    off = []
    for thing in things:
        rows, columns = np.nonzero(_painted(thing) > 0.5)
        off.append(np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - thing.box)
    inwards = np.array(off) * [1, 1, -1, -1]
    assert inwards.min() > -0.51  # a pixel is in when its centre is
    assert (inwards < 1).mean() > 0.95  # but for the tips of triangles and stars, thinner than a pixel
    assert inwards.max() < 3


def test_a_cut_object_goes_on_up_to_the_border(things: list[Thing]) -> None:
    cut = [(thing, int(edge)) for thing in things for edge in np.flatnonzero(thing.std == 0)]
    assert len({edge for _, edge in cut}) == 4
    for thing, edge in cut:
        picture = _painted(thing)
        assert (picture[:, 0], picture[0], picture[:, -1], picture[-1])[edge].max() > 0.5


def test_sharp_objects_change_their_background_just_inside_their_boxes(things: list[Thing]) -> None:
    rng = np.random.default_rng(0)
    off = []
    for thing in things:
        if thing.std.max() < 1.5:
            before, colours = painting.background(rng, (160, 160))
            colour = painting.distinct_colour(rng, colours)
            after = before.copy()
            paint(after, thing, painting.surface(rng, thing.alpha.shape, colour))
            change = np.linalg.norm(after - before, axis=2) / np.linalg.norm(
                np.array(colour) - before, axis=2
            )
            rows, columns = np.nonzero(change > 0.5)
            off.append(np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - thing.box)
    assert len(off) >= 20
    assert (np.abs(off) < 1).mean() > 0.95
    assert np.abs(off).max() < 3


def test_falloff_grows_with_std_on_every_edge_of_every_class(things: list[Thing]) -> None:
    """The distance from 10 to 90 % opacity, where an edge's strip is crossed at its most opaque place."""
    for label, name in enumerate(CLASS_NAMES):
        widths, stds = [], []
        for thing in things:
            if thing.label == label and thing.std.min() > 0:
                picture = _painted(thing)
                for edge, view in enumerate((picture, picture.T, picture[:, ::-1], picture.T[:, ::-1])):
                    line = view[np.argmax(view.sum(1) * (view.max(1) > 0.9))]
                    rise = np.maximum.accumulate(line[: int(np.argmax(line)) + 1])
                    low, high = np.searchsorted(rise, [0.1, 0.9])
                    if high < len(rise):
                        widths.append(high - low)
                        stds.append(thing.std[edge])
        assert len(widths) > 100
        assert _rank_correlation(np.array(widths), np.array(stds)) > 0.6, name


# ── as a data set ──────────────────────────────────────────────────────────────────────────────────


def test_samples_are_the_scenes() -> None:
    dataset = SceneDataset(3, seed=1, split="val")
    assert len(dataset) == 3
    sample, one = dataset[2], dataset.scene(2)
    assert dataset.scene(2) is one
    assert (sample.image_id, sample.path) == (dataset.image_ids[2], str(dataset.paths[2]))
    np.testing.assert_array_equal(sample.image, one.image)
    np.testing.assert_array_equal(sample.boxes_xyxy, one.boxes_xyxy)
    np.testing.assert_array_equal(sample.labels, one.labels)
    assert [len(sample.labels) for sample in dataset] == [len(dataset.scene(i).labels) for i in range(3)]


def test_splits_and_seeds_share_no_scene() -> None:
    images = {
        SceneDataset(1, seed=seed, split=split).scene(0).image.tobytes()
        for seed in range(2)
        for split in ("train", "val", "test")
    }
    assert len(images) == 6


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown split trian; did you mean train"):
        SceneDataset(1, split="trian")


def test_written_scenes_read_back_the_same(tmp_path: Path) -> None:
    datasets = [SceneDataset(3, split="train"), SceneDataset(2, split="val")]
    write_coco(tmp_path, datasets)
    for dataset in datasets:
        read = open_dataset(tmp_path, dataset.split)
        assert read.notes == ()
        assert (read.class_names, read.category_ids) == (dataset.class_names, dataset.category_ids)
        assert read.image_ids == dataset.image_ids
        for ours, theirs in zip(dataset, read, strict=True):
            np.testing.assert_array_equal(ours.image, theirs.image)
            np.testing.assert_array_equal(ours.labels, theirs.labels)
            np.testing.assert_allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=2e-3)


def test_written_boxes_carry_their_truth(tmp_path: Path) -> None:
    dataset = SceneDataset(2)
    write_coco(tmp_path, [dataset])
    rows = json.loads((tmp_path / "train/_annotations.coco.json").read_text())["annotations"]
    scenes = [dataset.scene(index) for index in range(2)]
    true, std = _all(scenes, "true_boxes"), _all(scenes, "edge_std")
    np.testing.assert_allclose([row["edge_std"] for row in rows], std, atol=6e-4)
    boxes = np.array([row["true_bbox"] for row in rows])
    np.testing.assert_allclose(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]), true, atol=2e-3)


def test_its_own_boxes_score_perfectly() -> None:
    dataset = SceneDataset(6, split="test")
    answers = iter(range(6))

    def predict(images: list[np.ndarray]) -> list[Detections]:
        return [
            Detections(
                boxes_xyxy=one.boxes_xyxy,
                scores=np.linspace(0.9, 0.5, len(one.labels), dtype=np.float32),
                labels=one.labels,
                edge_std=one.edge_std,
                size=dataset.size,
                class_names=dataset.class_names,
            )
            for one in (dataset.scene(next(answers)) for _ in images)
        ]

    assert evaluate(dataset, predict).metrics.ap == pytest.approx(1)
