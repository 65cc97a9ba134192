"""Which score is enough: thresholds found on annotated images, kept in a checkpoint. No torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Thresholds:
    """The score thresholds with the best F1 at IoU 0.5 on a split: one for all classes, and one a class.

    `shared` gives the best mean F1 over classes. `by_class` and `counts` go by label: the class's own
    threshold, None where the split has no such boxes or none was found, and the boxes it was found on.
    ValueError for a threshold outside [0, 1].
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - its name for what a header may not hold

    split: str
    shared: float
    by_class: tuple[float | None, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.by_class) != len(self.counts):
            raise ValueError(f"{len(self.by_class)} thresholds for {len(self.counts)} counts of boxes")
        for one in (self.shared, *self.by_class):
            if one is not None and not 0 <= one <= 1:
                raise ValueError(f"threshold {one}: expected a score in [0, 1]")

    @classmethod
    def of(
        cls, metrics: Mapping[str, Any] | None, class_names: Sequence[str], split: str
    ) -> "Thresholds | None":
        """Those in the numbers of an evaluation (`Metrics.to_dict`), by label; None where it found none."""
        if metrics is None or metrics.get("best_threshold") is None:
            return None
        classes = [metrics.get("per_class", {}).get(name, {}) for name in class_names]
        return cls(
            split=split,
            shared=metrics["best_threshold"],
            by_class=tuple(one.get("best_threshold") for one in classes),
            counts=tuple(one.get("count", 0) for one in classes),
        )

    def mapped(self, convert: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]) -> "Thresholds":
        """The same on scores that a rising function has changed: what passed, passes."""
        found = [self.shared, *(one for one in self.by_class if one is not None)]
        shared, *rest = convert(np.array(found)).tolist()
        by_class = tuple(None if one is None else rest.pop(0) for one in self.by_class)
        return replace(self, shared=shared, by_class=by_class)

    @property
    def values(self) -> Float[np.ndarray, " C"]:
        """What a score must reach, by label: the class's own threshold, else the shared one."""
        return np.array([self.shared if one is None else one for one in self.by_class])
