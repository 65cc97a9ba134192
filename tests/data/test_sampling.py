import numpy as np
import pytest

from edgewise.data.sampling import epoch_order, labels_of, repeat_factors
from edgewise.sample import Sample

LABELS = [np.array(one, int) for one in ([0], [0, 0], [0, 1], [0], [], [0, 2, 1], [0], [0], [0], [0])]
FACTORS = np.array([1, 1, 1.5, 2.25, 1, 3.75, 1, 1])


def test_factors_by_hand() -> None:
    """Class 0 is in nine of ten images, class 1 in two, class 2 in one."""
    expected = [1, 1, np.sqrt(0.4 / 0.2), 1, 1, np.sqrt(0.4 / 0.1), 1, 1, 1, 1]
    np.testing.assert_allclose(repeat_factors(LABELS, 0.4), expected)
    assert (repeat_factors(LABELS, 0.1) == 1).all()


def test_factors_without_a_box_or_an_image() -> None:
    assert repeat_factors([np.zeros(0, int)] * 3, 0.5).tolist() == [1, 1, 1]
    assert repeat_factors([], 0.5).tolist() == []


def test_labels_are_asked_for_or_read() -> None:
    class Knowing(list[Sample]):
        labels = LABELS

    assert labels_of(Knowing()) == LABELS
    image = np.zeros((8, 8, 3), np.uint8)
    samples = [Sample(image, np.zeros((len(one), 4), np.float32), one) for one in LABELS]
    assert [one.tolist() for one in labels_of(samples)] == [one.tolist() for one in LABELS]


def test_order_of_an_epoch() -> None:
    assert sorted(epoch_order(50, 0, 0)) == list(range(50))
    assert epoch_order(50, 0, 0) != epoch_order(50, 0, 1) != epoch_order(50, 1, 0)


def test_order_with_factors_of_one_is_a_permutation() -> None:
    assert sorted(epoch_order(50, 0, 0, np.ones(50))) == list(range(50))


@pytest.mark.parametrize("seed", range(3))
def test_an_epoch_is_as_long_as_expected_and_rounds_up_or_down(seed: int) -> None:
    totals = np.zeros(8)
    for epoch in range(400):
        order = np.array(epoch_order(8, seed, epoch, FACTORS))
        assert len(order) in (12, 13)  # Σ = 12.5
        assert len(set(order.tolist())) == len(order)
        times = np.bincount(order % 8, minlength=8)
        assert ((times == np.floor(FACTORS)) | (times == np.ceil(FACTORS))).all()
        assert sorted(order[order % 8 == 5] // 8) == list(range(times[5]))  # repetitions are counted
        totals += times
    np.testing.assert_allclose(totals / 400, FACTORS, atol=0.1)
