from dataclasses import replace

import numpy as np
import pytest

from edgewise.detections import Detections
from edgewise.export.compare import Tolerance, check

LIMITS = Tolerance()


def detections(count: int = 40, seed: int = 0) -> Detections:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 300, (count, 2))
    return Detections(
        boxes_xyxy=np.concatenate([corner, corner + rng.uniform(5, 100, (count, 2))], 1).astype(np.float32),
        scores=np.sort(rng.uniform(0.1, 1, count))[::-1].astype(np.float32),
        labels=rng.integers(0, 3, count),
        edge_std=rng.uniform(1, 5, (count, 4)).astype(np.float32),
        size=(400, 400),
        class_names=("a", "b", "c"),
    )


def test_the_same_in_any_order() -> None:
    one = detections()
    found = check("it", [one], [one[np.random.default_rng(1).permutation(40)]], LIMITS)
    assert (found.pairs, found.missing, found.border, found.faults) == (40, 0, 0, ())
    assert found.box_px == found.score == found.edge_std_px == 0


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"boxes_xyxy": 2.0}, r"boxes differ by up to 2 px, at most 0.05 is allowed"),
        ({"edge_std": 0.5}, r"edge_std differ by up to 0.5 px, at most 0.05 is allowed"),
        ({"scores": -0.01}, r"scores differ by up to 0.01, at most 0.0005 is allowed"),
    ],
)
def test_what_is_out_of_tolerance(change: dict[str, float], fault: str) -> None:
    one = detections()
    (name, by), *_ = change.items()
    values = getattr(one, name).copy()
    values[3] += by
    found = check("it", [one], [replace(one, **{name: values})], LIMITS)
    assert found.faults == (fault,)


def test_another_class_is_missing() -> None:
    one = detections()
    labels = one.labels.copy()
    labels[5] = (labels[5] + 1) % 3
    found = check("it", [one], [replace(one, labels=labels)], LIMITS)
    assert any("have no counterpart of their class" in fault for fault in found.faults)


def test_less_than_there_should_be() -> None:
    one = detections()
    assert check("it", [one], [one[1:]], LIMITS).faults == (
        "1 of 40 detections have no counterpart of their class",
    )
    assert check("it", [one], [one[:0]], LIMITS).missing == 40
    assert check("it", [one[:0]], [one[:0]], LIMITS).faults == ()


def test_the_last_place_may_go_to_another() -> None:
    """Two candidates for the last rank with equal scores: each side may keep either."""
    one, other = detections(), detections(seed=9)
    last = replace(other[:1], scores=one.scores[-1:])
    parts = {
        name: np.concatenate([getattr(one, name)[:-1], getattr(last, name)])
        for name in ("boxes_xyxy", "scores", "labels", "edge_std")
    }
    found = check("it", [one], [replace(one, **parts)], LIMITS)
    assert found.border > 0
    assert found.faults == ()


def test_not_all_can_be_at_the_border() -> None:
    one, other = (replace(detections(seed=i), scores=np.full(40, 0.5, np.float32)) for i in (0, 1))
    found = check("it", [one], [other], LIMITS)
    assert any("come and go with rounding" in fault for fault in found.faults)
