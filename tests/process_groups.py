"""Processes that a test starts."""

import os
import subprocess
import sys
import time


def ends(group: int) -> bool:
    """Whether the last process of a group ends within ten seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def interrupted_without(engines: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A process whose code makes `engines`; it forgets them, is interrupted, and prints so."""
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background is without
{engines}
while engines:
    del engines[0]
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
