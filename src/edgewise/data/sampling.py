"""Which images an epoch sees, in which order: a pure function, the same in every process."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int

from edgewise.sample import Sample

_ORDER = 1  # first number of the seed of a stream; the others are in `loader`


@runtime_checkable
class Samples(Protocol):
    """What can be trained on, such as a Dataset or a list of Samples."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


@runtime_checkable
class Labelled(Protocol):
    """Knows every image's labels without reading it."""

    @property
    def labels(self) -> Sequence[Int[np.ndarray, " n"]]: ...


def labels_of(dataset: Samples) -> list[Int[np.ndarray, " n"]]:
    """Each image's labels; a data set without `labels` is read for them."""
    if isinstance(dataset, Labelled):
        return list(dataset.labels)
    return [dataset[index].labels for index in range(len(dataset))]


def repeat_factors(labels: Iterable[Int[np.ndarray, " _"]], threshold: float) -> Float64[np.ndarray, " n"]:
    """How often an epoch shall see each image: once or, for the sake of its rarest class, more often.

    max(1, √(threshold / f)), f being the share of images with that class (LVIS, arXiv 1908.03195, §D.1).
    """
    classes = [np.unique(one) for one in labels]
    found, counts = np.unique(np.concatenate([*classes, np.zeros(0, int)]), return_counts=True)
    factor = np.sqrt(threshold * len(classes) / counts).clip(1)
    return np.array([factor[np.searchsorted(found, one)].max(initial=1.0) for one in classes])


def epoch_order(
    count: int, seed: int, epoch: int, factors: Float64[np.ndarray, " n"] | None = None
) -> Sequence[int]:
    """0 … count - 1 as shuffled for an epoch; with `factors`, each that often.

    The k-th repetition of image i is i + k·count. A factor is rounded up or down by chance, all of them
    together, so that the epoch has ⌊Σ factors⌋ images or one more, whatever the draw (systematic sampling).
    """
    rng = np.random.default_rng([_ORDER, seed, epoch])
    order = rng.permutation(count)
    if factors is not None:
        passed = np.floor(np.cumsum(factors[order]) + rng.random())
        times = np.diff(passed, prepend=0.0).astype(int)
        first = np.repeat(np.cumsum(times) - times, times)  # where the repetitions of an image begin
        order = rng.permutation(np.repeat(order, times) + (np.arange(len(first)) - first) * count)
    numbers: list[int] = order.tolist()
    return numbers
