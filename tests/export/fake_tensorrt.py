"""What stands in for TensorRT and CUDA: engines that ONNX Runtime runs, in memory asked for and freed.

It is as strict as the real ones where a mistake could hide: memory has bounds, shapes a profile, a context
must have run once before it is captured, and a graph does again what was captured.
"""

import base64
import ctypes
import enum
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

Shape = tuple[int, ...]
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


class Cuda(ModuleType):
    """cuda.bindings.runtime."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    Error = enum.IntEnum("Error", {"cudaSuccess": 0, "cudaErrorInvalidValue": 1, "cudaErrorNoDevice": 100})

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.devices, self.launches, self.captures = 1, 0, 0
        self.memory: dict[int, Any] = {}
        self.captured: list[Callable[[], None]] | None = None
        self.graphs: set[int] = set()

    def cudaGetDeviceCount(self) -> tuple[Any, int]:
        return self.Error(0 if self.devices else 100), self.devices

    def cudaMalloc(self, size: int) -> tuple[Any, int]:
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return self.Error(0), ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> tuple[Any]:
        del self.memory[address]
        return (self.Error(0),)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Any]:
        assert stream == 7
        assert len(self.memory[to if kind == 1 else source]) == size
        ctypes.memmove(to, source, size)
        return (self.Error(0),)

    def cudaStreamCreate(self) -> tuple[Any, int]:
        return self.Error(0), 7

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any]:
        return (self.Error(1 if self.captured is not None else 0),)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any]:
        self.captured = []
        return (self.Error(0),)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, Any]:
        done, self.captured = self.captured, None
        self.captures += 1
        return self.Error(0), done

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, Any]:
        executable = list(graph)
        self.graphs.add(id(executable))
        return self.Error(0), executable

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any]:
        graph.clear()
        return (self.Error(0),)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[Any]:
        self.launches += 1
        for one in graph:
            one()
        return (self.Error(0),)

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[Any]:
        self.graphs.remove(id(graph))
        return (self.Error(0),)


class TensorRt(ModuleType):
    """tensorrt; `built` is what the last engine was built of."""

    __version__ = "11.4.0"
    Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
    BuilderFlag = enum.IntEnum("BuilderFlag", {"TF32": 5})

    def __init__(self, cuda: Cuda) -> None:
        super().__init__("tensorrt")
        self.cuda, self.built = cuda, SimpleNamespace(flags=0, cleared=[], profile={}, onnx=b"")
        self.spoil: Callable[[dict[str, np.ndarray]], None] = lambda outputs: None

    def nptype(self, kind: type) -> type:
        return kind

    def Builder(self, logger: Any) -> Any:
        def network(flags: int) -> Any:
            self.built.flags = flags
            return self.built

        return SimpleNamespace(
            create_network=network,
            create_builder_config=lambda: SimpleNamespace(
                clear_flag=self.built.cleared.append, add_optimization_profile=lambda profile: 0
            ),
            create_optimization_profile=lambda: SimpleNamespace(
                set_shape=lambda name, *shapes: self.built.profile.update({name: shapes})
            ),
            build_serialized_network=lambda network, config: json.dumps(
                {"profile": network.profile, "onnx": base64.b64encode(network.onnx).decode()}
            ).encode(),
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(path: str) -> bool:
            network.onnx = Path(path).read_bytes()
            return True

        return SimpleNamespace(parse_from_file=parse)

    def Runtime(self, logger: Any) -> Any:
        def load(plan: bytes) -> Any:
            return _Engine(self, plan) if plan.startswith(b"{") else None

        return SimpleNamespace(deserialize_cuda_engine=load)


class _Engine:
    def __init__(self, trt: TensorRt, plan: bytes) -> None:
        told = json.loads(plan)
        self.trt, self.profile = trt, told["profile"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(base64.b64decode(told["onnx"]), options)
        self.inputs = {one.name: one for one in self.session.get_inputs()}
        self.outputs = {one.name: one for one in self.session.get_outputs()}
        self.tensors = {**self.outputs, **self.inputs}  # in no order that one may rely on
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, i: int) -> str:
        return list(self.tensors)[i]

    def get_tensor_dtype(self, name: str) -> type:
        return TYPES[self.tensors[name].type]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Shape]:
        return [tuple(one) for one in self.profile[name]]

    def create_execution_context(self) -> Any:
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.cuda = engine, engine.trt.cuda
        self.shapes: dict[str, Shape] = {}
        self.places: dict[str, int] = {}
        self.settled = False

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        least, _, most = self.engine.profile[name]
        self.shapes[name], self.settled = shape, False
        return all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> Shape:
        if name in self.shapes:
            return self.shapes[name]
        _, *rest = self.engine.outputs[name].shape
        return (self.shapes["images"][0], *rest)

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in self.cuda.memory
        self.places[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self.cuda.captured is None:
            self.run()
            self.settled = True
        elif not self.settled:
            return False
        else:
            self.cuda.captured.append(self.run)
        return True

    def run(self) -> None:
        engine, memory = self.engine, self.cuda.memory
        fed = {
            name: np.frombuffer(memory[self.places[name]].raw, engine.get_tensor_dtype(name)).reshape(shape)
            for name, shape in self.shapes.items()
        }
        found = dict(zip(engine.outputs, engine.session.run(None, fed), strict=True))
        engine.trt.spoil(found)
        for name, array in found.items():
            assert array.shape == self.get_tensor_shape(name)
            ctypes.memmove(self.places[name], np.ascontiguousarray(array).ctypes.data, array.nbytes)


def install(monkeypatch: pytest.MonkeyPatch) -> TensorRt:
    """Puts both where they are imported from."""
    import sys

    trt = TensorRt(Cuda())
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", trt.cuda)
    return trt
