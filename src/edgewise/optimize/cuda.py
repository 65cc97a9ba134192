"""torch on a GPU: compiled, as CUDA graphs, one upload and one download a batch."""

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from edgewise.model.dfine import DFine
from edgewise.model.fast import GpuForm
from edgewise.optimize.engines import DTYPES, Engine, Fast, Pixels
from edgewise.predict.network import answers
from edgewise.predict.pieces import Pieces
from edgewise.predict.predictor import Raw
from edgewise.structures import ModelOutput

MOST = 32  # images at once; more are cut
Compute = Callable[[Tensor], Tensor]  # pixels to what `pack` makes of the output

# All that is compiled runs in this one thread: a CUDA graph of torch.compile belongs to the thread that
# recorded it, and the next call overwrites what it gave, wherever that comes from.
_THREAD = ThreadPoolExecutor(1, "edgewise-cuda")


class CudaEngine(Engine):
    """torch on a GPU: `model.fast.GpuForm`, compiled, a CUDA graph for each size of batch.

    Sizes of batches are the powers of two up to `MOST`: one between them is filled up, more go in pieces, and
    so does what the GPU's memory is too small for (`predict.pieces`). Each is compiled when it is first
    needed, which takes its time; where that fails it runs as it is, which is warned of and is in `note`.
    A model that stops early where it can runs all its layers here.
    """

    def __init__(
        self,
        model: DFine,
        precision: Fast,
        device: torch.device,
        compiler: Callable[..., Compute] = torch.compile,
    ) -> None:
        form = GpuForm(model.at(exit=0.0), DTYPES[precision]).to(device)
        self._device = next(form.parameters()).device  # "cuda" has a number from here on, for every thread
        self.name, self.device = f"torch {torch.__version__.split('+')[0]}", str(self._device)
        self._bins = model.config.decoder.num_bins + 1

        def compute(pixels: Tensor) -> Tensor:
            return pack(form.output(pixels))

        self._plain: Compute = compute
        self._compute = compiler(
            _with_own_code(compute), mode="reduce-overhead", dynamic=False, fullgraph=True
        )
        self._pieces = Pieces(MOST, _free)
        self._uploads: dict[int, Tensor] = {}  # by number of images

    def __call__(self, pixels: Pixels) -> list[Raw]:
        return _THREAD.submit(self._pieces, self._rows, list(pixels)).result()

    def _rows(self, images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> list[Raw]:
        """Of one piece."""
        upload = self._upload(1 << (len(images) - 1).bit_length(), images[0].shape)
        filled = upload.numpy()
        for place, image in enumerate(images):
            filled[place] = image
        with torch.no_grad(), full_products():
            found = self._run(upload.to(self._device, non_blocking=True))
            return unpack(found[: len(images)].to("cpu", copy=True).numpy(), self._bins)

    def _upload(self, count: int, shape: tuple[int, ...]) -> Tensor:
        """Memory of the host that a GPU reads by itself; the next batch of this size is put there too."""
        if count not in self._uploads:
            self._uploads[count] = torch.zeros(
                count, *shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda"
            )
        return self._uploads[count]

    def _run(self, pixels: Tensor) -> Tensor:
        try:
            return self._compute(pixels)
        except Exception as error:  # whatever was missing, or damaged: without compiling it needs none of it
            cause = getattr(error, "inner_exception", error)  # that of torch says where, this what
            if self._compute is self._plain or isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            first = next(iter(str(cause).strip().splitlines()), "")
            self.note = f"not compiled, so slower ({type(cause).__name__}: {first})"
        self._compute = self._plain
        warnings.warn(f"{self.name} on {self.device}: {self.note}", stacklevel=2)
        return self._compute(pixels)


def pack(output: ModelOutput) -> Float[Tensor, "B Q n"]:
    """The `answers`, side by side in one tensor of float32."""
    return torch.cat([one.float().flatten(2) for one in answers(output)], -1)


def unpack(packed: Float[np.ndarray, "B Q n"], bins: int) -> list[Raw]:
    """What `host` makes of an output, from what `pack` makes of it; an edge has so many `bins`."""
    classes = packed.shape[-1] - 4 * bins - 8
    cuts = [classes, classes + 4, classes + 4 + 4 * bins]
    logits, boxes, edges, initial = np.split(packed, cuts, -1)
    edges = edges.reshape(*edges.shape[:2], 4, bins)
    return list(zip(logits, boxes, edges, initial, strict=True))


@contextmanager
def full_products() -> Iterator[None]:
    """float32 is float32 in here: left to itself cuDNN rounds what it multiplies to ten bits (TF32)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _with_own_code(function: Any) -> Any:
    """The same function with a code object of its own: torch.compile keeps eight results for each of these.

    Engines would share them, and the second to be made would soon have none.
    """
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)


def _free() -> None:
    """CUDA graphs keep their memory, so all of this process are made anew where memory has run out.

    What failed is there still: its error and the frames that this went through, with their tensors, hold each
    other.
    """
    gc.collect()
    torch.compiler.reset()
    torch.cuda.empty_cache()
