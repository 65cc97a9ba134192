"""The training losses: pure functions of a model output and the targets of its images."""

from edgewise.losses.criterion import detection_losses
from edgewise.losses.matching import Matching, match
from edgewise.losses.normalizers import Normalizers

__all__ = ["Matching", "Normalizers", "detection_losses", "match"]
