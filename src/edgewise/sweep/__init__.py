"""What checkpoints can do without training: accuracy over latency on one's own data and machine."""

from edgewise.sweep.points import Cut, Point, Setting, Way
from edgewise.sweep.report import Sweep
from edgewise.sweep.run import sweep

__all__ = ["Cut", "Point", "Setting", "Sweep", "Way", "sweep"]
