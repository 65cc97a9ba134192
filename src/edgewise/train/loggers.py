"""Where the numbers of a run go besides its folder: adapters, loaded only when the settings name them."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from edgewise.config import TrainConfig
from edgewise.extras import MissingExtra, require

PROJECT = "edgewise"  # the runs' project or experiment where the environment names no other


@runtime_checkable
class Logger(Protocol):
    """Takes numbers by name, step by step."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in `tensorboard/` of the run's folder. A resumed run replaces what came after `step`."""

    def __init__(self, folder: Path, config: TrainConfig, step: int) -> None:
        require("tensorboard", "train")
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases; WANDB_PROJECT, WANDB_MODE=offline and its other variables are heard."""

    def __init__(self, folder: Path, config: TrainConfig, step: int) -> None:
        wandb = _require("wandb")
        self._run = wandb.init(
            project=_project("WANDB_PROJECT"),
            dir=str(folder),
            id=_continued(folder / "wandb.id", step),
            name=folder.name,
            config=config.model_dump(mode="json"),
            resume="allow",
        )
        (folder / "wandb.id").write_text(self._run.id)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow where MLFLOW_TRACKING_URI says; the settings are its parameters."""

    def __init__(self, folder: Path, config: TrainConfig, step: int) -> None:
        self._mlflow = _require("mlflow")
        before = _continued(folder / "mlflow.id", step)
        if before is None:
            self._mlflow.set_experiment(_project("MLFLOW_EXPERIMENT_NAME"))
        run = self._mlflow.start_run(run_id=before, run_name=folder.name)
        if before is None:
            self._mlflow.log_params(dict(_flat(config.model_dump(mode="json"))))
        (folder / "mlflow.id").write_text(run.info.run_id)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(values), step=step, synchronous=False)

    def close(self) -> None:
        self._mlflow.flush_async_logging()
        self._mlflow.end_run()


class Trackio:
    """A run of Trackio, kept on this machine unless TRACKIO_SPACE_ID names a space."""

    def __init__(self, folder: Path, config: TrainConfig, step: int) -> None:
        name = _continued(folder / "trackio.id", step) or f"{folder.name}-{token_hex(3)}"
        self._run = _require("trackio").init(
            project=_project("TRACKIO_PROJECT"),
            name=name,
            config=config.model_dump(mode="json"),
            resume="allow",
        )
        (folder / "trackio.id").write_text(name)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


KINDS: dict[str, Callable[[Path, TrainConfig, int], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def check_installed(config: TrainConfig) -> None:
    """MissingExtra, saying how to install it, for the first of `config.loggers` that is not installed."""
    for name in config.loggers:
        if name == "tensorboard":
            require("tensorboard", "train")
        else:
            _require(name)


@contextmanager
def open_loggers(
    folder: Path, config: TrainConfig, step: int, say: Callable[[str], object]
) -> Iterator[Logger]:
    """Those of `config.loggers` as one, closed at the end; `step` is the one the run goes on from.

    A logger that does not start stops the run before it begins. One that fails later is left out from
    then on, with one line to `say`: a lost connection costs its curves, never the run.
    """
    loggers = _All(say)
    try:
        for name in config.loggers:
            loggers.opened[name] = _open(name, folder, config, step)
        yield loggers
    finally:
        loggers.close()


def _open(name: str, folder: Path, config: TrainConfig, step: int) -> Logger:
    try:
        return KINDS[name](folder, config, step)
    except MissingExtra:
        raise
    except Exception as error:  # whatever a service raises: no login, no network, a full disk
        others = ", ".join(one for one in config.loggers if one != name)
        raise ValueError(
            f"the logger {name} did not start: {type(error).__name__}: {error}; mend that, or go without it: "
            f"--set loggers=[{others}]"
        ) from error


class _All:
    """Every logger that has not failed."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.opened: dict[str, Logger] = {}
        self._say = say

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._each(lambda logger: logger.scalars(step, values))

    def close(self) -> None:
        self._each(lambda logger: logger.close())

    def _each(self, act: Callable[[Logger], None]) -> None:
        for name, logger in list(self.opened.items()):
            try:
                act(logger)
            except Exception as error:
                del self.opened[name]
                self._say(
                    f"the logger {name} failed and gets no more numbers: {type(error).__name__}: {error}; "
                    "the run goes on, metrics.jsonl has them all"
                )


def _require(module: str) -> ModuleType:
    """The imported module. MissingExtra says how to install it: services are in no extra."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise MissingExtra(
            f"{module} is not installed, but the settings name it as a logger: pip install {module}, or go "
            "without it: --set loggers=[tensorboard]",
            name=module,
        ) from None


def _project(variable: str) -> str:
    return os.environ.get(variable, PROJECT)


def _continued(path: Path, step: int) -> str | None:
    """What the service calls the run that goes on; None for one that begins."""
    return path.read_text().strip() if step and path.is_file() else None


def _flat(values: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    """{"schedule": {"epochs": 50}} as ("schedule.epochs", 50)."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{section}{key}.")
        else:
            yield f"{section}{key}", value
