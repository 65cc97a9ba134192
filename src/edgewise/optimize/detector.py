"""The optimized detector."""

from typing import TYPE_CHECKING, Any

from edgewise.bins import bin_values
from edgewise.optimize.engines import Engine, Fast, PixelPredictor
from edgewise.runtime.base import BaseDetector
from edgewise.runtime.detector import OF_WEIGHTS
from edgewise.sizes import Size, pair

if TYPE_CHECKING:
    from edgewise.api import Detector


class OptimizedDetector(BaseDetector):
    """A detector as this machine runs it fastest: predicts, evaluates, benches like the one it was made from.

    `choice` says in one line what computes and why, `likeness` how near it is to that detector. Images are
    of one `size`, (height, width). What needs weights (train, save, calibrate, …) is of that detector alone.
    """

    def __init__(
        self,
        of: "Detector",
        size: tuple[int, int],
        engine: Engine,
        precision: Fast,
        choice: str,
        likeness: str,
    ) -> None:
        self.class_names, self.category_ids = of.class_names, of.category_ids
        self.thresholds, self.calibration = of.thresholds, of.calibration
        self.size, self.engine = size, engine
        self.choice, self.likeness = choice, likeness
        self._precision, self._decoder = precision, of.config.decoder
        self._name = of.config.name

    @property
    def backend(self) -> str:
        return f"{self.engine.name} {self.engine.device}"

    @property
    def precision(self) -> str:
        return self._precision

    def predictor(self, size: Size | None = None) -> PixelPredictor:
        """ValueError for another size than its own."""
        if size is not None and pair(size) != self.size:
            (height, width), (own_height, own_width) = pair(size), self.size
            raise ValueError(
                f"size {height}x{width}: this detector was optimized for {own_height}x{own_width} (height x "
                f"width) alone; optimize(size=({height}, {width})) makes another"
            )
        decoder = self._decoder
        return PixelPredictor(
            self.engine,
            size=self.size,
            class_names=self.class_names,
            category_ids=self.category_ids,
            values=bin_values(decoder.num_bins, decoder.a, decoder.c),
            thresholds=self.thresholds,
            calibration=self.calibration,
        )

    def __getattr__(self, name: str) -> Any:
        if name in OF_WEIGHTS:
            raise AttributeError(
                f"an optimized detector has no {name}; it is of the detector that this was made from"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        height, width = self.size
        return (
            f"OptimizedDetector({self._name!r}, {len(self.class_names)} classes, {height}x{width}, "
            f"{self.backend}, {self.precision})"
        )
