"""Exports that prove themselves: a file for another runtime, kept only if it answers like the checkpoint."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgewise.artifact import Artifact, Precision, parts
from edgewise.checkpoint.atomic import writing
from edgewise.export import onnx, openvino, program, tensorrt
from edgewise.export.compare import TOLERANCES, Check, Likeness, Tolerance
from edgewise.export.drift import first_drift
from edgewise.export.int8 import Feeds, inputs_of
from edgewise.export.proof import (
    PredictorAt,
    compare_all,
    file_hash,
    images_hash,
    measure,
    versions,
    write_proof,
)
from edgewise.export.proof import Proof as Proof
from edgewise.export.proof import read_proof as read_proof
from edgewise.extras import require
from edgewise.model import DFine
from edgewise.runtime.detector import ExportedDetector
from edgewise.runtime.engines import Arrays, Engine, TensorRtEngine, load_engine
from edgewise.spelling import unknown

if TYPE_CHECKING:
    from edgewise.evaluation.run import AnnotatedImages


@dataclass(frozen=True)
class Target:
    """What makes one kind of artifact.

    `packages` write and prove it, by name the extra that brings each; `write(model, artifact, path)` makes
    the file, in one of the `precisions`; `to_int8(source, artifact, path, feeds)` one of int8 of that, where
    it can be, with `int8_packages`; `engine(path)` runs it, on the CPU where it can, and `steps(path, names,
    inputs)` is what tensors inside it are; `tolerances` go by precision; `refuse(artifact)` raises ValueError
    for what it is not written as.
    """

    suffix: str
    packages: dict[str, str]
    write: Callable[[DFine, Artifact, Path], None]
    steps: Callable[[Path, list[str], Arrays], dict[str, np.ndarray]]
    precisions: tuple[Precision, ...] = ("fp32",)
    to_int8: Callable[[Path, Artifact, Path, Feeds], None] | None = None
    int8_packages: dict[str, str] = field(default_factory=dict)
    engine: Callable[[Path], Engine] = lambda path: load_engine(path, device="cpu")
    tolerances: Mapping[Precision, Tolerance] = field(default_factory=lambda: TOLERANCES)
    refuse: Callable[[Artifact], None] = lambda artifact: None

    def needed(self, precision: str) -> dict[str, str]:
        """The packages for a file of that precision."""
        return self.packages | (self.int8_packages if precision == "int8" else {})


def _outputs(engine: Callable[[Path], Engine]) -> Callable[[Path, list[str], Arrays], dict[str, np.ndarray]]:
    """The `steps` of machine code, which shows none but its outputs."""
    return lambda path, _names, inputs: engine(path)(inputs)


TARGETS = {
    "onnx": Target(".onnx", onnx.PACKAGES, onnx.write, onnx.steps, ("fp32", "int8"), to_int8=onnx.to_int8),
    "openvino": Target(
        ".xml",
        openvino.PACKAGES,
        openvino.write,
        openvino.steps,
        ("fp32", "fp16", "int8"),
        to_int8=openvino.to_int8,
        int8_packages={"nncf": "int8"},
    ),
    "torch": Target(".pt2", {}, program.write, program.steps, engine=program.ProgramEngine),
    "aot": Target(
        program.PACKAGE,
        {},
        program.write_compiled,
        _outputs(program.PackageEngine),
        engine=program.PackageEngine,
    ),
    "tensorrt": Target(
        ".engine",
        onnx.PACKAGES,
        tensorrt.write,
        _outputs(TensorRtEngine),
        ("fp32", "fp16"),
        engine=TensorRtEngine,
        tolerances=tensorrt.Tolerances,
        refuse=tensorrt.refuse,
    ),
}


class Rejected(ValueError):
    """An artifact that does not answer like its checkpoint; `proof` says where."""

    def __init__(self, message: str, proof: Proof) -> None:
        super().__init__(message)
        self.proof = proof


def maker(name: str, precision: str) -> Target:
    """How to make artifacts of that kind. ValueError for another one, MissingExtra where that cannot be."""
    if name not in TARGETS:
        raise ValueError(unknown(name, list(TARGETS), "target"))
    if precision not in TARGETS[name].precisions:
        there = ", ".join(TARGETS[name].precisions)
        raise ValueError(f"precision {precision!r}: {name} is written in {there}")
    for package, extra in TARGETS[name].needed(precision).items():
        require(package, extra)
    return TARGETS[name]


def target_of(path: Path) -> Target | None:
    """What makes files of this ending, the longest that fits."""
    fitting = [one for one in TARGETS.values() if path.name.endswith(one.suffix)]
    return max(fitting, key=lambda one: len(one.suffix), default=None)


def export(
    model: DFine,
    artifact: Artifact,
    path: str | Path,
    images: Sequence[np.ndarray],
    reference: PredictorAt,
    *,
    dataset: "AnnotatedImages | None" = None,
    typical: Sequence[np.ndarray] = (),
    progress: bool = False,
) -> Proof:
    """Writes the model as `artifact` describes, and proves the file on `images` before it gets its name.

    `reference` predicts with the checkpoint at a size. On a `dataset` AP and latency of both are measured.
    int8 takes its ranges from `typical` images.
    NAME.proof.json beside the file says what was found. Raises Rejected where the file is out of tolerance;
    then it is NAME.rejected, and what NAME held before is as it was. ValueError for a name that does not end
    as the target's do, OSError where it cannot be written.
    """
    path, make = Path(path), TARGETS[artifact.target]
    if target_of(path) is not make:
        raise ValueError(f"{path}: expected a name that ends with {make.suffix}")
    with workspace(path) as folder:
        candidate = folder / path.name
        with writing(path, OSError):
            if artifact.precision == "int8":
                assert make.to_int8 is not None
                source = folder / f"float{make.suffix}"
                make.write(model, artifact, source)
                make.to_int8(source, artifact, candidate, Feeds(artifact, typical))
            else:
                make.write(model, artifact, candidate)
        proof = prove(
            candidate,
            model,
            images,
            reference,
            dataset=dataset,
            tolerance=make.tolerances[artifact.precision],
            progress=progress,
        )
        final = path if proof.passed else path.with_name(f"{path.name}.rejected")
        with writing(path, OSError):
            if len(parts(candidate)) > 1:
                final.unlink(missing_ok=True)  # old and new parts never lie there as one
            for part, name in reversed(list(zip(parts(candidate), parts(final), strict=True))):
                part.replace(name)
        write_proof(proof, final)
    if not proof.passed:
        faults = "; ".join(proof.faults)
        drift = f" {proof.drift}." if proof.drift else ""
        raise Rejected(
            f"{path}: not written, since what the file says differs from the checkpoint: {faults}.{drift} "
            f"The file is {final.name}, all numbers are in {final.name}.proof.json",
            proof,
        )
    return proof


def prove(
    path: Path,
    model: DFine,
    images: Sequence[np.ndarray],
    reference: PredictorAt,
    *,
    dataset: "AnnotatedImages | None" = None,
    tolerance: Tolerance,
    progress: bool = False,
) -> Proof:
    """Compares an artifact, in its own runtime, with the model it was made from."""
    make = target_of(path)
    assert make is not None
    detector = ExportedDetector(make.engine(path))
    artifact = detector.artifact
    checks, likenesses, undecided, failing = compare_all(
        artifact, reference, detector.predictor, images, tolerance
    )
    compared: list[Likeness | Check] = [*likenesses, *checks]
    faults = [f"{one.what}: {fault}" for one in compared for fault in one.faults]
    table = None
    if dataset is not None and not faults:
        rows = {"checkpoint": reference(artifact.size), "artifact": detector.predictor()}
        table = measure(dataset, rows, progress=progress)
        lost = table["checkpoint"]["AP"] - table["artifact"]["AP"]
        if not (abs(lost) if tolerance.alike is None else lost) <= tolerance.ap:
            faults.append(f"AP differs by {lost:.4f}, at most {tolerance.ap} is allowed")
    drift = None
    if failing:
        steps, inputs = partial(make.steps, path), inputs_of(artifact, failing)
        share = tolerance.alike.share if tolerance.alike else 1.0
        drift = str(first_drift(model, artifact, steps, inputs, tolerance.inner, share))
    return Proof(
        passed=not faults,
        faults=tuple(faults),
        drift=drift,
        artifact=file_hash(path),
        checkpoint=artifact.checkpoint,
        images=images_hash(images),
        undecided=undecided,
        tolerance=tolerance,
        likeness=tuple(likenesses),
        checks=tuple(checks),
        table=table,
        engine=detector.engine.name,
        versions=versions("numpy", "pillow", *make.needed(artifact.precision)),
    )


@contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """A folder beside `path` for files that have no name yet; it is gone afterwards, whatever happens.

    OSError, naming `path`, where nothing can be written there.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
