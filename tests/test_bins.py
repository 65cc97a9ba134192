import numpy as np
import pytest

from edgewise.bins import bin_values


@pytest.mark.parametrize(
    ("num_bins", "a", "c"), [(32, 0.5, 0.25), (32, 0.5, 0.125), (16, 0.5, 0.5), (4, 1.0, 0.3)]
)
def test_odd_increasing_and_bounded(num_bins: int, a: float, c: float) -> None:
    values = bin_values(num_bins, a, c)
    assert values.shape == (num_bins + 1,)
    assert (np.diff(values) > 0).all()
    assert np.array_equal(values, -values[::-1])
    assert values[0] == -2 * a
    assert values[1] == pytest.approx(-a)


def test_equation_4_by_hand() -> None:
    """N = 6, a = c = 1: W(3 + k) = 2^(k/2) - 1 for k = 1, 2."""
    assert bin_values(6, 1.0, 1.0)[3:] == pytest.approx([0, 2**0.5 - 1, 1, 2])


@pytest.mark.parametrize(
    ("scale", "inner"), [(4, [0.075990, 0.157754, 0.245731]), (8, [0.113264, 0.239356, 0.379730])]
)
def test_published_tables(scale: int, inner: list[float]) -> None:
    """The authors' W is ours times their `reg_scale`."""
    assert scale * bin_values(32, 0.5, 1 / scale)[17:20] == pytest.approx(inner, abs=1e-6)


def test_shared_and_read_only() -> None:
    values = bin_values(32)
    assert bin_values(32) is values
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 0
