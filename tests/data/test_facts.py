"""Facts read off annotations, counted by hand."""

import numpy as np
import pytest

from edgewise.data.facts import LEAST_BOXES, data_facts, scale_spread, upright


class Annotated:
    def __init__(self, sizes: list[tuple[int, int]], boxes: list[tuple[int, int, float, float, int]]) -> None:
        """Boxes are image, category, width, height, iscrowd; all at the top left."""
        self.annotations = {
            "images": [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(sizes)],
            "annotations": [
                {"image_id": i, "category_id": c, "bbox": [0, 0, w, h], "iscrowd": crowd}
                for i, c, w, h, crowd in boxes
            ],
        }


def test_facts_counted_by_hand() -> None:
    sizes = [(480, 640)] * 18 + [(482, 640), (640, 480)]
    boxes = [(0, 1, 10, 10, 0), (0, 1, 40, 40, 0), (0, 2, 7, 9, 1), (3, 2, 8, 8, 0)]
    facts = data_facts(Annotated(sizes, boxes))
    assert (facts.images, facts.boxes, facts.most_boxes) == (20, 3, 2)
    assert facts.size == (480, 640)
    assert facts.one_shape
    assert facts.scale_spread == pytest.approx((2 / 3) ** 0.5)  # ±1, ∓1 and 0 octaves
    assert facts.upright  # three boxes say nothing


def test_several_shapes() -> None:
    assert not data_facts(Annotated([(480, 640)] * 8 + [(640, 480)] * 2, [])).one_shape


def test_without_boxes_nothing_is_known_of_scale() -> None:
    facts = data_facts(Annotated([(64, 64)], []))
    assert (facts.boxes, facts.most_boxes, facts.scale_spread) == (0, 0, 1.0)


def test_spread_is_within_classes() -> None:
    sides = np.array([[8.0, 8], [8, 8], [64, 64]])
    assert scale_spread(sides, np.array([0, 0, 1])) == 0
    assert scale_spread(sides, np.array([0, 0, 0])) > 1


def seen_from_above(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sides, middles and labels of two classes of box that lie anywhere."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=count)
    return rng.uniform(8, 12, (count, 2)) * (1 + labels[:, None]), rng.uniform(0, 1, count), labels


def test_boxes_that_lie_anywhere_have_no_up() -> None:
    assert not upright(*seen_from_above(LEAST_BOXES))
    assert upright(*seen_from_above(LEAST_BOXES - 1))  # too few to say


def test_boxes_of_one_size_have_no_up() -> None:
    sides, middles, labels = seen_from_above(LEAST_BOXES)
    assert not upright(np.full_like(sides, 8.0), middles, labels)


def test_boxes_that_lie_lower_have_an_up() -> None:
    sides, middles, labels = seen_from_above(LEAST_BOXES)
    assert upright(sides, middles**0.8, labels)


def test_boxes_that_grow_towards_the_bottom_have_an_up() -> None:
    sides, middles, labels = seen_from_above(LEAST_BOXES)
    assert upright(sides * (1 + middles[:, None]), middles, labels)


def test_a_class_that_lies_lower_is_an_up_only_by_its_middles() -> None:
    """Size goes with height through the class alone, which the correlation within classes does not see."""
    sides, _, labels = seen_from_above(2 * LEAST_BOXES)
    one = np.random.default_rng(1).uniform(0, 0.5, 2 * LEAST_BOXES) + 0.5 * labels
    assert not upright(sides, one, labels)
