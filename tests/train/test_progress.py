"""A run as a person sees it, and the ways in which a person stops it."""

import io
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgewise.structures import Batch
from edgewise.train.progress import epoch_line, run
from edgewise.train.state import read_state
from edgewise.train.step import Descent
from edgewise.train.trainer import Trainer
from tests.train.tiny import Patches, settings, trainer

HANDLERS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=300)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def during(training: Trainer, step: int, action: Callable[[], object]) -> None:
    """Has `action` happen in the middle of that step."""
    update = training._update

    def spy(batch: Batch) -> Descent:
        if training.step == step:
            action()
        return update(batch)

    training._update = spy  # type: ignore[method-assign]


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def handlers_are_back() -> bool:
    return all(signal.getsignal(number) is handler for number, handler in HANDLERS.items())


class Scores:
    ap = 0.25

    def to_dict(self) -> dict[str, Any]:
        return {"ap": 0.25, "ap50": 0.5, "ap75": None, "count": 3, "per_class": {"red": {"ap": 0.25}}}


def test_a_run_prints_a_line_an_epoch_and_fills_tensorboard(tmp_path: Path, console: Console) -> None:
    run(trainer(tmp_path, validate=lambda model: Scores()), console)
    lines = [line for line in printed(console).splitlines() if line.startswith("epoch   ")]
    assert len(lines) == 2
    assert "epoch   1/2  loss" in lines[0]
    assert "AP 0.250  AP50 0.500  best" in lines[0]
    assert "best" not in lines[1]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"lr", "loss/vfl/0", "loss/giou/dn/1", "val/ap", "val/ap50"} <= set(tags)
    assert [event.step for event in events.Scalars("lr")] == list(range(6))
    assert [event.step for event in events.Scalars("val/ap")] == [3, 6]
    assert handlers_are_back()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_finish_saves_and_leaves(
    number: signal.Signals, tmp_path: Path, console: Console
) -> None:
    training = trainer(tmp_path)
    during(training, 1, lambda: send(number))
    with pytest.raises(KeyboardInterrupt):
        run(training, console)
    assert handlers_are_back()
    assert read_state(tmp_path)["step"] == 2
    assert trainer(tmp_path, resume=True).step == 2


def test_a_signal_from_another_thread_while_workers_read(tmp_path: Path, console: Console) -> None:
    training = trainer(tmp_path, settings(workers=1))
    during(training, 1, lambda: threading.Thread(target=send, args=(signal.SIGINT,)).run())
    with pytest.raises(KeyboardInterrupt):
        run(training, console)
    assert read_state(tmp_path)["step"] == 2


def test_a_signal_during_validation_keeps_the_epoch(tmp_path: Path, console: Console) -> None:
    def validate(model: object) -> Scores:
        send(signal.SIGINT)
        return Scores()

    training = trainer(tmp_path, validate=validate)
    with pytest.raises(KeyboardInterrupt):
        run(training, console)
    state = read_state(tmp_path)
    assert (state["step"], len(state["history"])) == (4, 1)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, console: Console) -> None:
    training = trainer(tmp_path)

    def twice() -> None:
        send(signal.SIGINT)
        send(signal.SIGINT)
        pytest.fail("the second one did not interrupt")

    during(training, 4, twice)
    with pytest.raises(KeyboardInterrupt):
        run(training, console)
    assert read_state(tmp_path)["step"] == 3  # of the last finished epoch
    assert handlers_are_back()


def test_an_error_passes_through_and_restores_the_handlers(tmp_path: Path, console: Console) -> None:
    def fail() -> None:
        raise FloatingPointError("step 0: vfl/0 is nan")

    training = trainer(tmp_path)
    during(training, 0, fail)
    with pytest.raises(FloatingPointError, match="vfl/0 is nan"):
        run(training, console)
    assert handlers_are_back()


def test_runs_in_a_thread_where_signals_cannot_be_handled(tmp_path: Path, console: Console) -> None:
    training = trainer(tmp_path, settings(schedule__epochs=1), data=Patches(2))
    thread = threading.Thread(target=run, args=(training, console))
    thread.start()
    thread.join()
    assert training.step == 1
    assert "epoch   1/1" in printed(console)


def test_without_the_extra_the_message_names_it(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        run(trainer(tmp_path), console)
    assert str(caught.value) == (
        "tensorboard is not installed; this needs the extra: pip install 'edgewise[train]'"
    )


def test_a_skipped_step_is_said_at_once_and_counted_in_its_epoch(tmp_path: Path, console: Console) -> None:
    training = trainer(tmp_path, settings(loggers=()))

    def spoil() -> None:
        hook = training.model.decoder.enc_score_head.bias.register_hook(lambda gradient: gradient * math.nan)
        hooks.append(hook)

    hooks: list[Any] = []
    during(training, 2, lambda: hooks[0].remove())
    during(training, 1, spoil)
    run(training, console)
    file = tmp_path / "bad_steps/step_1.pt"
    assert f"step 1 skipped: the gradient's norm is nan; edgewise replay {file}" in printed(console)
    assert re.search(r"epoch   1/2  loss .* 1 skipped", printed(console))
    assert not re.search(r"epoch   2/2  loss .* skipped", printed(console))


def test_a_run_out_of_patience_says_so(tmp_path: Path, console: Console) -> None:
    config = settings(schedule__epochs=4, schedule__patience=1, batch=6, loggers=())
    run(trainer(tmp_path, config, validate=lambda model: Scores()), console)
    assert "stopped after 2 of 4 epochs: 1 validation without a better one" in printed(console)
    again = Console(file=io.StringIO(), width=300)
    run(trainer(tmp_path, config, validate=lambda model: Scores(), resume=True), again)
    said = [line for line in printed(again).splitlines() if "epochs" in line]
    assert said == ["this run was finished already, after 2 epochs"]


LINE = {
    "epoch": 7,
    "loss": {"cls": 1.5, "l1": 0.25},
    "lr": 0.0008,
    "images_per_s": 12.34,
    "best": False,
}


def test_an_epoch_in_words() -> None:
    assert epoch_line(LINE, 50) == "epoch   7/50  loss   1.75  cls 1.50  l1 0.25  lr 8.0e-04  12.3 img/s"


def test_an_epoch_in_words_with_undefined_scores() -> None:
    text = epoch_line(LINE | {"val": {"ap": None, "ap50": None}, "best": True}, 50)
    assert text.endswith("AP –  AP50 –  [green]best[/green]")
