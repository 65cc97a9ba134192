"""The examples run as they are, one with what the other leaves."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(folder: Path, *words: str) -> str:
    """What the example prints, run in `folder`."""
    command = [sys.executable, EXAMPLES / words[0], *words[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_train_own_data_then_predict(tmp_path: Path) -> None:
    assert "best.safetensors" in run(tmp_path, "train_own_data.py")
    printed = run(tmp_path, "predict.py", "runs/own/best.safetensors", "scenes/val")
    pictures = [*(tmp_path / "found").glob("*.jpg")]
    assert len(pictures) == len(printed.splitlines()) == 32
