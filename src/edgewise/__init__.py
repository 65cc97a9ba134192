"""Real-time object detection with honest error bars: D-FINE in PyTorch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgewise.api import Detector as Detector
    from edgewise.detections import Detections as Detections

__version__ = "0.1.0"
__all__ = ["Detections", "Detector", "__version__"]

_HOME = {"Detector": "edgewise.api", "Detections": "edgewise.detections"}


def __getattr__(name: str) -> object:
    """Public names are imported at first use (PEP 562): `import edgewise` reads nothing and is instant."""
    if name not in _HOME:
        raise AttributeError(f"module 'edgewise' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
