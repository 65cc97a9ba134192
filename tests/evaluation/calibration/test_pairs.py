from dataclasses import replace

import numpy as np
import pytest

from edgewise.bins import bin_values
from edgewise.detections import Detections
from edgewise.edges import EdgeDistributions
from edgewise.evaluation.calibration.pairs import Collector, LayerWatch, collect
from edgewise.evaluation.run import evaluate
from edgewise.sample import Sample
from tests.evaluation.fakes import FakeDataset, Oracle

DATASET = FakeDataset([[(0, 5, 5, 20, 20), (1, 40, 30, 30, 20)], [], [(1, 0, 0, 33.3, 44.4)]])
ENOUGH = np.array([0.5, 0.5])


def with_edges(one: Detections) -> Detections:
    """Each box with distributions about its own edges."""
    logits = np.tile(-np.square(np.arange(33) - 16.0), (len(one), 4, 1)).astype(np.float32)
    sides = np.tile(one.boxes_xyxy[:, 2:] - one.boxes_xyxy[:, :2], 2)
    edges = EdgeDistributions.of(logits, bin_values(32), one.boxes_xyxy.copy(), sides)
    return replace(one, edges=edges, edge_std=edges.std)


def oracle(names: tuple[str, ...] = DATASET.class_names, shift: float = 0.0, score: float = 0.9):
    sees = Oracle(DATASET, names)

    def predict(images: list[np.ndarray]) -> list[Detections]:
        return [
            with_edges(
                replace(
                    one,
                    boxes_xyxy=one.boxes_xyxy + np.float32(shift),
                    scores=np.full(len(one), score, np.float32),
                )
            )
            for one in sees(images)
        ]

    return predict


@pytest.mark.parametrize("names", [("dog", "cat"), ("cat", "dog")])
def test_pairs_join_detections_with_the_boxes_they_found(names: tuple[str, ...]) -> None:
    pairs = collect(DATASET, oracle(names, shift=2), ENOUGH, batch=2).pairs
    assert len(pairs) == 3
    assert pairs.num_images == 3
    assert (pairs.unmatched, pairs.missed) == (0, 0)
    assert pairs.image.tolist() == [0, 0, 2]
    assert sorted(pairs.labels.tolist()) == [0, 1, 1]
    np.testing.assert_allclose(pairs.errors, 2, atol=1e-5)
    np.testing.assert_allclose(pairs.edges.mean, pairs.boxes_xyxy, atol=1e-4)
    np.testing.assert_allclose(pairs.sides[2], [33.3, 44.4, 33.3, 44.4], atol=1e-4)
    np.testing.assert_allclose(pairs.spread, pairs.edges.std)


def test_what_is_not_matched_is_counted_beside() -> None:
    pairs = collect(DATASET, oracle(shift=6), ENOUGH).pairs
    assert (len(pairs), pairs.unmatched, pairs.missed) == (1, 2, 2)


def test_low_scores_are_no_pairs_but_have_a_verdict() -> None:
    outcome = collect(DATASET, oracle(score=0.4), ENOUGH)
    assert (len(outcome.pairs), outcome.pairs.unmatched, outcome.pairs.missed) == (0, 0, 3)
    assert outcome.verdicts.right.tolist() == [True] * 3
    np.testing.assert_allclose(outcome.verdicts.iou, 1, atol=1e-5)
    assert outcome.verdicts.true_label.tolist() == [0, 1, 1]


def test_a_threshold_goes_by_the_label_of_the_data_set() -> None:
    pairs = collect(DATASET, oracle(("cat", "dog")), np.array([0.95, 0.5])).pairs
    assert pairs.labels.tolist() == [1, 1]


def test_an_overlap_too_small_to_be_right_is_kept_as_such() -> None:
    verdicts = collect(DATASET, oracle(shift=6), ENOUGH).verdicts
    assert verdicts.right.sum() == 1
    assert ((verdicts.any_iou > 0) & (verdicts.iou == 0)).sum() == 2


def test_crowd_regions_are_neither_found_nor_missed() -> None:
    class Crowded(FakeDataset):
        @property
        def annotations(self):  # type: ignore[no-untyped-def]
            coco = super().annotations
            return coco | {"annotations": [one | {"iscrowd": 1} for one in coco["annotations"]]}

    outcome = collect(Crowded(DATASET.boxes), oracle(), ENOUGH)
    assert (len(outcome.pairs), outcome.pairs.unmatched, outcome.pairs.missed) == (0, 0, 0)
    assert (len(outcome.verdicts.scores), len(outcome.verdicts.true_label)) == (0, 0)


def test_a_watch_keeps_the_layers_and_evaluation_sees_the_last() -> None:
    last, first = oracle(), oracle(shift=6, score=0.4)

    def layers(images: list[np.ndarray]) -> list[tuple[Detections, ...]]:
        stopped = images[0][0, 0, 0] == 12  # the last image's first layer is its last
        return [(b,) if stopped else (a, b) for a, b in zip(first(images), last(images), strict=True)]

    watch = LayerWatch(DATASET, layers, ENOUGH, np.array([0.3, 0.3]))
    found = evaluate(DATASET, watch.predict, batch=2, watch=watch.add)
    assert found.metrics.ap == 1
    assert (len(watch.outcome().pairs), watch.outcome().pairs.num_images) == (3, 3)
    before = watch.before()
    assert list(before) == ["1"]
    assert (len(before["1"].pairs), before["1"].pairs.unmatched, before["1"].pairs.num_images) == (0, 2, 2)


def test_some_pairs_and_some_images() -> None:
    outcome = collect(DATASET, oracle(), ENOUGH)
    assert outcome.pairs[outcome.pairs.labels == 1].image.tolist() == [0, 2]
    some = outcome.verdicts.within(np.array([False, True, True]))
    assert (some.image.tolist(), some.true_image.tolist()) == ([2], [2])


def test_mistakes_say_what_is_missing() -> None:
    collector = Collector(DATASET, ENOUGH)
    with pytest.raises(ValueError, match="no images to measure honesty on"):
        collector.outcome()
    sample: Sample = DATASET[0]
    with pytest.raises(ValueError, match="detections without edges: predict with edges=True"):
        collector.add(sample, Oracle(DATASET)([sample.image])[0])
    with pytest.raises(ValueError, match="the predictor's classes are dog, bird; the dataset's are dog, cat"):
        collector.add(sample, replace(oracle()([sample.image])[0], class_names=("dog", "bird")))
