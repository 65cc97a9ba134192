"""Constant tensors, such as those that follow from a shape: made once, kept for the latest arguments."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def cached_constant(make: Callable[P, R]) -> Callable[P, R]:
    """`make`, whose latest 64 results are kept; its arguments are hashable. Do not write into the tensors.

    In a graph of torch.compile the result is a constant. During torch.export nothing is kept, because the
    tensors made then are not real.
    """

    def real(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False):  # a kept inference tensor could never take part in training
            return make(*args, **kwargs)

    remembered = lru_cache(64)(real)

    def constant(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return make(*args, **kwargs)
        return remembered(*args, **kwargs)  # type: ignore[arg-type]

    # In one graph torch.compile tells constants apart by this name, which would be "constant" for all.
    constant.__code__ = constant.__code__.replace(co_name=make.__name__)
    return torch.compiler.assume_constant_result(wraps(make)(constant))  # type: ignore[no-any-return]
