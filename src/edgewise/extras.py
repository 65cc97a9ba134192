"""Optional dependencies: imported where they are used, with a plain message where they are missing."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


class MissingExtra(ModuleNotFoundError):
    """Something optional is not installed; the message says how to install it."""


def require(module: str, extra: str) -> ModuleType:
    """The imported module. MissingExtra says which extra brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        whole = find_spec("edgewise.api") is not None  # or the small distribution that only runs exports
        package = "edgewise" if whole else "edgewise-runtime"
        raise MissingExtra(
            f"{error.name} is not installed; this needs the extra: pip install '{package}[{extra}]'",
            name=error.name,
        ) from None
