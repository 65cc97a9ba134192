"""Where and with what a number was made."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def provenance() -> dict[str, Any]:
    """Commit, versions, machine."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None  # installed from a wheel
    return {
        "commit": commit,
        "edgewise": metadata.version("edgewise"),
        "torch": metadata.version("torch"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
    }
