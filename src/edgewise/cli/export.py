"""`edgewise export`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from edgewise.cli.app import Flag, app, say
from edgewise.cli.options import Checkpoint, Size
from edgewise.cli.words import parse_size


@app.command
def export(
    checkpoint: Checkpoint,
    *,
    to: Literal["onnx", "openvino", "torch", "aot", "tensorrt"] = "onnx",
    out: Path | None = None,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    head: Literal["detections", "raw"] = "detections",
    sampler: Literal["gather", "native"] = "gather",
    size: Size = None,
    dynamic_size: Annotated[bool, Flag] = False,
    resize_inside: Annotated[bool, Flag] = False,
    max_detections: int = 300,
    opset: int = 18,
    images: Annotated[list[str] | None, Parameter(negative=())] = None,
    data: Path | None = None,
    split: str = "val",
) -> None:
    """Write a detector for another runtime, with the proof that it answers the same there.

    The file is loaded in its own runtime and compared with the checkpoint box by box, in batches of 1, 2 and
    8. Only then does it get its name; NAME.proof.json beside it says what was found. Where it differs it is
    NAME.rejected, the exit code is 1, and the message names the first tensor inside that drifts.

    Example: `edgewise export runs/bccd/best.safetensors --to onnx --data bccd/`

    Parameters
    ----------
    to
        The kind of file. onnx: for ONNX Runtime and others. openvino: IR, .xml and .bin. torch: a program of
        torch.export, .pt2, which runs without Edgewise; loading one runs what is in it, so load only those
        of people you trust. aot: that program compiled for this computer's processor, .aot.pt2; takes a C++
        compiler and minutes. tensorrt: an engine for this computer's GPU, .engine; where TensorRT is missing
        you are told what would be done. The last two are machine code: `--trust` loads them.
    out
        Its name; by default the checkpoint's, in the folder it is in, or here for what is no file.
    precision
        fp32; fp16: weights in half precision, half the size, of openvino, backbone and encoder computed in
        it, of tensorrt; int8: backbone and encoder in it,
        of onnx and openvino. Its ranges are those of training images, so that it needs --data.
    head
        detections: finished ones, error bars and scores calibrated. raw: what the decoder says, with the
        distributions of edges, for edgewise.decode to finish.
    sampler
        gather: no GridSample, which some runtimes get wrong or have not. native: with it.
    dynamic_size
        Take any height and width that are multiples of 32.
    resize_inside
        Take uint8 images [B, H, W, 3] of any size: resizing and scaling are part of the graph.
    max_detections
        An image's, best first; of head detections.
    opset
        Version of the ONNX operators.
    images
        Images, folders or patterns to compare on; else some of --data, else painted scenes.
    data
        Annotated images, in any format that training reads: AP and latency of file and checkpoint.
    split
        train, val or test, of --data.
    """
    from edgewise.api import Detector
    from edgewise.artifact import parts
    from edgewise.export import TARGETS, Rejected

    pair = parse_size(size)
    detector = Detector.from_pretrained(checkpoint)
    given = Path(checkpoint)
    suffix = TARGETS[to].suffix
    path = out or (given.with_suffix(suffix) if given.is_file() else Path(f"{given.name}{suffix}"))
    try:
        proof = detector.export(
            to,
            path,
            precision=precision,
            head=head,
            sampler=sampler,
            size=pair,
            dynamic_size=dynamic_size,
            resize_inside=resize_inside,
            max_detections=max_detections,
            opset=opset,
            images=images,
            data=data,
            split=split,
            progress=True,
        )
    except Rejected as error:
        say(error.proof)
        raise
    say(proof)
    size_mb = sum(part.stat().st_size for part in parts(path)) / 1e6
    say(f"{path}: {size_mb:.1f} MB, proven")
