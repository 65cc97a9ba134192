"""Two processes on this machine, which must do what one does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgewise.evaluation.coco import Metrics
from edgewise.train.distributed import launch
from tests.process_groups import ends
from tests.train.group import (
    CASES,
    Deadly,
    Update,
    dies,
    everything,
    fails,
    in_two,
    training,
    undisturbed,
    updates,
    validation,
)
from tests.train.tiny import Patches


def test_an_error_of_any_process_is_raised_as_it_was() -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match=r"^7\.png: cannot be decoded") as caught:
        in_two(fails, ValueError("7.png: cannot be decoded"))
    assert str(caught.value) == "7.png: cannot be decoded"
    (note,) = caught.value.__notes__
    assert note.startswith("in process 1:\nTraceback")
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before  # not torch's


def test_after_a_death_all_start_again(tmp_path: Path) -> None:
    assert in_two(dies, 1, tmp_path) == (True, 1)


@pytest.mark.slow
def test_who_dies_again_and_again_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"gave up after 3 restarts; at last process 1 failed: killed by signal 9$"
    ):
        in_two(dies, 9, tmp_path)


def test_within_torchrun_no_more_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(ValueError, match=r"^2 processes were asked for within one of several that torchrun"):
        launch(2, everything)


# ── steps ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Update]]:
    """Updates by one process."""
    return updates(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, list[Update]], tuple[list[str], int, int], Metrics]:
    """The same by two, which must not hang; a step that one cannot take; a validation."""
    return in_two(undisturbed, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_step_of_one(
    one: dict[str, list[Update]], two: tuple[dict[str, list[Update]], Any, Any], case: str
) -> None:
    for alone, together in zip(one[case], two[0][case], strict=True):
        assert together.losses == pytest.approx(alone.losses, rel=1e-5, abs=1e-6)
        assert together.grad_norm == pytest.approx(alone.grad_norm, rel=1e-5)
        np.testing.assert_allclose(together.gradient, alone.gradient, atol=1e-5 * abs(alone.gradient).max())
        assert sum(together.boxes) == sum(alone.boxes)
    first = two[0][case][0].boxes
    assert [count > 0 for count in first] == {
        "one process all background": [True, False],
        "two passes, one process all background": [True, False],
        "the main process all background": [False, True],
        "no boxes at all": [False, False],
    }.get(case, [True, True])


def test_a_step_that_one_cannot_take_none_takes(two: tuple[Any, tuple[list[str], int, int], Any]) -> None:
    faults, images, moved = two[1]
    assert "vfl/0 is nan" in faults
    assert images == 4  # those of both
    assert moved == 0


def test_validation_has_the_numbers_of_one_process(two: tuple[Any, Any, Metrics]) -> None:
    alone, together = validation(), two[2]
    assert together.to_dict() == alone.to_dict()
    for name, one in alone.per_class.items():
        np.testing.assert_array_equal(one.precision, together.per_class[name].precision)


# ── runs ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_run_one_process_of_which_is_killed_ends_as_if_it_were_not(tmp_path: Path) -> None:
    for name in ("calm", "deadly"):
        (tmp_path / name).mkdir()
    calm = in_two(training, tmp_path / "calm", Patches(count=9))
    deadly = in_two(training, tmp_path / "deadly", Deadly(count=9, folder=tmp_path / "deadly"))
    assert calm[:2] == (False, [1, 2, 3])
    assert deadly[:2] == (True, [1, 2, 3])
    assert np.array_equal(calm[2], deadly[2])


TINY = ("--model", "n", "--size", "64", "--batch", "4", "--device", "cpu", "--set", "workers=0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in files."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 8), ("valid", 5)):
        (root / split).mkdir()
        data = Patches(count=count)
        content = data.annotations
        for index, image in enumerate(content["images"]):
            image |= {"file_name": f"{index}.png", "width": 80, "height": 64}
            Image.fromarray(data[index].image).save(root / split / f"{index}.png")
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("way", ["devices", "torchrun"])
def test_the_commands(way: str, folder: Path, tmp_path: Path) -> None:
    words = ["-m", "edgewise", "train", str(folder), *TINY, "--epochs", "2", "--out", str(tmp_path / "run")]
    if way == "devices":
        words += ["--devices", "2"]
    else:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *words]
    done = subprocess.run([sys.executable, *words], timeout=300, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch   2/2") == 1  # one process speaks
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left >= {"best.safetensors", "last.state", "metrics.jsonl", "result.json"}


@pytest.mark.slow
def test_all_stop_together(folder: Path, tmp_path: Path) -> None:
    words = ["train", str(folder), *TINY, "--epochs", "500", "--out", str(tmp_path), "--devices", "2"]
    process = subprocess.Popen([sys.executable, "-m", "edgewise", *words], start_new_session=True)
    try:
        for _ in range(1200):
            if (tmp_path / "last.state").exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 130
        assert ends(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
