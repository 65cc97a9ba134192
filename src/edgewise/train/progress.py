"""A run as a person sees it: progress bar, a line per epoch, loggers, and a clean stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from edgewise.recipe import counted
from edgewise.train.loggers import open_loggers
from edgewise.train.meter import StepReport
from edgewise.train.step import named
from edgewise.train.trainer import Trainer


def run(trainer: Trainer, console: Console) -> None:
    """All steps that are left.

    Ctrl-C and SIGTERM let the step finish, save the state and raise KeyboardInterrupt; a second Ctrl-C
    stops at once, with the state of the last finished epoch. Of several processes the main one speaks, and
    where one is asked to stop all do.
    """
    main = trainer.processes.main
    bar = _Bar(console if main else Console(quiet=True))
    epochs = trainer.config.schedule.epochs
    say = partial(bar.console.print, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if trainer.finished:
        say(f"this run was finished already, after {counted(len(trainer.history), 'epoch')}")
        return
    config = trainer.config if main else trainer.config.updated({"loggers": ()})
    with (
        open_loggers(trainer.folder, config, trainer.step, say) as logger,
        bar,
        _stop_requests() as stopping,
    ):
        task = bar.add_task("training", total=trainer.total_steps, completed=trainer.step, note="")

        def on_epoch(line: dict[str, Any]) -> None:
            bar.console.print(epoch_line(line, epochs), highlight=False, soft_wrap=True)
            logger.scalars(line["step"], epoch_scalars(line))

        for report in trainer.steps(on_epoch):
            if report.faults:
                say(f"step {report.step} skipped: {named(report.faults)}; edgewise replay {report.file}")
            else:
                losses = {f"loss/{name}": value for name, value in report.losses.items()}
                logger.scalars(report.step, losses | {"lr": trainer.lr, "grad_norm": report.grad_norm})
            bar.update(
                task,
                completed=report.step + 1,
                description=f"epoch {report.step // trainer.loader.steps_per_epoch + 1}/{epochs}",
                note=_note(trainer, report),
            )
            if trainer.processes.any(stopping()):
                trainer.stop()
                raise KeyboardInterrupt
        if trainer.stopped_early:
            patience, done = trainer.config.schedule.patience, len(trainer.history)
            left = counted(patience, "validation")
            say(f"stopped after {done} of {counted(epochs, 'epoch')}: {left} without a better one")


class _Bar(Progress):
    """A progress bar with a line of numbers below it, whatever the width of the terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=2,
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["note"], style="dim")


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM has come: a step is never left half done. A second SIGINT interrupts."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # only the main thread may handle signals
        return

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _note(trainer: Trainer, report: StepReport) -> str:
    if report.faults:
        return f"skipped: {named(report.faults)}"
    terms = " ".join(f"{name} {value:.2f}" for name, value in report.by_kind().items())
    speed = trainer.meter.summary()
    return (
        f"loss {report.total:.2f} ({terms}) · lr {trainer.lr:.1e} · {speed['images_per_s']:.1f} img/s "
        f"· wait {speed['wait_share']:.0%}"
    )


def epoch_scalars(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of one epoch of metrics.jsonl that loggers get."""
    numbers = {f"val/{name}": one for name, one in line.get("val", {}).items()}
    numbers |= {name: line[name] for name in ("images_per_s", "wait_share")}
    return {name: one for name, one in numbers.items() if isinstance(one, float)}


def epoch_line(line: dict[str, Any], epochs: int) -> str:
    """One epoch of metrics.jsonl in words."""
    loss = line["loss"]
    text = (
        f"epoch {line['epoch']:>3}/{epochs}  loss {sum(loss.values()):6.2f}  "
        + "  ".join(f"{name} {value:.2f}" for name, value in loss.items())
        + f"  lr {line['lr']:.1e}  {line['images_per_s']:.1f} img/s"
    )
    text += f"  {line['skipped']} skipped" if line.get("skipped") else ""
    if "val" in line:
        for name, key in (("AP", "ap"), ("AP50", "ap50")):
            value = line["val"][key]
            text += f"  {name} " + ("–" if value is None else f"{value:.3f}")
        text += "  [green]best[/green]" if line["best"] else ""
    return text
