"""The engine for GPUs, on the CPU: all but CUDA itself. Nothing here has run on a GPU."""

import os
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgewise import optimize as room
from edgewise.api import Detector
from edgewise.data.scenes import SceneDataset
from edgewise.export.compare import Tolerance
from edgewise.model.fast import GpuForm
from edgewise.optimize import Differs, cuda
from edgewise.optimize.check import Check
from edgewise.optimize.cuda import CudaEngine, pack, unpack
from edgewise.predict.network import host
from edgewise.predict.predictor import Raw
from tests.export.conftest import detector as detector
from tests.export.conftest import images as images
from tests.export.conftest import tracing

CPU = torch.device("cpu")
SIZE = (96, 128)


class Compiler:
    """In place of torch.compile: what it makes writes each answer over the last, as CUDA graphs do."""

    def __init__(self, most: int = 99, error: Exception | None = None) -> None:
        self.most, self.error = most, error
        self.shapes: list[int] = []
        self.threads: set[str] = set()
        self.tf32: set[bool] = set()
        self.settings: dict[str, Any] = {}

    def __call__(self, function: Callable[[Tensor], Tensor], **settings: Any) -> Callable[[Tensor], Tensor]:
        self.settings, outputs = settings, dict[int, Tensor]()

        def graph(pixels: Tensor) -> Tensor:
            self.shapes.append(len(pixels))
            self.threads.add(threading.current_thread().name)
            self.tf32.add(torch.backends.cudnn.allow_tf32)
            if len(pixels) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            if self.error is not None:
                raise self.error
            found = function(pixels)
            return outputs.setdefault(len(pixels), found).copy_(found)

        return graph


@pytest.fixture(autouse=True)
def unchecked_shapes() -> Iterator[None]:
    with tracing():
        yield


def scenes(count: int) -> np.ndarray:
    made = SceneDataset(count, seed=1, size=SIZE)
    return np.stack([made[i].image for i in range(count)])


def expected(detector: Detector, pixels: np.ndarray) -> list[Raw]:
    return host(GpuForm(detector.model)(torch.from_numpy(pixels)))


def same(found: list[Raw], wanted: list[Raw], atol: float = 1e-4) -> None:
    for one, other in zip(found, wanted, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4)


def test_packing_changes_nothing(detector: Detector) -> None:
    output = GpuForm(detector.model)(torch.from_numpy(scenes(3)))
    packed = pack(output)
    assert packed.shape[:2] == (3, 20)
    for one, other in zip(unpack(packed.numpy(), 33), host(output), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_batches_are_filled_up_and_cut(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "MOST", 4)
    compiler, pixels = Compiler(), scenes(9)
    engine, wanted = CudaEngine(detector.model, "fp32", CPU, compiler), expected(detector, pixels)
    for count, shapes in ((3, [4]), (1, [1]), (2, [2]), (4, [4]), (5, [4, 1]), (7, [4, 4]), (9, [4, 4, 1])):
        compiler.shapes.clear()
        same(engine(pixels[:count]), wanted[:count])
        assert compiler.shapes == shapes
    assert compiler.settings == {"mode": "reduce-overhead", "dynamic": False, "fullgraph": True}


def test_answers_outlive_the_next_call(detector: Detector) -> None:
    """Those of a CUDA graph are overwritten by it, and so is what was uploaded."""
    engine, pixels = CudaEngine(detector.model, "fp32", CPU, Compiler()), scenes(4)
    first = engine(pixels[:2])
    kept = [tuple(one.copy() for one in row) for row in first]
    engine(pixels[2:])
    for row, copies in zip(first, kept, strict=True):
        for one, copy in zip(row, copies, strict=True):
            np.testing.assert_array_equal(one, copy)


def test_one_thread_computes_whoever_asks(detector: Detector) -> None:
    compiler, pixels, before = Compiler(), scenes(1), torch.backends.cudnn.allow_tf32
    engine = CudaEngine(detector.model, "fp32", CPU, compiler)
    asking = [threading.Thread(target=engine, args=(pixels,)) for _ in range(3)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert len(compiler.shapes) == 3
    assert compiler.threads == {"edgewise-cuda_0"}
    assert compiler.tf32 == {False}  # float32 is float32
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_it_says_what_the_checkpoint_says(
    precision: Any, detector: Detector, images: list[np.ndarray]
) -> None:
    engine = CudaEngine(detector.model, precision, CPU, Compiler())
    assert Check(detector, SIZE, images)(engine, precision).startswith(
        "of the 80 best detections in 4 images"
    )
    assert (engine.device, engine.note) == ("cpu", "")


def test_a_model_that_stops_early_runs_all_its_layers(detector: Detector) -> None:
    pixels = scenes(2)
    engine = CudaEngine(detector.at(exit=100.0).model, "fp32", CPU, Compiler())
    same(engine(pixels), expected(detector, pixels))


# ── what goes wrong ────────────────────────────────────────────────────────────────────────────────────


def test_too_little_memory(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[str] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: freed.append("graphs"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("cache"))
    compiler, pixels = Compiler(most=2), scenes(7)
    engine, wanted = CudaEngine(detector.model, "fp32", CPU, compiler), expected(detector, pixels)
    with pytest.warns(
        UserWarning, match=r"too small .* \(CUDA out of memory.*GiB\); it gets 2 at a time now"
    ):
        same(engine(pixels), wanted)
    assert compiler.shapes == [8, 4, 2, 2, 2, 1]
    assert freed == ["graphs", "cache"] * 2
    same(engine(pixels), wanted)
    assert compiler.shapes[6:] == [2, 2, 2, 1]
    compiler.most = 0
    with pytest.raises(MemoryError, match=r"^not one image fits into the GPU's memory .* or the CPU$"):
        engine(pixels)
    assert engine.note == ""  # that is no reason not to compile


class Raised(RuntimeError):
    """As torch wraps what happened inside."""

    def __init__(self, inner: Exception) -> None:
        super().__init__("backend='inductor' raised:\n…")
        self.inner_exception = inner


NO_TRITON = "Cannot find a working triton installation.\nMore of it."


@pytest.mark.parametrize("error", [RuntimeError(NO_TRITON), Raised(RuntimeError(NO_TRITON))])
def test_what_cannot_be_compiled_runs_as_it_is(error: Exception, detector: Detector) -> None:
    compiler, pixels = Compiler(error=error), scenes(3)
    engine, wanted = CudaEngine(detector.model, "fp32", CPU, compiler), expected(detector, pixels)
    note = "not compiled, so slower (RuntimeError: Cannot find a working triton installation.)"
    with pytest.warns(UserWarning, match=r"^torch .* on cpu: not compiled, so slower \(RuntimeError: Cannot"):
        same(engine(pixels), wanted)
    assert engine.note == note
    same(engine(pixels), wanted)  # and not a word more
    assert compiler.shapes == [4]


def test_memory_that_runs_out_in_the_compiler(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    compiler = Compiler(error=Raised(torch.OutOfMemoryError("CUDA out of memory.")))
    engine = CudaEngine(detector.model, "fp32", CPU, compiler)
    with pytest.raises(MemoryError, match=r"not one image fits into the GPU's memory \(CUDA out of memory\)"):
        engine(scenes(2))
    assert compiler.shapes == [2, 1]


def test_what_ran_out_of_memory_is_gone_when_it_is_freed(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: alive.append(made[-1]() is not None))

    def graph(pixels: Tensor) -> Tensor:
        large = torch.zeros(3)
        made.append(weakref.ref(large))
        raise Raised(torch.OutOfMemoryError("CUDA out of memory."))

    engine = CudaEngine(detector.model, "fp32", CPU, lambda _, **settings: graph)
    with pytest.raises(MemoryError):
        engine(scenes(2))
    assert alive == [False, False]


def test_what_fails_uncompiled_too_is_an_error(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "pack", lambda _: torch.zeros(2).reshape(3))
    engine = CudaEngine(detector.model, "fp32", CPU, Compiler())
    with (
        pytest.warns(UserWarning, match="not compiled"),
        pytest.raises(RuntimeError, match="shape '\\[3\\]'"),
    ):
        engine(scenes(1))


def test_every_engine_has_the_compiler_to_itself() -> None:
    """Of one code object torch keeps eight results, and refuses a ninth."""

    def plus(number: int) -> Callable[[Tensor], Tensor]:
        def add(x: Tensor) -> Tensor:
            return x + number

        return add

    for number in range(10):
        function = torch.compile(cuda._with_own_code(plus(number)), backend="eager", fullgraph=True)
        assert function(torch.zeros(1)).item() == number


COMPILED = """
import os, sys, warnings
from pathlib import Path
import numpy as np
import torch
from edgewise.api import Detector
from edgewise.model.fast import GpuForm
from edgewise.optimize.cuda import CudaEngine, _free
from edgewise.predict.network import host
from tests.train.tiny import NAMES, tiny_config
model = Detector(tiny_config(), NAMES, device="cpu").model
pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
engine = CudaEngine(model, "fp32", torch.device("cpu"))
wanted = host(GpuForm(model)(torch.from_numpy(pixels)))

def check():
    for one, other in zip(engine(pixels), wanted, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)

check()
_free()
check()
print(repr(engine.note))
folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
written = [path for path in folder.rglob("*") if path.is_file()]
for path in written:
    os.truncate(path, path.stat().st_size // 2)
_free()
check()
code = "".join(path.read_text(errors="ignore") for path in folder.rglob("*.py"))
print(len(written) > 0, "extern_kernels.convolution" in code, "ops.aten.grid_sampler" in code)
"""


@pytest.mark.slow
def test_torch_compiles_it(tmp_path: Path) -> None:
    """The whole model as one graph; again after memory was freed; again from a cache that is damaged.

    Of sampling no call is left, it became part of what is around it. All this in a process of its own: torch
    does not compile functions whose annotations are checked.
    """
    words, root = [sys.executable, "-c", COMPILED], Path(__file__).parents[2]
    told = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(words, env=told, cwd=root, capture_output=True, text=True)
    assert run.stdout.splitlines() == ["''", "True True False"], run.stderr


def test_nothing_is_computed_elsewhere(detector: Detector) -> None:
    """A CUDA graph has no room for the CPU. A device without numbers stands in for the GPU."""
    elsewhere: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, _: Any, given: Any = (), named: Any = None) -> Any:
            found = function(*given, **(named or {}))
            here = all(one.device.type == "meta" for one in tree_leaves(found) if isinstance(one, Tensor))
            # Constants are made once: torch.compile finds them ready.
            if not here and not any("caching" in frame.filename for frame in traceback.extract_stack()):
                elsewhere.append(str(function))
            return found

    form = GpuForm(detector.model, torch.bfloat16).to("meta")
    with torch.no_grad(), Watch():
        packed = pack(form.output(torch.zeros(2, *SIZE, 3, dtype=torch.uint8, device="meta")))
    assert (packed.shape, packed.dtype, packed.device.type) == ((2, 20, 143), torch.float32, "meta")
    assert elsewhere == []


# ── chosen ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """optimize("cuda") finds a GPU, which is the CPU."""
    compiler = Compiler()
    monkeypatch.setattr(room, "resolve_device", torch.device)
    monkeypatch.setattr(room, "gpu_multiplies_bf16", lambda _: True)
    monkeypatch.setattr(room, "CudaEngine", lambda model, kind, _: CudaEngine(model, kind, CPU, compiler))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    return compiler


@pytest.mark.usefixtures("gpu")
def test_the_choice_on_a_gpu(
    detector: Detector, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = torch.__version__.split("+")[0]
    fast = detector.optimize("cuda:1", images=images)
    assert fast.choice == f"torch {version} in bf16 (this GPU multiplies it) on cuda:1 (GPU 1)"
    assert (fast.precision, fast.backend) == ("bf16", f"torch {version} cpu")
    assert "80 best detections" in fast.likeness
    assert " in fp32 (as asked) on " in detector.optimize("cuda", precision="fp32").choice
    monkeypatch.setattr(room, "gpu_multiplies_bf16", lambda _: False)
    fast = detector.optimize("cuda", images=images)
    assert (fast.precision, " (this GPU does not multiply bf16) on cuda " in fast.choice) == ("fp16", True)
    monkeypatch.setitem(room.TOLERANCES, "fp16", Tolerance(box_px=1e-9, score=1e-9))
    fast = detector.optimize("cuda", images=images)
    assert " in fp32 (fp16 is out of tolerance) on cuda (GPU None); torch " in fast.choice
    assert " in fp16 differs: of the 80 best detections" in fast.choice
    with pytest.raises(Differs, match="in fp16 differs"):
        detector.optimize("cuda", engine="torch", precision="fp16")


def test_the_choice_says_what_was_not_compiled(detector: Detector, gpu: Compiler) -> None:
    gpu.error = RuntimeError("Cannot find a working triton installation.")
    with pytest.warns(UserWarning, match="not compiled"):
        fast = detector.optimize("cuda", precision="fp32")
    assert " on cuda (GPU None); not compiled, so slower (RuntimeError: Cannot find a working" in fast.choice


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"engine": "openvino"}, "engine 'openvino' is for the CPU; on a GPU leave engine out"),
        ({"threads": 2}, "threads 2: that is for the CPU; on a GPU leave threads out"),
        ({"cache": "here"}, "cache here: that is for the CPU; on a GPU leave cache out"),
        ({"precision": "fp8"}, "unknown precision fp8"),
    ],
)
def test_wishes_that_no_gpu_has(wishes: dict[str, Any], message: str, detector: Detector) -> None:
    with pytest.raises(ValueError, match=message):
        detector.optimize("cuda", **wishes)
