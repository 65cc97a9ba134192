"""W(n) in numpy: the one statement of the bin offsets, shared by everything with or without torch."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float64


@lru_cache
def bin_values(num_bins: int, a: float = 0.5, c: float = 0.25) -> Float64[np.ndarray, " n"]:
    """W(n), n = 0..N: the offset each of the N+1 bins stands for, in sides of the initial box (Eq. 4).

    `a` bounds the fine part (W(1) = -a, W(N-1) = a; the two outer bins are -2a and 2a), `c` is its
    curvature. The authors' `up` is a, their `reg_scale` 1/c, their W this W times `reg_scale`.
    Odd and strictly increasing; the array is shared and read-only.
    """
    N, k = num_bins, np.arange(1, num_bins // 2)
    rise = c * (a / c + 1) ** (2 * k / (N - 2)) - c  # W(N/2 + k)
    values = np.concatenate([[-2 * a], -rise[::-1], [0.0], rise, [2 * a]])
    values.flags.writeable = False
    return values
