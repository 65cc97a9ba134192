"""Engines of one detector at batch 1, against the same model in `transformers`.

    python benchmarks/inference.py n s m l x --threads 2
    python benchmarks/inference.py n --threads 1 --repeats 3 --side 320 --out runs/inference.json

All have the same random weights. The peers get an image that is model input already, float32; ours get
pixels, uint8, and turn them into input themselves. What comes out is on the host, before it becomes
Detections. They take turns. `optimize("cpu")` takes OpenVINO, in bf16 where the processor has it; here
engines are made by name, since random weights find nothing that it could compare.
"""

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cyclopts
import matplotlib.pyplot as plt
import numpy as np
import torch
from peer import our_model, their_model
from speed import PRECISIONS, RESULTS, Run, alternated, facts, medians, once, times_faster, write
from torch import Tensor, nn

from edgewise import Detector
from edgewise.classes import COCO
from edgewise.export import TARGETS
from edgewise.export.describe import describe
from edgewise.export.openvino import convert
from edgewise.optimize import Engine, Fast, OpenVinoEngine, TorchEngine, converted
from edgewise.recipe import counted
from edgewise.runtime import engines as plain

THEIRS, PLAIN = "transformers fp32", "plain OpenVINO export, bf16"


class Outputs(nn.Module):
    """What a graph of the peer holds: its logits and boxes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(pixel_values=images)
        return output.logits, output.pred_boxes


def peer_session(size: str, image: Tensor, threads: int, path: Path) -> Callable[[], Any]:
    """onnxruntime on what torch makes of the peer by itself: its older exporter; the newer one cannot."""
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the workings of the exporter
        torch.onnx.export(Outputs(their_model(size).eval()), (image,), path, dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return partial(session.run, None, {name: image.numpy()})


def detector_of(size: str, side: int) -> Detector:
    """With the weights of the peer."""
    model = our_model(size)
    made = Detector(model.config.updated({"size": (side, side)}), COCO, device="cpu")
    made.model.load_state_dict(model.state_dict())
    return made


def noise(images: int, side: int) -> np.ndarray:
    """Pixels uint8 [images, side, side, 3]."""
    return np.random.default_rng(0).integers(0, 256, (images, side, side, 3), np.uint8)


def own_engines(detector: Detector, threads: int, kinds: tuple[Fast, ...] = PRECISIONS) -> dict[str, Engine]:
    """What `optimize` may take, by name."""
    graphs = converted(detector.model, detector.config.size)
    found: dict[str, Engine] = {f"torch {kind}": TorchEngine(detector.model, kind) for kind in kinds}
    return found | {f"OpenVINO {kind}": OpenVinoEngine(graphs, kind, threads) for kind in kinds}


def variants(size: str, side: int, threads: int, folder: Path) -> dict[str, Run]:
    """Each engine's forward pass of the same noise, by name."""
    detector = detector_of(size, side)
    pixels = noise(1, side)
    image = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / 255
    tensor, theirs = torch.from_numpy(image), their_model(size).eval()
    artifact = describe(detector.checkpoint(), head="raw", sampler="native")
    onnx, xml = folder / f"{size}.onnx", folder / f"{size}.xml"
    TARGETS["onnx"].write(detector.model, artifact, onnx)
    convert(onnx, artifact, xml)

    @torch.inference_mode()
    def peer() -> Any:
        return theirs(pixel_values=tensor)

    @torch.inference_mode()
    def eager() -> Any:
        return detector.model(tensor)

    session = plain.OnnxEngine(onnx, device="cpu", threads=threads)
    found: dict[str, Callable[[], Any]] = {
        THEIRS: peer,
        "its own ONNX export, onnxruntime": peer_session(size, tensor, threads, folder / "peer.onnx"),
        "edgewise, eager fp32": eager,
        "plain ONNX export, onnxruntime": partial(session, {"images": image}),
    }
    for kind in PRECISIONS:
        export = plain.OpenVinoEngine(xml, threads=threads, precision="bf16" if kind == "bf16" else "f32")
        found[f"plain OpenVINO export, {kind}"] = partial(export, {"images": image})
    for name, engine in own_engines(detector, threads).items():
        found[f"edgewise, {name}"] = partial(engine, pixels)
    return {name: once(run, "engine") for name, run in found.items()}


def plot(sizes: dict[str, Any], title: str, path: Path) -> None:
    """A column a size, a bar an engine."""
    names = list(next(iter(sizes.values())))
    shape = (2.5 + 2 * len(sizes), 1 + 0.3 * len(names))
    figure, columns = plt.subplots(
        1, len(sizes), figsize=shape, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (size, engines) in zip(columns[0], sizes.items(), strict=True):
        values = [1e3 * engines[name]["wall_s"]["median"] for name in names]
        bars = axes.barh(names, values, color=["C0" if "edgewise" in name else "0.7" for name in names])
        faster = [engines[name]["times_faster"]["wall_s"] for name in names]
        axes.bar_label(
            bars, [f"{ms:.0f}, {ratio:.1f}x" for ms, ratio in zip(values, faster, strict=True)], padding=3
        )
        axes.set(title=size, xlabel="ms, medians", xlim=(0, 1.6 * max(values)))
        axes.spines[["top", "right"]].set_visible(False)
    columns[0, 0].invert_yaxis()
    figure.suptitle(title)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(
    *sizes: str, side: int = 640, threads: int = 2, repeats: int = 15, out: Path = RESULTS / "inference.json"
) -> None:
    """SIZES in turn: n, s, m, l, x."""
    torch.set_num_threads(threads)
    result: dict[str, Any] = {"facts": facts(), "side": side, "repeats": repeats, "sizes": {}}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            times = alternated(variants(size, side, threads, Path(folder)), repeats, warm=2)
        result["sizes"][size] = {}
        print(size)
        for name, parts in times.items():
            compared = {"times_faster": times_faster(times[THEIRS], parts)}
            if PLAIN in times:
                compared["times_faster_than_plain_openvino_bf16"] = times_faster(times[PLAIN], parts)
            result["sizes"][size][name] = parts["total"] | compared
            wall, (real, own) = 1e3 * medians(parts)["wall_s"], compared["times_faster"].values()
            print(f"  {name:32} {wall:8.1f} ms, {real:.2f}x, of the processor {own:.2f}x", flush=True)
    result["load_after"] = facts()["load"]
    write(result, out)
    title = f"One image of {side}x{side}, {counted(threads, 'thread')}"
    plot(result["sizes"], title, out.with_suffix(".png"))


if __name__ == "__main__":
    cyclopts.run(main)
