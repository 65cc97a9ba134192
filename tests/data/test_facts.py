"""Facts read off annotations, counted by hand."""

import numpy as np
import pytest

from edgewise.data.facts import data_facts, scale_spread


class Annotated:
    def __init__(self, sizes: list[tuple[int, int]], boxes: list[tuple[int, int, float, float, int]]) -> None:
        """Boxes are image, category, width, height, iscrowd."""
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


def test_several_shapes() -> None:
    assert not data_facts(Annotated([(480, 640)] * 8 + [(640, 480)] * 2, [])).one_shape


def test_without_boxes_nothing_is_known_of_scale() -> None:
    facts = data_facts(Annotated([(64, 64)], []))
    assert (facts.boxes, facts.most_boxes, facts.scale_spread) == (0, 0, 1.0)


def test_spread_is_within_classes() -> None:
    sides = np.array([[8.0, 8], [8, 8], [64, 64]])
    assert scale_spread(sides, np.array([0, 0, 1])) == 0
    assert scale_spread(sides, np.array([0, 0, 0])) > 1
