"""Loggers: what the services are told, how a run goes on in them, and that none of them can stop a run.

The services are stand-ins with the parameters of wandb 0.31, mlflow 3.17 and trackio 0.43.
"""

import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from edgewise.config import TrainConfig
from edgewise.train import loggers
from edgewise.train.loggers import Logger, open_loggers
from edgewise.train.progress import run
from tests.train.tiny import settings, trainer


class Service(ModuleType):
    """What was called, with which arguments, in order."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def named(self, name: str) -> list[dict[str, Any]]:
        return [arguments for called, arguments in self.calls if called == name]


class FakeWandB(Service):
    def init(
        self,
        entity: str | None = None,
        project: str | None = None,
        dir: str | None = None,
        id: str | None = None,
        name: str | None = None,
        config: dict[str, Any] | None = None,
        resume: bool | str | None = None,
    ) -> "FakeWandB":
        self.calls.append(("init", locals()))
        self.id = id or "abc123"
        return self

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        self.calls.append(("log", {"data": data, "step": step}))

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        self.calls.append(("finish", {}))


class FakeMLflow(Service):
    def set_experiment(self, experiment_name: str | None = None, experiment_id: str | None = None) -> None:
        self.calls.append(("set_experiment", {"experiment_name": experiment_name}))

    def start_run(
        self, run_id: str | None = None, experiment_id: str | None = None, run_name: str | None = None
    ) -> SimpleNamespace:
        self.calls.append(("start_run", {"run_id": run_id, "run_name": run_name}))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "f00d"))

    def log_params(self, params: dict[str, Any], synchronous: bool | None = None) -> None:
        self.calls.append(("log_params", params))

    def log_metrics(
        self, metrics: dict[str, float], step: int | None = None, synchronous: bool | None = None
    ) -> None:
        self.calls.append(("log", {"data": metrics, "step": step}))

    def flush_async_logging(self) -> None:
        self.calls.append(("flush", {}))

    def end_run(self, status: str = "FINISHED") -> None:
        self.calls.append(("finish", {}))


class FakeTrackio(Service):
    def init(
        self,
        project: str,
        name: str | None = None,
        space_id: str | None = None,
        config: dict[str, Any] | None = None,
        resume: str = "never",
    ) -> "FakeTrackio":
        self.calls.append(("init", locals()))
        return self

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.calls.append(("log", {"data": metrics, "step": step}))

    def finish(self) -> None:
        self.calls.append(("finish", {}))


SERVICES = {"wandb": FakeWandB, "mlflow": FakeMLflow, "trackio": FakeTrackio}


@pytest.fixture
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The stand-in of that name, where `import` finds it."""
    fake = SERVICES[request.param](request.param)
    monkeypatch.setitem(sys.modules, request.param, fake)
    return fake


def config(*names: str) -> TrainConfig:
    return TrainConfig().updated({"loggers": names})


def unheard(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize("service", SERVICES, indirect=True)
def test_a_service_gets_settings_and_numbers(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_loggers(tmp_path / "", config(service.__name__), 0, unheard) as logger:
        logger.scalars(0, {"lr": 0.1, "loss/vfl/0": 2.0})
        logger.scalars(1, {"lr": 0.2})
    assert service.named("log") == [
        {"data": {"lr": 0.1, "loss/vfl/0": 2.0}, "step": 0},
        {"data": {"lr": 0.2}, "step": 1},
    ]
    assert service.calls[-1][0] == "finish"
    told = {key: value for _, arguments in service.calls for key, value in arguments.items()}
    settings = told["config"]["schedule"] if "config" in told else {"epochs": told["schedule.epochs"]}
    assert settings["epochs"] == 72
    assert "edgewise" in (told.get("project"), told.get("experiment_name"))


@pytest.mark.parametrize(
    ("service", "call", "key"),
    [("wandb", "init", "id"), ("mlflow", "start_run", "run_id"), ("trackio", "init", "name")],
    indirect=["service"],
)
def test_a_resumed_run_goes_on_in_its_service(service: Service, call: str, key: str, tmp_path: Path) -> None:
    for step in (0, 7, 0):
        with open_loggers(tmp_path, config(service.__name__), step, unheard):
            pass
    first, second, anew = (arguments[key] for arguments in service.named(call))
    remembered = {"wandb": "abc123", "mlflow": "f00d"}.get(service.__name__, first)
    assert second == remembered
    assert anew != second
    if service.__name__ == "mlflow":
        assert len(service.named("log_params")) == 2  # parameters of a run that goes on are fixed


def test_the_environment_may_name_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandB("wandb")
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_PROJECT", "cells")
    with open_loggers(tmp_path, config("wandb"), 0, unheard):
        pass
    assert fake.named("init")[0]["project"] == "cells"


def test_tensorboard_takes_back_what_came_after_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.summary.writer import event_file_writer

    # Files of one second are read in the order of this process' count of them, as text: 10 before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    for first in (0, 2):
        with open_loggers(tmp_path, config("tensorboard"), first, unheard) as logger:
            for step in range(first, first + 4):
                logger.scalars(step, {"lr": float(first)})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("lr")] == [
        (0, 0), (1, 0), (2, 2), (3, 2), (4, 2), (5, 2),
    ]  # fmt: skip


# ── failures ───────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_service_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with (
        pytest.raises(
            ModuleNotFoundError,
            match=r"mlflow is not installed, but the settings name it as a logger: pip install mlflow, or go "
            r"without it: --set loggers=\[tensorboard\]",
        ),
        open_loggers(tmp_path, config("mlflow"), 0, unheard),
    ):
        pass


class Broken:
    """Fails from the given step on, and is still asked to close."""

    def __init__(self, folder: Path, config: TrainConfig, step: int) -> None:
        self.closed = False

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if step >= 1:
            raise ConnectionError("the network is gone")

    def close(self) -> None:
        raise RuntimeError("cannot flush")


def register(monkeypatch: pytest.MonkeyPatch, kind: Callable[..., Logger]) -> None:
    monkeypatch.setitem(loggers.KINDS, "wandb", kind)


def test_a_logger_that_fails_is_left_out_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, Broken)
    said: list[str] = []
    with open_loggers(tmp_path, config("wandb"), 0, said.append) as logger:
        for step in range(4):
            logger.scalars(step, {"lr": 1.0})
    assert said == [
        "the logger wandb failed and gets no more numbers: ConnectionError: the network is gone; the run "
        "goes on, metrics.jsonl has them all"
    ]


def test_closing_may_fail_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, Broken)
    said: list[str] = []
    with open_loggers(tmp_path, config("wandb"), 0, said.append):
        pass
    assert len(said) == 1
    assert "cannot flush" in said[0]


def test_a_logger_that_does_not_start_stops_the_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(folder: Path, config: TrainConfig, step: int) -> Logger:
        raise PermissionError("not logged in")

    register(monkeypatch, start)
    with (
        pytest.raises(
            ValueError,
            match=r"the logger wandb did not start: PermissionError: not logged in; mend that, or go without "
            r"it: --set loggers=\[tensorboard\]",
        ),
        open_loggers(tmp_path, config("tensorboard", "wandb"), 0, unheard),
    ):
        pass


def test_a_run_outlives_its_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.train.trainer.plot_curves", lambda history, path: None)
    register(monkeypatch, Broken)
    out = io.StringIO()
    run(trainer(tmp_path, settings(loggers=("wandb",))), Console(file=out, width=300))
    assert out.getvalue().count("the logger wandb failed") == 1
    assert (tmp_path / "best.safetensors").is_file()
    assert not (tmp_path / "tensorboard").exists()
