from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewise.losses.union import union
from edgewise.structures import Matches

COUNTS = (3, 0, 2)
OFFSETS = (0, 3, 3)


def matches(pairs: list[tuple[int, int, int]]) -> Matches:
    image, query, target = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 3).unbind(1)
    return Matches(image, query, target, torch.tensor(OFFSETS)[image] + target)


def pairs_of(found: Matches) -> list[tuple[int, int, int]]:
    return list(zip(found.image.tolist(), found.query.tolist(), found.target.tolist(), strict=True))


def walk(outputs: list[list[tuple[int, int, int]]]) -> list[tuple[int, int, int]]:
    """The rule as the paper's appendix words it, one pair at a time."""
    votes = Counter(pair for output in outputs for pair in output)
    taken: dict[tuple[int, int], int] = {}
    for image, query, target in sorted(votes, key=lambda pair: (-votes[pair], pair)):
        taken.setdefault((image, query), target)
    return sorted((image, query, target) for (image, query), target in taken.items())


one_output = st.lists(
    st.sampled_from([(i, q, t) for i, count in enumerate(COUNTS) for q in range(4) for t in range(count)]),
    max_size=8,
    unique=True,
)


@given(st.lists(one_output, min_size=1, max_size=5))
def test_equals_a_walk_over_the_pairs(outputs: list[list[tuple[int, int, int]]]) -> None:
    found = union([matches(output) for output in outputs])
    assert pairs_of(found) == walk(outputs)
    assert found.row.tolist() == [OFFSETS[image] + target for image, _, target in pairs_of(found)]


def test_most_votes_win_and_the_first_target_of_equally_many() -> None:
    outputs = [[(0, 1, 2), (2, 3, 1)], [(0, 1, 0), (2, 3, 0)], [(0, 1, 2), (2, 0, 0)]]
    assert pairs_of(union([matches(output) for output in outputs])) == [(0, 1, 2), (2, 0, 0), (2, 3, 0)]


def test_of_nothing_is_nothing() -> None:
    assert pairs_of(union([matches([]), matches([])])) == []
