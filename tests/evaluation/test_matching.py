import numpy as np

from edgewise.evaluation.matching import NO_TRUTH, Truth, match, to_xywh, truths

A, B = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 10.0, 10.0]


def truth(*boxes: list[float], labels: list[int] | None = None, crowd: list[bool] | None = None) -> Truth:
    return Truth(
        np.array(boxes),
        np.array(labels or [0] * len(boxes)),
        np.array(crowd or [False] * len(boxes)),
    )


def found(*boxes: list[float], labels: list[int] | None = None, among: Truth, iou: float = 0.5) -> list[int]:
    detections = np.array(boxes).reshape(-1, 4)
    return match(detections, np.array(labels or [0] * len(boxes), np.int64), among, iou).tolist()


def test_each_box_is_found_once_by_the_best_detection() -> None:
    assert found(A, A, B, among=truth(B, A)) == [1, -1, 0]


def test_a_box_of_another_class_is_not_found() -> None:
    assert found(A, A, labels=[1, 0], among=truth(A)) == [-1, 0]


def test_overlap_of_just_the_threshold_counts() -> None:
    assert found([0.0, 0.0, 5.0, 10.0], among=truth(A)) == [0]
    assert found([0.0, 0.0, 5.0, 10.0], among=truth(A), iou=0.51) == [-1]


def test_the_most_overlapped_is_taken_and_of_equals_the_last() -> None:
    assert found([1.0, 0.0, 10.0, 10.0], among=truth([3.0, 0.0, 10.0, 10.0], A)) == [1]
    assert found(A, A, among=truth(A, A)) == [1, 0]


def test_a_crowd_takes_what_finds_no_box_and_is_never_used_up() -> None:
    large = [0.0, 0.0, 100.0, 100.0]
    assert found(A, A, B, among=truth(large, A, crowd=[True, False])) == [1, 0, 0]


def test_boxes_without_area_and_empty_sides() -> None:
    assert found([5.0, 5.0, 0.0, 0.0], among=truth(A)) == [-1]
    assert found(A, among=NO_TRUTH) == [-1]
    assert found(among=truth(A)) == []


def test_truths_go_by_image() -> None:
    boxes = [
        {"image_id": 4, "category_id": 1, "bbox": A, "iscrowd": 0},
        {"image_id": 2, "category_id": 0, "bbox": B, "iscrowd": 1},
        {"image_id": 4, "category_id": 0, "bbox": B, "iscrowd": 0},
    ]
    by_image = truths(boxes)
    assert set(by_image) == {2, 4}
    assert by_image[4].labels.tolist() == [1, 0]
    assert by_image[2].crowd.tolist() == [True]


def test_to_xywh() -> None:
    assert to_xywh(np.array([[1.0, 2.0, 4.0, 8.0]])).tolist() == [[1.0, 2.0, 3.0, 6.0]]
