"""What processes tell one another, in two of them and alone."""

from edgewise.processes import Processes
from edgewise.train.distributed import Group
from tests.train.group import everything, in_two


def test_processes_tell_one_another() -> None:
    assert in_two(everything) == (
        Group(0, 2),
        [0, 1],
        (2, 1),
        (1.0, 1.0),
        1,
        True,
        False,
        ["process 0", "process 1"],
        "of the main one",
        [[2.0] * 3] * 2,
        [0.0, 1.0, 2.0],
        [0.5, 0.5],
    )


def test_one_alone_tells_itself() -> None:
    assert everything() == (
        Processes(),
        [0, 1, 2, 3, 4],
        (1, 0),
        (0.5, 0),
        0,
        False,
        False,
        ["process 0"],
        "of the main one",
        [[1.0] * 3] * 2,
        [0.0, 0.0, 0.0],
        [0.0, 0.0],
    )


def test_shares_cover_everything_once() -> None:
    for total in (0, 1, 7, 12):
        shares = [Processes(rank, 5).share(total) for rank in range(5)]
        assert [i for share in shares for i in share] == list(range(total))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
