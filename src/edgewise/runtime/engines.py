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

SUFFIXES = (".onnx", ".xml", ".engine")
ENDINGS = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"

HEADER = f"{KEY} ".encode()  # opens the line of metadata before a plan of TensorRT, which has no place for it
SHAPES = 8  # of inputs, for which a CUDA graph is kept


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
            raise _unreadable(path, "onnxruntime", error) from None
        self.artifact = read_artifact(self._session.get_modelmeta().custom_metadata_map.get(KEY), str(path))
        self.name, self.device = f"onnxruntime {ort.__version__}", device
        self._names = [one.name for one in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))


LATENCY = {"PERFORMANCE_HINT": "LATENCY"}
UNPINNED = {"ENABLE_CPU_PINNING": False}  # processes with a thread each would all sit on the first core


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
        settings: dict[str, Any] = LATENCY | {"INFERENCE_PRECISION_HINT": precision}
        if device == "CPU":
            settings |= UNPINNED
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(self.path)
            text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
            self.artifact = read_artifact(text, str(path))
            self._compiled = core.compile_model(model, device, settings)
        except RuntimeError as error:
            raise _unreadable(path, "openvino", error) from None
        self.name, self.device = f"openvino {openvino.__version__.split('-')[0]}", device.lower()

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        found = self._compiled(dict(inputs))
        return {name: found[name] for name in self.artifact.outputs}


class TensorRtEngine(Engine):
    """TensorRT on an NVIDIA GPU; needs the extra `tensorrt`. Only for files that are trusted: they are code.

    A CUDA graph is kept for each shape of inputs, of the last `SHAPES`. One thread at a time.
    """

    def __init__(self, path: str | Path, *, device: str = "auto") -> None:
        """`device` is "cuda", "auto" too. Raises what `OnnxEngine` raises."""
        super().__init__(path)
        head, _, plan = self.path.read_bytes().partition(b"\n")
        text = head.removeprefix(HEADER).decode() if head.startswith(HEADER) else None
        self.artifact = read_artifact(text, str(path))
        if device not in ("auto", "cuda"):
            raise ValueError(f"device {device!r}: {path} runs on the GPU alone; leave it out, or say cuda")
        trt = require("tensorrt", "tensorrt")
        self._cuda = cuda_runtime()
        self._engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ValueError(
                f"{path}: tensorrt {trt.__version__} cannot load it; an engine runs with the version that "
                f"built it, {self.artifact.versions.get('tensorrt')}, on the kind of GPU that it was built "
                "on; export it here"
            )
        self.name, self.device = f"tensorrt {trt.__version__}", "cuda"
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._types = {name: trt.nptype(self._engine.get_tensor_dtype(name)) for name in names}
        self._stream = checked(*self._cuda.cudaStreamCreate())
        self._captures: dict[tuple[tuple[int, ...], ...], _Capture] = {}

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        shapes = tuple(inputs[name].shape for name in self.artifact.inputs)
        capture = self._captures.pop(shapes, None) or self._capture(inputs)
        self._captures[shapes] = capture  # the last in order
        if len(self._captures) > SHAPES:
            del self._captures[next(iter(self._captures))]
        return capture(inputs)

    def _capture(self, inputs: Arrays) -> "_Capture":
        context = self._engine.create_execution_context()
        for name in self.artifact.inputs:
            if not context.set_input_shape(name, inputs[name].shape):
                least, _, most = self._engine.get_tensor_profile_shape(name, 0)
                shapes = ["x".join(map(str, one)) for one in (inputs[name].shape, least, most)]
                raise ValueError(
                    f"{self.path}: {name} are {shapes[0]}; it was built for {shapes[1]} to {shapes[2]}"
                )
        host = {
            name: np.empty(tuple(context.get_tensor_shape(name)), kind) for name, kind in self._types.items()
        }
        return _Capture(self._cuda, self._stream, context, host, self.artifact.inputs)


class _Capture:
    """One execution of an engine for one shape of inputs: its context, its memory, its CUDA graph."""

    def __init__(
        self, cuda: Any, stream: Any, context: Any, host: dict[str, np.ndarray], fed: tuple[str, ...]
    ) -> None:
        self._cuda, self._stream, self._context, self._host, self._fed = cuda, stream, context, host, fed
        self._graph: Any = None
        self._memory: dict[str, Any] = {}
        for name, array in host.items():
            self._memory[name] = checked(*cuda.cudaMalloc(max(array.nbytes, 1)))
            context.set_tensor_address(name, self._memory[name])

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        cuda, kinds = self._cuda, self._cuda.cudaMemcpyKind
        for name in self._fed:
            np.copyto(self._host[name], inputs[name], casting="no")
            self._copy(self._memory[name], self._host[name].ctypes.data, name, kinds.cudaMemcpyHostToDevice)
        if self._graph is None:
            self._execute()  # a context settles its shapes in a run before the one that is captured
            checked(*cuda.cudaStreamSynchronize(self._stream))
            mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            checked(*cuda.cudaStreamBeginCapture(self._stream, mode))
            self._execute()
            graph = checked(*cuda.cudaStreamEndCapture(self._stream))
            self._graph = checked(*cuda.cudaGraphInstantiate(graph, 0))
            checked(*cuda.cudaGraphDestroy(graph))
        checked(*cuda.cudaGraphLaunch(self._graph, self._stream))
        found = {name: np.empty_like(one) for name, one in self._host.items() if name not in self._fed}
        for name, array in found.items():
            self._copy(array.ctypes.data, self._memory[name], name, kinds.cudaMemcpyDeviceToHost)
        checked(*cuda.cudaStreamSynchronize(self._stream))
        return found

    def _copy(self, to: Any, source: Any, name: str, kind: Any) -> None:
        checked(*self._cuda.cudaMemcpyAsync(to, source, self._host[name].nbytes, kind, self._stream))

    def _execute(self) -> None:
        if not self._context.execute_async_v3(int(self._stream)):
            raise RuntimeError("tensorrt could not execute the engine; its own message is above")

    def __del__(self) -> None:
        if self._graph is not None:
            self._cuda.cudaGraphExecDestroy(self._graph)
        for address in self._memory.values():
            self._cuda.cudaFree(address)


def cuda_runtime() -> Any:
    """CUDA's calls. MissingExtra without the package, ValueError without a GPU."""
    cuda = require("cuda.bindings.runtime", "tensorrt")
    error, count = cuda.cudaGetDeviceCount()
    if int(error) or not count:
        raise ValueError(f"no NVIDIA GPU that CUDA can use ({error.name})")
    return cuda


def checked(error: Any, found: Any = None) -> Any:
    """What a call of CUDA gave. RuntimeError with CUDA's own word where it failed."""
    if int(error):
        raise RuntimeError(f"CUDA: {error.name}")
    return found


@cache
def openvino_core() -> Any:
    """The one Core of this process, which is never let go. MissingExtra without openvino.

    A Core puts up a stack for signals and takes it down in the end. Of two that overlap the second one puts
    the first one's back when that is gone (openvino 2026.4), and Ctrl-C ends the process with SIGSEGV.
    """
    return require("openvino", "openvino").Core()


def load_engine(
    path: str | Path, *, device: str = "auto", threads: int | None = None, trust: bool = False
) -> Engine:
    """The engine for a file, by its ending. ValueError for another ending, and for code without `trust`."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads {threads}: expected at least one")
    match Path(path).suffix.lower():
        case ".onnx":
            return OnnxEngine(path, device=device, threads=threads)
        case ".xml":
            return OpenVinoEngine(path, device=device, threads=threads)
        case ".engine":
            check_trust(path, trust)
            return TensorRtEngine(path, device=device)
    raise ValueError(f"{path}: no exported detector; expected {ENDINGS}")


def check_trust(path: str | Path, trust: bool) -> None:
    """ValueError without `trust`, for a file of machine code: loading one runs whatever is in it."""
    if not trust:
        raise ValueError(
            f"{path}: it holds machine code, which runs with your rights as soon as it is loaded, whatever "
            "it does; if you made it, or trust who did, say so: trust=True, or --trust"
        )


def is_exported(ref: str | Path) -> bool:
    """Whether `ref` is a file for an engine, by its ending."""
    return Path(ref).suffix.lower() in SUFFIXES


def _unreadable(path: str | Path, engine: str, error: Exception) -> ValueError:
    first = str(error).strip().split("\n")[0]
    return ValueError(
        f"{path}: {engine} cannot load it: {first} If it was damaged on its way, copy it again; "
        "else export anew"
    )
