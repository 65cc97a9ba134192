"""The true spread of edges beside the predicted one, on scenes whose truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.data.scenes import SceneDataset
from edgewise.evaluation.calibration.pairs import EdgePairs
from edgewise.uses.ambiguity import SIZES, Ambiguity
from tests.evaluation.calibration.outcomes import pairs


@pytest.fixture(scope="module")
def scenes() -> SceneDataset:
    return SceneDataset(300, seed=4, split="test")


def found(scenes: SceneDataset, rng: np.random.Generator) -> EdgePairs:
    """Every annotated box found, in any order within its image, with the true spread or a little more."""
    order = [(i, k) for i in range(len(scenes)) for k in rng.permutation(len(scenes.scene(i).labels))]
    spread = np.array([scenes.scene(i).edge_std[k] for i, k in order], np.float64) + 0.1
    rounded = np.array([scenes.scene(i).boxes_xyxy[k] for i, k in order], np.float64).round(3)  # as COCO's
    return replace(
        pairs(len(order)),
        true_xyxy=rounded,
        spread=spread,
        image=np.array([i for i, _ in order]),
        num_images=len(scenes),
    )


@pytest.fixture(scope="module")
def truth(scenes: SceneDataset) -> Ambiguity:
    return Ambiguity.of(found(scenes, np.random.default_rng(0)), scenes)


def test_every_pair_gets_the_truth_of_its_own_box(truth: Ambiguity) -> None:
    np.testing.assert_allclose(truth.predicted, truth.true + 0.1, atol=1e-6)


def test_groups_share_the_whole_edges(truth: Ambiguity) -> None:
    groups = truth.groups()
    assert list(groups) == ["30–42 px", "42–58 px", "58–80 px"]
    np.testing.assert_array_equal(sum(rows.astype(int) for rows in groups.values()), truth.true > 0)
    counts = [int(rows.sum()) for rows in groups.values()]
    assert min(counts) > 0.2 * sum(counts)
    size = np.sqrt(truth.sides[:, 0] * truth.sides[:, 1])
    assert size.min() > SIZES[0] - 0.01
    assert size.max() < SIZES[-1] + 0.01


def test_only_the_truth_ranks_edges(truth: Ambiguity) -> None:
    for one in truth.correlations().values():
        assert one["predicted"] == pytest.approx(1)
        assert one["constant in pixels"] == 0
        assert abs(one["constant in box sides"]) < 0.1


def test_a_spread_of_the_sides_is_told_from_one_of_the_image(truth: Ambiguity) -> None:
    """Size tells nothing of scenes' spread; what is claimed in box sides therefore ranks no better."""
    by_side = replace(truth, predicted=0.05 * truth.sides).correlations()
    for one in by_side.values():
        assert one["predicted"] == one["constant in box sides"]


def test_correlation_by_hand() -> None:
    boxes = np.tile([0.0, 0.0, 40.0, 40.0], (2, 1))
    true = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 5.0]])
    predicted = np.array([[1.0, 2.0, 4.0, 3.0], [9.0, 9.0, 9.0, 5.0]])
    small, medium, large = Ambiguity(predicted, true, boxes).correlations().values()
    assert small["edges"] == 5
    assert small["predicted"] == pytest.approx(1 - 6 * 2 / (5 * 24))  # Spearman's, two neighbours exchanged
    assert medium["edges"] == large["edges"] == 0
    assert medium["predicted"] == 0


def test_the_plot_is_written(truth: Ambiguity, tmp_path: Path) -> None:
    truth.plot(tmp_path / "ambiguity.png")
    with Image.open(tmp_path / "ambiguity.png") as picture:
        assert picture.width > 2 * picture.height
