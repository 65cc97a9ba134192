"""Calibrations and detections with numbers small enough to work by hand."""

import numpy as np

from edgewise.calibration import INFINITE, LEVELS, Calibration
from edgewise.detections import Detections
from tests.test_detections import promise

NAMES = ("dog", "cat")
Row = tuple[int, float, tuple[float, float, float, float]]


def calibration(steep: float = 2.0, known: float = 1.0) -> Calibration:
    """Margins of `steep` x level, up to the level `known`; temperature and scale change nothing."""
    row = tuple(steep * level if level <= known else INFINITE for level in LEVELS)
    return promise(margins=(row,) * 4, joint=row)


def detections(
    *rows: Row,
    std: float | list[list[float]] = 1.0,
    size: tuple[int, int] = (60, 80),
    class_names: tuple[str, ...] = NAMES,
    calibrated: bool = False,
) -> Detections:
    """Detections of (label, score, box_xyxy)."""
    return Detections(
        boxes_xyxy=np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in rows], np.float32),
        labels=np.array([label for label, _, _ in rows], np.int64),
        edge_std=np.broadcast_to(np.array(std, np.float32), (len(rows), 4)).copy(),
        size=size,
        class_names=class_names,
        calibration=calibration() if calibrated else None,
    )
