import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.detections import Detections
from edgewise.fusion import (
    fuse,
    mirrored,
    placed,
    predict_mirrored,
    predict_tiles,
    tile_windows,
)
from tests.uses.cases import detections

BOX = (10.0, 10.0, 30.0, 30.0)


def test_edges_are_weighted_by_their_own_spread() -> None:
    one = detections((0, 0.8, (10, 10, 30, 30)), std=[[1, 2, 1, 1]])
    other = detections((0, 0.8, (12, 14, 30, 30)), std=[[1, 1, 1, 3]])
    fused = fuse([one, other])
    assert len(fused) == 1
    np.testing.assert_allclose(fused.boxes_xyxy[0], [11, (10 / 4 + 14) / 1.25, 30, 30], rtol=1e-6)


def test_a_view_that_hardly_believes_it_has_less_of_a_say() -> None:
    fused = fuse([detections((0, 0.8, (10, 10, 30, 30))), detections((0, 0.4, (15, 10, 30, 30)))])
    assert fused.boxes_xyxy[0, 0] == pytest.approx(11)
    assert fused.scores[0] == pytest.approx(0.6)
    nothing = detections((0, 0.0, BOX))
    np.testing.assert_allclose(fuse([nothing, nothing]).boxes_xyxy, [BOX])


def test_the_spread_is_that_of_errors_that_go_together_and_of_the_scatter() -> None:
    one = detections((0, 0.8, (10, 10, 30, 30)), std=[[1, 1, 2, 1]])
    other = detections((0, 0.8, (12, 10, 30, 30)), std=[[1, 1, 2, 100]])
    std = fuse([one, other]).edge_std[0]
    assert std[0] == pytest.approx(np.hypot(1, 1))  # both one pixel from their mean
    assert std[1] == pytest.approx(1)  # twice the same look is no better
    assert std[2] == pytest.approx(2)
    assert std[3] == pytest.approx(1, abs=0.02)  # one that knows nothing does no harm


def test_classes_and_objects_stay_apart() -> None:
    one = detections((0, 0.9, BOX), (1, 0.8, BOX), (0, 0.7, (40, 10, 60, 30)))
    other = detections((0, 0.9, BOX), (0, 0.5, (45, 10, 65, 30)))
    fused = fuse([one, other])
    assert sorted(fused.labels.tolist()) == [0, 0, 1]
    assert fused.scores.tolist() == sorted(fused.scores.tolist(), reverse=True)
    assert len(fuse([one, other], iou=0.7)) == 4  # 60 % of overlap is another object now


def test_a_view_shows_an_object_once() -> None:
    pair = detections((0, 0.9, BOX), (0, 0.8, (12, 10, 32, 30)))
    assert len(fuse([pair])) == 2
    assert len(fuse([pair, pair])) == 2


def test_a_view_that_does_not_show_it_counts_as_nothing() -> None:
    assert fuse([detections((0, 0.8, BOX)), detections()]).scores[0] == pytest.approx(0.4)


def test_one_view_is_itself() -> None:
    one = detections((0, 0.9, BOX), (1, 0.8, (5, 6, 70, 50)), std=[[1, 2, 3, 4]] * 2)
    fused = fuse([one])
    for name in ("boxes_xyxy", "scores", "labels", "edge_std"):
        np.testing.assert_allclose(getattr(fused, name), getattr(one, name), rtol=1e-6)


def test_calibrated_where_all_are() -> None:
    raw, fitted = detections((0, 0.9, BOX)), detections((0, 0.9, BOX), calibrated=True)
    assert fuse([fitted, fitted]).calibrated
    assert not fuse([fitted, raw]).calibrated


def test_nothing_in_no_view() -> None:
    fused = fuse([detections(), detections()])
    assert len(fused) == 0
    assert fused.boxes_xyxy.shape == fused.edge_std.shape == (0, 4)


@given(st.permutations(range(3)), st.integers(0, 20))
def test_the_order_of_views_does_not_matter(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    views = [
        detections(
            (0, 0.5 + 0.1 * index, tuple(np.array(BOX) + rng.uniform(-1, 1, 4))),
            std=rng.uniform(0.5, 3, (1, 4)).tolist(),
        )
        for index in range(3)
    ]
    one, other = fuse(views), fuse([views[index] for index in order])
    np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, rtol=1e-5)
    np.testing.assert_allclose(one.edge_std, other.edge_std, rtol=1e-5)
    assert (one.edge_std >= np.min([view.edge_std for view in views], 0) - 1e-6).all()


def test_views_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="no views to fuse"):
        fuse([])
    with pytest.raises(ValueError, match=r"one size and the same class_names; .*fusion\.placed"):
        fuse([detections(), detections(size=(10, 10))])
    with pytest.raises(ValueError, match="1 windows for 2 views"):
        fuse([detections(), detections()], [(0, 0, 80, 60)])


# ── mirror images ──────────────────────────────────────────────────────────────────────────────────


def test_mirrored_is_left_for_right() -> None:
    one = detections((0, 0.9, (10, 12, 30, 34)), std=[[1, 2, 3, 4]])
    turned = mirrored(one)
    assert turned.boxes_xyxy.tolist() == [[50, 12, 70, 34]]
    assert turned.edge_std.tolist() == [[3, 2, 1, 4]]
    assert mirrored(turned).boxes_xyxy.tolist() == one.boxes_xyxy.tolist()


def bright(images: list[np.ndarray]) -> list[Detections]:
    """The bounding box of what is bright in each image, if there is any."""
    found = []
    for image in images:
        rows, columns = np.nonzero(image[..., 0] > 128)
        box = (
            [(float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))]
            if len(rows)
            else []
        )
        found.append(detections(*((0, 0.9, one) for one in box), size=(image.shape[0], image.shape[1])))
    return found


def picture(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    image = np.zeros((60, 80, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    return image


def test_predict_mirrored_sees_it_where_it_is() -> None:
    found = predict_mirrored(bright, picture(10, 12, 30, 34))
    assert found.boxes_xyxy.tolist() == [[10, 12, 30, 34]]
    assert found.scores[0] == pytest.approx(0.9)


# ── tiles ──────────────────────────────────────────────────────────────────────────────────────────


def test_windows_cover_the_image_and_overlap() -> None:
    assert tile_windows((60, 80), (1, 2), 0.0) == [(0, 0, 40, 60), (40, 0, 80, 60)]
    windows = tile_windows((100, 100), (3, 2), 0.25)
    assert len(windows) == 6
    covered = np.zeros((100, 100))
    for x1, y1, x2, y2 in windows:
        assert (x2 - x1, y2 - y1) == (57, 40)
        covered[y1:y2, x1:x2] += 1
    assert covered.min() == 1
    assert tile_windows((60, 80), (1, 1), 0.25) == [(0, 0, 80, 60)]
    with pytest.raises(ValueError, match=r"overlap in \[0, 1\)"):
        tile_windows((60, 80), (2, 2), 1.0)


def test_a_cut_is_no_edge() -> None:
    part = detections((0, 0.9, (20, 10, 50, 30)), (1, 0.8, (0, 5, 10, 60)), size=(60, 50))
    whole = placed(part, (30, 0, 80, 60), (60, 80))
    assert whole.size == (60, 80)
    assert whole.boxes_xyxy.tolist() == [[50, 10, 80, 30], [30, 5, 40, 60]]
    assert whole.edge_std.tolist() == [[1, 1, 1, 1], [10, 1, 1, 1]]  # the image's border is an edge
    with pytest.raises(ValueError, match=r"60x50 for a window of 60x10 \(height x width\)"):
        placed(part, (0, 0, 10, 60), (60, 80))


@pytest.mark.parametrize(
    "box",
    [
        (10, 12, 30, 34),  # in one tile
        (35, 5, 60, 20),  # cut by one
        (20, 20, 70, 50),  # cut by all
        (0, 0, 80, 60),
    ],
)
def test_an_object_in_several_tiles_is_one_with_its_own_edges(box: tuple[int, int, int, int]) -> None:
    found = predict_tiles(bright, picture(*box), overlap=0.4)
    assert len(found) == 1
    np.testing.assert_allclose(found.boxes_xyxy[0], box, atol=0.3)
    assert found.scores[0] == pytest.approx(0.9)
    assert (found.edge_std < 2).all()


def test_needs_no_torch() -> None:
    code = "import sys, edgewise.fusion; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
