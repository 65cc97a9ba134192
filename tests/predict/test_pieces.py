"""Batches that a GPU's memory is too small for; a function that refuses them stands in for it."""

import warnings
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgewise.predict.pieces import Pieces
from edgewise.structures import ModelOutput
from tests.predict.test_predictor import Tiny, many, picture, same, tiny

MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of …"


def holding(most: int, asked: list[int]) -> Callable[[Sequence[int]], list[int]]:
    """Doubles numbers, up to `most` of them at once."""

    def run(numbers: Sequence[int]) -> list[int]:
        asked.append(len(numbers))
        if len(numbers) > most:
            raise torch.OutOfMemoryError(MESSAGE)
        return [2 * number for number in numbers]

    return run


@given(st.integers(0, 70), st.integers(1, 70))
def test_all_are_computed_in_powers_of_two_that_fit(count: int, room: int) -> None:
    pieces, asked, numbers = Pieces(), list[int](), list(range(count))
    run = holding(room, asked)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert pieces(run, numbers) == [2 * number for number in numbers]
        assert len(told) == (count > room)
        if count > room:
            assert pieces.most == 2 ** int(np.log2(room))
        asked.clear()
        assert pieces(run, numbers) == [2 * number for number in numbers]
        assert len(told) == (count > room)  # it knows now
    assert max(asked, default=0) <= room


def test_no_more_than_it_was_told() -> None:
    asked: list[int] = []
    assert Pieces(4)(holding(99, asked), range(9)) == [2 * number for number in range(9)]
    assert asked == [4, 4, 1]


def test_what_is_said() -> None:
    text = (
        r"^the GPU's memory is too small for so many images at once \(CUDA out of memory. Tried to allocate "
        r"2.00 GiB\); it gets 2 at a time now$"
    )
    with pytest.warns(UserWarning, match=text):
        Pieces()(holding(3, []), range(7))
    text = (
        r"^not one image fits into the GPU's memory \(CUDA out of memory. Tried to allocate 2.00 GiB\); "
        "take a smaller size, or the CPU$"
    )
    with pytest.raises(MemoryError, match=text):
        Pieces()(holding(0, []), range(7))


def test_what_was_allocated_in_vain_is_gone_when_memory_is_given_back() -> None:
    alive: list[bool] = []
    tensors: list[weakref.ref[Tensor]] = []

    def run(numbers: Sequence[int]) -> list[int]:
        large = torch.zeros(3)
        tensors.append(weakref.ref(large))
        if len(numbers) > 1:
            raise torch.OutOfMemoryError(MESSAGE)
        return list(numbers)

    with pytest.warns(UserWarning, match="it gets 1 at a time now"):
        Pieces(free=lambda: alive.append(tensors[-1]() is not None))(run, range(4))
    assert alive == [False, False]


def test_other_errors_are_left_alone() -> None:
    def run(numbers: Sequence[int]) -> list[int]:
        raise RuntimeError("device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        Pieces()(run, range(4))


class Small(Tiny):
    """A GPU that holds two images."""

    def forward(self, images: Tensor) -> ModelOutput:
        if len(images) > 2:
            raise torch.OutOfMemoryError(MESSAGE)
        return super().forward(images)


def test_a_model_on_a_small_gpu() -> None:
    model, pictures = Small(), [picture(i) for i in range(5)]
    with pytest.warns(UserWarning, match="it gets 2 at a time now"):
        found = many(tiny(model).predict(pictures, 0.0))
    assert [shape[0] for shape, _, _ in model.seen] == [2, 2, 1]
    with pytest.warns(UserWarning, match="it gets 2 at a time now"):
        layers = tiny(model).predict_layers(pictures)
    expected = many(tiny().predict(pictures, 0.0))
    for one, last, (other,) in zip(expected, found, layers, strict=True):
        same(last, one)
        same(other, one)
