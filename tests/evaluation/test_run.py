from dataclasses import replace

import numpy as np
import pytest

from edgewise.detections import Detections
from edgewise.evaluation.coco import coco_metrics
from edgewise.evaluation.run import categories_of, coco_rows, evaluate
from tests.evaluation.fakes import FakeDataset, Oracle, detections

DATASET = FakeDataset([[(0, 5, 5, 20, 20), (1, 40, 30, 30, 20)], [], [(1, 0, 0, 33.3, 44.4)]])


@pytest.mark.parametrize("names", [("dog", "cat"), ("cat", "dog")])
def test_an_oracle_is_perfect_whatever_its_order_of_classes(names: tuple[str, ...]) -> None:
    oracle = Oracle(DATASET, names)
    evaluation = evaluate(DATASET, oracle, batch=2)
    metrics = evaluation.metrics
    assert (metrics.ap, metrics.ap50, metrics.best_f1) == pytest.approx((1, 1, 1))
    assert metrics.num_images == 3
    assert oracle.batches == [2, 1]


def test_what_is_scored_is_what_a_user_gets() -> None:
    rng = np.random.default_rng(0)
    oracle = Oracle(DATASET)

    def predict(images: list[np.ndarray]) -> list[Detections]:
        return [
            replace(one, boxes_xyxy=one.boxes_xyxy + jitter(one), scores=rng.random(len(one)))
            for one in oracle(images)
        ]

    def jitter(one: Detections) -> np.ndarray:
        return rng.normal(0, 1, one.boxes_xyxy.shape).astype(np.float32)

    evaluation = evaluate(DATASET, predict)
    entries = [
        {**entry, "category_id": DATASET.category_ids[entry["category_id"]]}
        for image_id, one in zip(DATASET.image_ids, evaluation.detections, strict=True)
        for entry in one.to_coco(image_id)
    ]
    assert len(entries) == 3
    assert evaluation.metrics.to_dict() == coco_metrics(DATASET.annotations, entries).to_dict()
    assert 0 < evaluation.metrics.ap < 1


def test_rows_are_the_numbers_of_to_coco() -> None:
    one = detections((0, 1.1, 2.2, 3.3, 4.4, 0.9), (1, 0, 0, 10, 10, 0.3))
    rows = coco_rows(one, 42, categories_of(one.class_names, DATASET))
    for row, entry in zip(rows.tolist(), one.to_coco(42), strict=True):
        assert row == [42, *entry["bbox"], entry["score"], DATASET.category_ids[entry["category_id"]]]


def test_detections_are_kept_in_order_without_the_images() -> None:
    evaluation = evaluate(DATASET, Oracle(DATASET))
    assert [len(one) for one in evaluation.detections] == [2, 0, 1]
    assert [one.source for one in evaluation.detections] == ["folder/0.png", "folder/1.png", "folder/2.png"]


def test_a_set_of_no_images_is_undefined() -> None:
    empty = FakeDataset([])
    evaluation = evaluate(empty, Oracle(empty))
    assert np.isnan(evaluation.metrics.ap)
    assert evaluation.detections == ()


def test_progress_shows_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(DATASET, Oracle(DATASET))
    assert capsys.readouterr().err == ""
    evaluate(DATASET, Oracle(DATASET), progress=True)
    assert "evaluating" in capsys.readouterr().err


def test_other_classes_are_refused_by_name() -> None:
    def predict(images: list[np.ndarray]) -> list[Detections]:
        return [detections(class_names=("dog", "horse")) for _ in images]

    with pytest.raises(
        ValueError, match="classes are dog, horse; the dataset's are dog, cat; expected"
    ) as error:
        evaluate(DATASET, predict)
    assert "only the predictor has horse; only the dataset has cat; rename the classes" in str(error.value)


def test_a_result_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="predict returned 2 results for 3 images"):
        evaluate(DATASET, lambda images: [detections()] * (len(images) - 1))
