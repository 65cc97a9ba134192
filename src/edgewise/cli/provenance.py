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
        "processor": _processor(),
    }


def _processor() -> str:
    """With its family, since under a hypervisor the name may be the maker's alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    told = {key.strip(): value.strip() for key, value in pairs}
    family = ", ".join(f"{key} {told[key]}" for key in ("cpu family", "model") if key in told)
    return f"{told['model name']} ({family})" if "model name" in told else platform.machine()
