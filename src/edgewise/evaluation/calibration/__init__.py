"""Fitting what makes error bars honest, and measuring whether they are."""

from edgewise.evaluation.calibration.fit import fit_calibration
from edgewise.evaluation.calibration.pairs import Collector, EdgePairs, Outcome, Verdicts, collect

__all__ = ["Collector", "EdgePairs", "Outcome", "Verdicts", "collect", "fit_calibration"]
