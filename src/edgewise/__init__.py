"""Real-time object detection with honest error bars: D-FINE in PyTorch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgewise.api import Detector as Detector
    from edgewise.detections import Detections as Detections

__version__ = "0.1.0"
__all__ = ["Detections", "Detector", "__version__"]


def __getattr__(name: str) -> object:
    """Public names are imported at first use (PEP 562): `import edgewise` reads nothing and is instant.

    Where torch or what needs it is not installed, `Detector` is that of exported files.
    """
    if name == "Detections":
        from edgewise.detections import Detections

        return Detections
    if name != "Detector":
        raise AttributeError(f"module 'edgewise' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib.util import find_spec

    if find_spec("torch") and find_spec("edgewise.api"):
        from edgewise.api import Detector

        return Detector
    from edgewise.runtime.detector import ExportedDetector

    return ExportedDetector


def __dir__() -> list[str]:
    return sorted(__all__)
