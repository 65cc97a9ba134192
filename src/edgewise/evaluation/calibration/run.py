"""Calibrating a detector, and measuring a calibrated one: annotated images to a Calibration and Honesty."""

from collections.abc import Mapping
from datetime import date

import numpy as np
from jaxtyping import Float

from edgewise.calibration import Calibration, Source
from edgewise.evaluation.calibration.crossfit import as_decoded, claimed, crossfit
from edgewise.evaluation.calibration.fit import check_enough, fit_calibration
from edgewise.evaluation.calibration.honesty import honesty
from edgewise.evaluation.calibration.pairs import Outcome, collect
from edgewise.evaluation.calibration.report import Honesty
from edgewise.evaluation.run import AnnotatedImages, Predict


def calibrate(
    dataset: AnnotatedImages,
    predict: Predict,
    threshold: Float[np.ndarray, " C"],
    *,
    split: str,
    size: tuple[int, int] | None = None,
    batch: int = 8,
    progress: bool = False,
) -> tuple[Calibration, Honesty]:
    """The calibration of an uncalibrated `predict`, and its honesty on images that it was not fitted to.

    Detections must have edges and any score; a pair scores at least `threshold` [C], by the dataset's label.
    The calibration is fitted to all images; honesty is that of five others, each fitted to four fifths of
    the images and held against the last. ValueError where classes differ, or for too few pairs.
    """
    outcome = collect(dataset, predict, threshold, batch=batch, progress=progress)
    check_enough(outcome.pairs, split)
    source = Source(
        data=str(getattr(dataset, "fingerprint", "")),
        split=split,
        date=date.today().isoformat(),
        images=outcome.pairs.num_images,
        pairs=len(outcome.pairs),
        threshold=float(threshold.min()),
        size=size,
    )
    said = crossfit(outcome, source)
    title = f"Honesty on the {split} split, cross-validated: {_counted(outcome)}"
    found = Honesty(title, honesty(outcome, said, dataset.class_names), outcome, said)
    return fit_calibration(outcome, source), found


def measured(
    outcome: Outcome,
    before: Mapping[str, Outcome],
    calibration: Calibration | None,
    class_names: tuple[str, ...],
) -> Honesty | None:
    """The honesty of a detector as it is, and of what its layers `before` the last said raw.

    None where it found nothing.
    """
    if not len(outcome.pairs):
        return None
    said = as_decoded(outcome, calibration)
    last = Outcome(outcome.pairs, outcome.verdicts.of(said.raw_scores))
    fitted = "not calibrated" if calibration is None else f"fitted on the {calibration.source.split} split"
    numbers = honesty(outcome, said, class_names, {**before, "last": last})
    return Honesty(f"Honesty, {fitted}: {_counted(outcome)}", numbers, outcome, said)


def compared(
    fitting: Outcome,
    reporting: Outcome,
    before: Mapping[str, Outcome],
    source: Source,
    class_names: tuple[str, ...],
) -> Honesty:
    """The honesty, on `reporting`, of our calibration and of all other methods fitted to `fitting`.

    Both are of an uncalibrated detector; `before` is what its layers before the last said of `reporting`.
    """
    said = claimed(fitting, reporting, source)
    title = f"Honesty, fitted on {source.pairs} pairs of {source.split}: {_counted(reporting)}"
    numbers = honesty(reporting, said, class_names, {**before, "last": reporting})
    return Honesty(title, numbers, reporting, said)


def _counted(outcome: Outcome) -> str:
    return f"{len(outcome.pairs)} matched detections in {outcome.pairs.num_images} images"
