"""A tiny run in a process of its own, killed as told: python -m tests.train.doomed FOLDER WHERE STEP."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from edgewise import checkpoint
from edgewise.train import trainer as training
from edgewise.train.progress import run
from tests.train.tiny import settings, trainer


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(content: Any, path: Path) -> None:
    """`torch.save`, cut off in the middle."""
    whole = io.BytesIO()
    SAVE(content, whole)
    Path(path).write_bytes(whole.getvalue()[: whole.tell() // 2])
    die()


SAVE = torch.save


def main(folder: Path, where: str, step: int) -> None:
    training.plot_curves = lambda history, path: None  # type: ignore[assignment]
    training.SAVE_EVERY_S = 0.0  # after every step
    doomed = trainer(folder, settings(workers=2 if where == "SIGTERM to all" else 0, loggers=()))
    descend, save = training.descend, checkpoint.save

    def descended(*given: Any) -> Any:
        found = descend(*given)
        if doomed.step == step:
            if where == "a step":
                die()
            if where == "SIGTERM to all":  # to the group as a terminal sends it, and as a job scheduler does
                os.killpg(os.getpgrp(), signal.SIGTERM)
                workers = [str(one.pid) for one in multiprocessing.active_children()]
                kill = "import os, sys; [os.kill(int(one), 15) for one in sys.argv[1:]]"
                subprocess.run([sys.executable, "-c", kill, *workers], check=True)
            if where == "its state":
                torch.save = half_written
        return found

    def saved(path: Path, *given: Any) -> None:
        save(path, *given)
        if where == "the end of its epoch" and doomed.step > step and path.name == "last.safetensors":
            die()

    training.descend, checkpoint.save = descended, saved  # type: ignore[assignment]
    run(doomed, Console(file=io.StringIO()))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    except KeyboardInterrupt:
        sys.exit(130)
