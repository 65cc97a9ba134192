"""Constants that depend on a shape: made once, kept for the latest shapes."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def cached_constant(make: Callable[P, R]) -> Callable[P, R]:
    """`make`, whose latest 64 results are kept; its arguments are hashable. Do not write into the tensors.

    While a graph is traced (torch.compile, torch.export) nothing is kept: the tensors are not real.
    """

    def real(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False):  # a kept inference tensor could never take part in training
            return make(*args, **kwargs)

    remembered = lru_cache(64)(real)

    @wraps(make)
    def constant(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return make(*args, **kwargs)
        return remembered(*args, **kwargs)  # type: ignore[arg-type]

    return constant
