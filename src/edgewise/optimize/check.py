"""Whether an engine says what the detector says that it is made of."""

import copy
from typing import TYPE_CHECKING

import numpy as np

from edgewise.data.scenes import SceneDataset
from edgewise.detections import Detections
from edgewise.export.compare import Tolerance, match
from edgewise.optimize.engines import Engine, Fast, PixelPredictor
from edgewise.predict.sources import expand, load

if TYPE_CHECKING:
    from edgewise.api import Detector
    from edgewise.predict.sources import Source

SCENES = 2  # that an engine is checked on
BEST = 20  # of an image's detections are compared
SHARE = 0.9  # of these have to be within the tolerance
HALF = Tolerance(box_px=4.0, edge_std_px=4.0, score=0.1)
TOLERANCES: dict[Fast, Tolerance] = {"fp32": Tolerance(), "bf16": HALF, "fp16": HALF}


class Differs(ValueError):
    """An engine that does not say what its detector says."""


class Check:
    """Compares engines with the detector they are made of, on the same images."""

    def __init__(self, detector: "Detector", size: tuple[int, int], images: "Source | None") -> None:
        own = copy.copy(detector)
        own.model = copy.deepcopy(detector.model).cpu().float()
        self.predictor = own.predictor(size)
        if images is None:
            scenes = SceneDataset(SCENES, seed=0, split="val", size=(size[0] + 48, size[1] + 80))
            self.images = [scenes[i].image for i in range(SCENES)]
        else:
            self.images = [load(image)[0] for image in expand(images)[0]]
        self.expected = self.predictor.predict_arrays(self.images)

    def __call__(self, engine: Engine, kind: Fast) -> str:
        """How near it is. Raises Differs, with the numbers, where that is not near enough."""
        own, tolerance = self.predictor, TOLERANCES[kind]
        other = PixelPredictor(
            engine,
            size=own.size,
            class_names=own.class_names,
            category_ids=own.category_ids,
            values=own.values,
            thresholds=own.thresholds,
            calibration=own.calibration,
        )
        try:
            found = other.predict_arrays(self.images)
        except ValueError as error:  # logits that are no numbers
            raise Differs(f"{engine.name} in {kind}: {error}") from None
        pairs = zip(self.expected, found, strict=True)
        near = np.concatenate([_near(one, two, tolerance) for one, two in pairs])
        text = (
            f"of the {len(near)} best detections in {len(self.images)} images, {near.sum()} are within "
            f"{tolerance.box_px:g} px, {tolerance.score:g} of score, {tolerance.edge_std_px:g} px of edge_std"
        )
        if near.mean() < SHARE:
            raise Differs(f"{engine.name} in {kind} differs: {text}, {SHARE:.0%} are needed")
        return text


def _near(expected: Detections, found: Detections, tolerance: Tolerance) -> np.ndarray:
    """Of each of the best detections expected, whether it was found, within the tolerance."""
    best = expected[: min(BEST, len(expected))]
    own, other = match(best, found, tolerance)
    near = np.zeros(len(best), bool)
    near[own] = (
        (np.abs(best.boxes_xyxy[own] - found.boxes_xyxy[other]) <= tolerance.box_px).all(1)
        & (np.abs(best.scores[own] - found.scores[other]) <= tolerance.score)
        & (np.abs(best.edge_std[own] - found.edge_std[other]) <= tolerance.edge_std_px).all(1)
    )
    return near
