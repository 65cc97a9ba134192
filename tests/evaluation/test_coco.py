import io
import json
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgewise.evaluation.coco import Metrics, coco_metrics
from edgewise.thresholds import Thresholds
from tests.evaluation.cases import pycocotools_eval, random_case

NUMBERS = [
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
]  # fmt: skip


def twelve(metrics: Metrics) -> np.ndarray:
    return np.array([getattr(metrics, name) for name in NUMBERS])


def dataset(boxes: list[tuple[int, int, list[float]]], num_images: int = 2) -> dict[str, Any]:
    """Annotations of (image_id, category_id, bbox), categories 3 (dog) and 7 (cat)."""
    return {
        "images": [{"id": i} for i in range(num_images)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box}
            for i, (image, category, box) in enumerate(boxes)
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}],
    }


def found(image_id: int, category_id: int, bbox: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


A, B, C = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 40.0, 40.0], [200.0, 200.0, 100.0, 100.0]


def test_equals_pycocotools_on_cocos_own_sample(shared: Path) -> None:
    folder = shared / "data/cocoeval_ref"
    annotations = json.loads((folder / "instances_val2014_100.json").read_text())
    detections = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())

    metrics = coco_metrics(annotations, detections)

    expected = [
        0.5045806987249628, 0.6969727247299577, 0.5729816669904824, 0.5856257209410443,
        0.5193996948036719, 0.5013978986347466, 0.38681277964578054, 0.5936795762842003,
        0.595352982877607, 0.6398109626113442, 0.5664205978994309, 0.5642905982905982,
    ]  # fmt: skip
    np.testing.assert_allclose(twelve(metrics), expected, rtol=0, atol=1e-12)
    assert metrics.count == 830  # 839 less 9 crowd regions
    assert len(metrics.per_class) == 80


@pytest.mark.parametrize("seed", range(200))
def test_equals_pycocotools_on_random_cases(seed: int) -> None:
    annotations, detections = random_case(seed)
    reference = pycocotools_eval(annotations, detections)

    metrics = coco_metrics(annotations, detections)

    expected = np.where(reference.stats > -1, reference.stats, nan)
    np.testing.assert_allclose(twelve(metrics), expected, rtol=0, atol=1e-12)
    for label, one in enumerate(metrics.per_class.values()):
        precision = reference.eval["precision"][:, :, label, 0, 2]
        if one.count:
            assert one.ap == pytest.approx(precision.mean(), abs=1e-12)
            np.testing.assert_allclose(one.precision, precision[0], rtol=0, atol=1e-12)
        else:
            assert isnan(one.ap)
            assert (precision == -1).all()


def test_ap_worked_by_hand() -> None:
    # Best first: finds a dog, finds nothing, finds the other dog. Precision 1 up to recall 1/2, then 2/3.
    # Of the 101 recalls 0, .01 … 1, 51 are at most 1/2. The cat is found at IoU .8: right at 7 of 10.
    metrics = coco_metrics(
        dataset([(0, 3, A), (1, 3, B), (1, 7, C)]),
        [
            found(0, 3, A, 0.9),
            found(0, 3, C, 0.8),
            found(1, 3, B, 0.7),
            found(1, 7, [200.0, 200.0, 80.0, 100.0], 0.6),
        ],
    )
    dog, cat = metrics.per_class["dog"], metrics.per_class["cat"]
    assert dog.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert (cat.ap, cat.ap50, cat.ap75) == pytest.approx((0.7, 1.0, 1.0))
    assert metrics.ap == pytest.approx((dog.ap + 0.7) / 2)
    assert (metrics.ap_small, metrics.ap_medium) == pytest.approx((1.0, 1.0))  # C is none of these
    assert (dog.count, cat.count, metrics.count) == (2, 1, 3)
    assert dog.best_f1 == pytest.approx(2 * 2 / (3 + 2))
    assert cat.best_f1 == 1.0
    assert (dog.best_threshold, dog.best_precision, dog.best_recall) == pytest.approx((0.35, 2 / 3, 1))
    assert (dog.ar100, cat.ar100) == pytest.approx((1, 0.7))
    # For both classes at once nothing is better than up to 0.6: the mean of .8 and 1.
    assert (metrics.best_f1, metrics.best_threshold) == pytest.approx((0.9, 0.3))
    assert (metrics.best_precision, metrics.best_recall) == pytest.approx((5 / 6, 1))
    assert metrics.duplicate_rate == 0


def test_thresholds_go_by_the_given_order_of_classes() -> None:
    metrics = coco_metrics(dataset([(0, 3, A)]), [found(0, 3, A, 0.9)])
    thresholds = metrics.thresholds(("cat", "dog"), "test")
    assert thresholds == Thresholds(split="test", shared=0.45, by_class=(None, 0.45), counts=(0, 1))
    assert coco_metrics(dataset([(0, 3, A)]), []).thresholds(("cat", "dog"), "test") is None


def test_a_detection_that_repeats_a_better_one_is_a_duplicate() -> None:
    near = [0.5, 0.0, 10.0, 10.0]  # IoU with A: 95 of 105
    detections = [
        found(0, 3, A, 0.9),
        found(0, 3, near, 0.8),  # the one
        found(0, 7, near, 0.8),  # another class
        found(1, 3, near, 0.8),  # another image
        found(0, 3, [0.0, 0.0, 10.0, 6.0], 0.8),  # IoU 0.6
    ]
    annotations = dataset([(0, 3, A), (0, 7, near), (1, 3, near)])
    assert coco_metrics(annotations, detections).duplicate_rate == pytest.approx(1 / 5)
    assert isnan(coco_metrics(annotations, []).duplicate_rate)


@pytest.mark.parametrize("seed", range(5))
def test_truth_as_detections_is_perfect(seed: int) -> None:
    annotations, _ = random_case(seed + 1000)
    boxes = [one for one in annotations["annotations"] if not one["iscrowd"]]
    annotations = {**annotations, "annotations": boxes}

    metrics = coco_metrics(annotations, [{**one, "score": 1.0} for one in boxes])

    assert (metrics.ap, metrics.ar100, metrics.best_f1) == pytest.approx((1.0, 1.0, 1.0))


def test_no_detections_score_zero() -> None:
    metrics = coco_metrics(dataset([(0, 3, A), (1, 3, B)]), [])
    assert (metrics.ap, metrics.ap50, metrics.ar100, metrics.best_f1) == (0, 0, 0, 0)
    assert isnan(metrics.best_threshold)  # none is better than another
    assert isnan(metrics.ap_large)
    assert isnan(metrics.per_class["cat"].ap)  # in no mean: it has no boxes


@pytest.mark.parametrize("detections", [[], [found(0, 3, A, 0.9)]])
@pytest.mark.parametrize("num_images", [1, 2])
def test_nothing_to_find_is_undefined(detections: list[dict[str, Any]], num_images: int) -> None:
    metrics = coco_metrics(dataset([], num_images), detections)
    assert np.isnan(twelve(metrics)).all()
    assert metrics.count == 0
    assert metrics.to_dict()["ap"] is None


def test_an_empty_set() -> None:
    metrics = coco_metrics({"images": [], "annotations": [], "categories": []}, [])
    assert np.isnan(twelve(metrics)).all()
    assert metrics.per_class == {}


def test_crowd_regions_neither_need_to_be_found_nor_make_detections_wrong() -> None:
    annotations = dataset([(0, 3, A), (0, 3, C)])
    annotations["annotations"][1]["iscrowd"] = 1
    inside = [[210.0 + i, 210.0, 20.0, 20.0] for i in range(3)]
    metrics = coco_metrics(annotations, [found(0, 3, A, 0.5), *(found(0, 3, box, 0.9) for box in inside)])
    assert (metrics.ap, metrics.count, metrics.best_f1) == pytest.approx((1, 1, 1))


def test_best_hundred_of_a_class_in_an_image_are_scored() -> None:
    better = [found(0, 3, C, 0.9)] * 100
    metrics = coco_metrics(dataset([(0, 3, A)]), [*better, found(0, 3, A, 0.1)])
    assert (metrics.ap, metrics.best_f1) == (0, 0)
    metrics = coco_metrics(dataset([(0, 3, A)]), [*better[1:], found(0, 3, A, 0.1)])
    assert metrics.ap == pytest.approx(0.01)
    assert metrics.best_f1 == pytest.approx(2 / 101)


def test_annotation_id_zero_counts_and_unlisted_images_do_not() -> None:
    annotations = dataset([(0, 3, A), (9, 3, B)])
    assert annotations["annotations"][0]["id"] == 0
    metrics = coco_metrics(annotations, [found(0, 3, A, 0.9)])
    assert (metrics.ap, metrics.count) == pytest.approx((1, 1))


def test_rows_say_the_same_as_entries() -> None:
    annotations, detections = random_case(3)
    rows = np.array([[d["image_id"], *d["bbox"], d["score"], d["category_id"]] for d in detections])
    assert coco_metrics(annotations, rows).to_dict() == coco_metrics(annotations, detections).to_dict()


def test_names_of_any_kind_of_id() -> None:
    annotations = dataset([(0, 3, A)])
    annotations["images"] = [{"id": "a.jpg"}]
    annotations["annotations"][0]["image_id"] = "a.jpg"
    entry = {"image_id": "a.jpg", "category_id": 3, "bbox": A, "score": 0.9}
    assert coco_metrics(annotations, [entry]).ap == pytest.approx(1)


@pytest.mark.parametrize(
    ("detection", "message"),
    [
        (
            found(1, 3, A, nan),
            r"detection 1, of image 1: box \[0.0, 0.0, 10.0, 10.0\] with score nan; expected",
        ),
        (
            found(1, 3, [0, 0, 1, float("inf")], 0.5),
            r"box \[0.0, 0.0, 1.0, inf\] with score 0.5; expected finite",
        ),
        (
            found(5, 3, A, 0.5),
            "detection 1 has image_id 5, which the annotations do not have; their images are 0, 1",
        ),
        (
            found(0, 4, A, 0.5),
            "detection 1 has category_id 4, which the .* do not have; their categories are 3, 7",
        ),
    ],
)
def test_impossible_detections_are_refused(detection: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        coco_metrics(dataset([(0, 3, A)]), [found(0, 3, A, 0.9), detection])


def test_impossible_annotations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of image 0 has category_id 5; the categories are 3, 7"):
        coco_metrics(dataset([(0, 5, A)]), [])
    twice = dataset([])
    twice["categories"][1]["name"] = "dog"
    with pytest.raises(ValueError, match="two categories are named 'dog'"):
        coco_metrics(twice, [])


def test_ids_that_floats_cannot_tell_apart() -> None:
    """As dictionaries they are exact; in rows of floats one image would be taken for another."""
    annotations, first = dataset([(0, 3, A), (1, 3, A)]), 2**53
    for one in annotations["images"]:
        one["id"] += first
    for one in annotations["annotations"]:
        one["image_id"] += first
    assert coco_metrics(annotations, [found(first + i, 3, A, 0.9) for i in (0, 1)]).ap == pytest.approx(1)
    with pytest.raises(ValueError, match=r"image_id 9007199254740992 in a row of floats.* number the images"):
        coco_metrics(annotations, np.array([[float(first), *A, 0.9, 3.0]]))


def test_to_dict_is_json_and_has_the_numbers() -> None:
    values = json.loads(json.dumps(coco_metrics(dataset([(0, 3, A)]), [found(0, 3, A, 0.9)]).to_dict()))
    assert list(values)[:12] == NUMBERS
    assert values["ap"] == pytest.approx(1)
    assert values["ap_large"] is None
    assert values["best_threshold"] == pytest.approx(0.45)  # the middle of those that keep the one detection
    dog = values["per_class"]["dog"]
    assert list(dog) == [
        "ap", "ap50", "ap75", "ar100", "count", "best_f1", "best_threshold", "best_precision", "best_recall",
    ]  # fmt: skip
    assert list(dog.values()) == pytest.approx([1, 1, 1, 1, 1, 1, 0.45, 1, 1])
    assert values["duplicate_rate"] == 0
    assert values["per_class"]["cat"]["ap"] is None


def test_table_has_a_row_a_class_and_one_for_all() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(coco_metrics(dataset([(0, 3, A)]), [found(0, 3, A, 0.9)]).table())
    text = console.export_text()
    assert "boxes: 1, images: 2" in text
    dog, cat, whole = (
        next(line for line in text.splitlines() if name in line.split()) for name in ("dog", "cat", "all")
    )
    assert "1.000" in dog
    assert "–" in cat
    assert whole.split() == ["all", "1", *["1.000"] * 5, "0.450", "1.000", "1.000"]
