import ctypes
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgewise import allocator
from edgewise.allocator import MIB, keep_freed_memory, keeping_freed_memory

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc"
)


@pytest.fixture(autouse=True)
def no_wishes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other tests of this process may have made engines, which keep memory for good."""
    with monkeypatch.context() as patched:
        patched.setattr(allocator, "_wishes", [])
        with keeping_freed_memory():
            pass  # and what is free is given back
        yield
    with keeping_freed_memory():
        pass


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
    keep_freed_memory(10 * MIB)
    too_little = faults()
    keep_freed_memory(100 * MIB)
    assert faults() < too_little / 10


def test_what_is_kept_for_good_outlives_a_training_that_comes_later() -> None:
    before = faults()
    keep_freed_memory(100 * MIB)
    with keeping_freed_memory():
        pass
    assert faults() < before / 10


def test_a_wish_while_all_is_kept_does_not_lessen_it() -> None:
    before = faults()
    with keeping_freed_memory():
        keep_freed_memory(10 * MIB)
        with keeping_freed_memory():
            pass
        assert faults() < before / 10
    assert faults() > before / 2
