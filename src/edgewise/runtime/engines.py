"""What executes an exported file: arrays by name in, arrays by name out. Each engine is an extra."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgewise.artifact import KEY, Artifact, parts, read_artifact
from edgewise.extras import require

Arrays = Mapping[str, np.ndarray]

SUFFIXES = (".onnx", ".xml")


class Engine(ABC):
    """An exported file, loaded: `engine(inputs)` is what `edgewise.artifact` says of inputs and outputs.

    `artifact` is what the file says about itself, `name` the engine's with its version, `device` what it runs
    on, `path` the file.
    """

    artifact: Artifact
    name: str
    device: str

    def __init__(self, path: str | Path) -> None:
        """FileNotFoundError for no such file."""
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected one that `edgewise export` wrote")

    @abstractmethod
    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name."""

    @property
    def bytes(self) -> int:
        """Of the file and of the weights beside it, if they are."""
        return sum(part.stat().st_size for part in parts(self.path))


class OnnxEngine(Engine):
    """ONNX Runtime; needs the extra `onnx`."""

    def __init__(self, path: str | Path, *, device: str = "auto", threads: int | None = None) -> None:
        """`device` is "cpu", "cuda", or "auto": CUDA where it is there. At most `threads` compute.

        FileNotFoundError for no such file; ValueError for one that is no ONNX or has no metadata of ours, and
        for a device that is not there.
        """
        super().__init__(path)
        ort = require("onnxruntime", "onnx")
        there = ort.get_available_providers()
        wanted = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
        if device == "auto":
            device = "cuda" if wanted["cuda"] in there else "cpu"
        if wanted.get(device) not in there:
            found = ", ".join(name for name, provider in wanted.items() if provider in there)
            raise ValueError(
                f"device {device!r}: this onnxruntime has {found}; for cuda: pip install onnxruntime-gpu"
            )
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors; it warns of its own optimizations
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(self.path, options, providers=[wanted[device]])
        except Exception as error:  # its exceptions have no common type but this
            raise ValueError(f"{path}: onnxruntime cannot load it: {_first_line(error)}") from None
        self.artifact = read_artifact(self._session.get_modelmeta().custom_metadata_map.get(KEY), str(path))
        self.name, self.device = f"onnxruntime {ort.__version__}", device
        self._names = [one.name for one in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))


class OpenVinoEngine(Engine):
    """OpenVINO; needs the extra `openvino`."""

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Literal["f32", "f16", "bf16"] = "f32",
    ) -> None:
        """`device` is one of OpenVINO's, "cpu" or "gpu"; "auto" is the CPU. At most `threads` compute.

        `precision` is what it may compute in: by itself it takes bf16 where the CPU has it, which costs
        digits of the boxes. Raises what `OnnxEngine` raises.
        """
        super().__init__(path)
        openvino, core = require("openvino", "openvino"), openvino_core()
        device = "CPU" if device == "auto" else device.upper()
        if device.split(".")[0] not in core.available_devices:
            found = ", ".join(core.available_devices).lower()
            raise ValueError(f"device {device.lower()!r}: this openvino has {found}")
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(self.path)
            text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
            self.artifact = read_artifact(text, str(path))
            self._compiled = core.compile_model(model, device, settings)
        except RuntimeError as error:
            raise ValueError(f"{path}: openvino cannot load it: {_first_line(error)}") from None
        self.name, self.device = f"openvino {openvino.__version__.split('-')[0]}", device.lower()

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        found = self._compiled(dict(inputs))
        return {name: found[name] for name in self.artifact.outputs}


@cache
def openvino_core() -> Any:
    """The one Core of this process, which is never let go. MissingExtra without openvino.

    A Core puts up a stack for signals and takes it down in the end. Of two that overlap the second one puts
    the first one's back when that is gone (openvino 2026.4), and Ctrl-C ends the process with SIGSEGV.
    """
    return require("openvino", "openvino").Core()


def load_engine(path: str | Path, *, device: str = "auto", threads: int | None = None) -> Engine:
    """The engine for a file, by its ending. ValueError for another ending."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads {threads}: expected at least one")
    match Path(path).suffix.lower():
        case ".onnx":
            return OnnxEngine(path, device=device, threads=threads)
        case ".xml":
            return OpenVinoEngine(path, device=device, threads=threads)
    raise ValueError(f"{path}: no exported detector; expected {' or '.join(SUFFIXES)}")


def is_exported(ref: str | Path) -> bool:
    """Whether `ref` is a file for an engine, by its ending."""
    return Path(ref).suffix.lower() in SUFFIXES


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
