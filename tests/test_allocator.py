import ctypes
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from edgewise.allocator import MIB, keep_freed_memory, keeping_freed_memory

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc"
)


def faults() -> int:
    """Pages that twenty blocks of 40 MB meet, one after the other; the first is not counted."""
    np.ones(5_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(5_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Pages that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_what_is_freed_is_used_again_and_given_back_at_the_end() -> None:
    before = faults()
    with keeping_freed_memory():
        within = faults()
        held = resident()
    assert within < before / 10
    assert held - resident() > 35e6 / resource.getpagesize()
    assert faults() > before / 2


def test_so_much_is_kept_and_no_more() -> None:
    with keeping_freed_memory():
        keep_freed_memory(10 * MIB)
        too_little = faults()
        keep_freed_memory(100 * MIB)
        assert faults() < too_little / 10
