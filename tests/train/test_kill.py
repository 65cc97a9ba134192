"""Runs that are killed and resumed end with the very weights of one that nobody disturbed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgewise import checkpoint
from edgewise.train.state import read_state
from tests.train.tiny import settings, tiny_model, trainer

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6  # two epochs of three
STEP = np.random.default_rng(2013).integers(1, STEPS, size=4).tolist()  # at random, and the same every time


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)
        run = trainer(tmp_path_factory.mktemp("undisturbed"))
        assert len(list(run.steps())) == STEPS
    return {name: one.clone() for name, one in run.average.model.state_dict().items()}


def killed(folder: Path, where: str, step: int) -> int:
    """How a run ended that was killed there: the signal's number, negative, or its exit code."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.train.doomed", str(folder), where, str(step)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        start_new_session=True,
        capture_output=True,
        timeout=250,
    )
    assert b"Traceback" not in process.stderr, process.stderr.decode()
    return process.returncode


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize(
    ("where", "step", "ended", "kept"),
    [
        pytest.param("a step", STEP[0], -signal.SIGKILL, STEP[0], id="SIGKILL in a step"),
        pytest.param("its state", STEP[1], -signal.SIGKILL, STEP[1], id="SIGKILL while a state is written"),
        pytest.param(
            "the end of its epoch", 2, -signal.SIGKILL, 3, id="SIGKILL between the files of an epoch"
        ),
        pytest.param("SIGTERM to all", STEP[3], 130, STEP[3] + 1, id="SIGTERM to it and its workers"),
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    where: str, step: int, ended: int, kept: int, undisturbed: dict[str, Tensor], tmp_path: Path
) -> None:
    assert killed(tmp_path, where, step) == ended
    assert read_state(tmp_path)["step"] == kept
    if kept > 3:
        assert checkpoint.load(tmp_path / "last.safetensors").step == 3

    resumed = trainer(tmp_path, settings(loggers=()), model=tiny_model(seed=9), resume=True)
    assert len(list(resumed.steps())) == STEPS - kept
    average = resumed.average.model.state_dict()
    assert [name for name, value in undisturbed.items() if not torch.equal(average[name], value)] == []
    last = checkpoint.load(tmp_path / "last.safetensors").weights
    assert all(torch.equal(value, undisturbed[name]) for name, value in last.items())
    assert not list(tmp_path.glob(".*.tmp"))
