"""Which score is enough."""

import pytest

from edgewise.thresholds import Thresholds

METRICS = {
    "best_threshold": 0.5,
    "per_class": {"dog": {"best_threshold": 0.25, "count": 7}, "cat": {"best_threshold": None, "count": 0}},
}


def test_they_go_by_label_and_a_class_without_one_takes_the_shared() -> None:
    found = Thresholds.of(METRICS, ("cat", "dog", "unseen"), "val")
    assert found == Thresholds(split="val", shared=0.5, by_class=(None, 0.25, None), counts=(0, 7, 0))
    assert found.values.tolist() == [0.5, 0.25, 0.5]


@pytest.mark.parametrize("metrics", [None, {}, {"best_threshold": None, "per_class": {}}])
def test_there_are_none_where_nothing_was_found(metrics: dict[str, object] | None) -> None:
    assert Thresholds.of(metrics, ("cat",), "val") is None


def test_what_they_may_be() -> None:
    with pytest.raises(ValueError, match="1 thresholds for 2 counts of boxes"):
        Thresholds(split="val", shared=0.5, by_class=(0.5,), counts=(1, 2))
    with pytest.raises(ValueError, match=r"threshold 1.5: expected a score in \[0, 1\]"):
        Thresholds(split="val", shared=1.5, by_class=(), counts=())


def test_a_rising_function_of_scores_takes_thresholds_along() -> None:
    found = Thresholds(split="val", shared=0.5, by_class=(None, 0.4), counts=(0, 9))
    mapped = found.mapped(lambda scores: scores**2)
    assert (mapped.shared, mapped.by_class[0]) == (0.25, None)
    assert mapped.by_class[1] == pytest.approx(0.16)
    assert (mapped.split, mapped.counts) == (found.split, found.counts)
