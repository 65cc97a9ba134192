"""The proof: an artifact in its own runtime against the checkpoint it was made from, on real images."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgewise.artifact import Artifact, parts
from edgewise.checkpoint import Checkpoint, atomic_write
from edgewise.detections import Detections
from edgewise.export.compare import Check, Likeness, Tolerance, check, likeness
from edgewise.plain import from_plain, versioned
from edgewise.predict.predictor import Predictor
from edgewise.preprocess import resize
from edgewise.runtime.bench import SCORE, alternating

if TYPE_CHECKING:
    from edgewise.evaluation.run import AnnotatedImages

BATCHES = (1, 2, 8)
REPEATS = 20  # of what is timed
GAP = 1e-4  # between the last query and the first that is none, in logits; rounding stays ten times below
VERSION = 1

PredictorAt = Callable[[tuple[int, int]], Predictor]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The verdict on an artifact, as it is written beside it.

    `artifact`, `checkpoint` and `images` are sha256; `checks` what was compared, `undecided` how many images
    were left out because rounding decides there which cells become queries. `drift` says where a failed
    artifact leaves its checkpoint. `table` compares artifact and checkpoint on annotated data, where given.
    """

    version: int = VERSION
    passed: bool
    faults: tuple[str, ...]
    drift: str | None = None
    artifact: str
    checkpoint: str
    images: str
    undecided: int = 0
    tolerance: Tolerance = field(default_factory=Tolerance)
    checks: tuple[Check, ...]
    likeness: tuple[Likeness, ...] = ()
    table: dict[str, dict[str, float]] | None = None
    engine: str
    versions: dict[str, str]

    def __str__(self) -> str:
        """A table: a line a check, then what is wrong, then AP and latency."""
        first = "against each alone" if self.likeness else ""
        rows = [(first, "pairs", "box px", "99.9 %", "score", "edge_std px")] + [
            (
                one.what,
                f"{one.pairs}",
                f"{one.box_px:.2g}",
                f"{one.box_px_999:.2g}",
                f"{one.score:.1g}",
                f"{one.edge_std_px:.2g}",
            )
            for one in self.checks
        ]
        lines = _aligned(rows)
        if self.likeness:
            what = ("against the checkpoint", "sure", "found again", "median px", "shift px", "score")
            alike = [
                (
                    one.what,
                    f"{one.sure}",
                    f"{one.share:.1%}",
                    f"{one.median_px:.2g}",
                    f"{one.shift_px:.2g}",
                    f"{one.score:.1g}",
                )
                for one in self.likeness
            ]
            lines = [*_aligned([what, *alike]), "", *lines]
        if self.undecided:
            lines.append(
                f"left out: {self.undecided} of the images, where rounding decides what becomes a query"
            )
        if self.table is not None:
            names = list(next(iter(self.table.values())))
            cells = [
                (who, *(f"{numbers[name]:.4g}" for name in names)) for who, numbers in self.table.items()
            ]
            lines += ["", *_aligned([("", *names), *cells])]
        lines += ["", f"{'passed' if self.passed else 'FAILED'} in {self.engine}", *self.faults]
        return "\n".join(lines + ([self.drift] if self.drift else []))


def proof_path(artifact: Path) -> Path:
    """NAME.proof.json beside the artifact NAME."""
    return artifact.with_name(f"{artifact.name}.proof.json")


def write_proof(proof: Proof, artifact: Path) -> None:
    """Writes it beside its artifact."""
    text = json.dumps(asdict(proof), indent=1) + "\n"
    atomic_write(proof_path(artifact), lambda path: path.write_text(text, encoding="utf-8"))


def read_proof(artifact: str | Path) -> Proof:
    """The verdict on an artifact. FileNotFoundError without one, ValueError where it is of another file."""
    artifact = Path(artifact)
    path = proof_path(artifact)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: not there, so {artifact.name} is not proven; export it anew"
        ) from None
    proof = from_plain(Proof, versioned(text, VERSION, str(path), f"export {artifact.name}"), str(path))
    if proof.artifact != file_hash(artifact):
        raise ValueError(
            f"{path}: this proof is of another file than {artifact.name}, which was changed or replaced "
            "since; export it anew"
        )
    return proof


def file_hash(path: Path) -> str:
    """sha256 of a file, and of the weights beside it where its runtime keeps them apart (.bin of .xml)."""
    digest = hashlib.sha256()
    for part in parts(path):
        digest.update(part.read_bytes())
    return digest.hexdigest()


def fingerprint(checkpoint: Checkpoint) -> str:
    """sha256 of what a checkpoint computes with: settings, class names, weights."""
    digest = hashlib.sha256(checkpoint.config.model_dump_json().encode())
    digest.update(json.dumps(checkpoint.class_names).encode())
    for name, weight in sorted(checkpoint.weights.items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def compare_all(
    artifact: Artifact,
    reference: PredictorAt,
    exported: PredictorAt,
    images: Sequence[np.ndarray],
    tolerance: Tolerance,
) -> tuple[list[Check], list[Likeness], int, list[np.ndarray]]:
    """Every check of the proof; how many images were left out; and the images of the first that failed.

    Batches of 1, 2 and 8, at two sizes where the size is free, and one image in all slots of a batch. With
    `tolerance.alike` batches are compared with the artifact's own answer to each image alone, and that with
    the checkpoint.
    """
    if artifact.resize_inside and len({image.shape for image in images}) > 1:
        same_size = [
            resize(image, images[0].shape[:2]) for image in images
        ]  # a batch holds images of one size
    else:
        same_size = list(images)
    checks: list[Check] = []
    resembling: list[Likeness] = []
    undecided = 0
    for size in sizes(artifact):
        own, other = reference(size), exported(size)
        truth: _Truth | _Alone = _Truth(own, artifact.max_detections)
        if tolerance.alike is not None:
            alone = _Alone(other, artifact.max_detections)
            expected, found = ([one(image) for image in images] for one in (truth, alone))
            name = f"{size[0]}x{size[1]}"
            resembling.append(likeness(name, expected, found, size, tolerance.alike))
            if resembling[-1].faults:
                return checks, resembling, undecided, same_size[:1]
            truth = alone
        for batch in BATCHES:
            group = list(images) if batch == 1 else _cycled(same_size, max(batch, 4))
            kept = [image for image in group if truth.decided(image)]
            undecided += (len(group) - len(kept)) * (batch == 1)
            if not kept:
                raise ValueError(
                    f"in all {len(group)} images rounding decides which cells become queries, so they prove "
                    "nothing; give others with images= or --images"
                )
            kept = _cycled(kept, len(group))
            found = [
                one
                for start in range(0, len(kept), batch)
                for one in other.predict_arrays(kept[start : start + batch], 0.0, artifact.max_detections)
            ]
            name = f"batch {batch}, {size[0]}x{size[1]}"
            checks.append(check(name, [truth(image) for image in kept], found, tolerance))
            if checks[-1].faults:
                return checks, resembling, undecided, kept[:batch]
        most = max(BATCHES)
        found = other.predict_arrays([kept[0]] * most, 0.0, artifact.max_detections)
        name = f"one image in {most} slots, {size[0]}x{size[1]}"
        checks.append(check(name, [truth(kept[0])] * most, found, tolerance))
        if checks[-1].faults:
            return checks, resembling, undecided, [kept[0]] * most
    return checks, resembling, undecided, []


def sizes(artifact: Artifact) -> list[tuple[int, int]]:
    """Those to prove: its own, and where it takes others, one of another shape."""
    height, width = artifact.size
    other = (height + 64 if height < 192 else height - 64, width + 32)
    return [artifact.size, other] if artifact.dynamic_size else [artifact.size]


class _Truth:
    """What the checkpoint says of an image by itself, computed once."""

    def __init__(self, predictor: Predictor, count: int) -> None:
        self._predictor, self._count = predictor, count
        self._known: dict[int, tuple[np.ndarray, Detections, float]] = {}

    def __call__(self, image: np.ndarray) -> Detections:
        return self._of(image)[1]

    def decided(self, image: np.ndarray) -> bool:
        """Whether rounding leaves open which cells become queries."""
        return self._of(image)[2] >= GAP

    def _of(self, image: np.ndarray) -> tuple[np.ndarray, Detections, float]:
        if id(image) not in self._known:
            gaps: list[float] = []
            decoder = self._predictor.model.decoder  # type: ignore[attr-defined]
            count = decoder.config.num_queries

            def watch(_module: Any, _inputs: Any, logits: torch.Tensor) -> None:
                best = logits[0].amax(-1).topk(min(count + 1, logits.shape[1])).values
                gaps.append(float(best[count - 1] - best[count]) if len(best) > count else np.inf)

            handle = decoder.enc_score_head.register_forward_hook(watch)
            try:
                found = self._predictor.predict_arrays([image], 0.0, self._count)[0]
            finally:
                handle.remove()
            self._known[id(image)] = image, found, gaps[0]
        return self._known[id(image)]


class _Alone:
    """What an artifact says of an image by itself, computed once."""

    def __init__(self, predictor: Predictor, count: int) -> None:
        self._predictor, self._count = predictor, count
        self._known: dict[int, tuple[np.ndarray, Detections]] = {}

    def __call__(self, image: np.ndarray) -> Detections:
        if id(image) not in self._known:
            self._known[id(image)] = image, self._predictor.predict_arrays([image], 0.0, self._count)[0]
        return self._known[id(image)][1]

    def decided(self, image: np.ndarray) -> bool:
        """Which cells become queries is decided for all batches alike, or a check says that it is not."""
        return True


def measure(
    dataset: "AnnotatedImages", rows: dict[str, Predictor], *, progress: bool = False
) -> dict[str, dict[str, float]]:
    """AP, AP50 and milliseconds an image, pixels to Detections at batch 1, of each predictor by name.

    Medians of turns that alternate, so that a busy machine slows all alike.
    """
    from edgewise.evaluation.run import evaluate

    table: dict[str, dict[str, float]] = {}
    for name, predictor in rows.items():
        found = evaluate(dataset, predictor.predict_arrays, batch=1, progress=progress).metrics
        table[name] = {"AP": float(found.ap), "AP50": float(found.ap50)}
    images = [dataset[0].image]
    turns = [{"whole": partial(one.predict_arrays, images, SCORE)} for one in rows.values()]
    for name, taken in zip(rows, alternating(turns, REPEATS), strict=True):
        ms = 1000 * np.array(taken["whole"])
        table[name] |= {"ms": float(np.median(ms)), "least ms": float(ms.min())}
    return table


def images_hash(images: Sequence[np.ndarray]) -> str:
    """sha256 of pixels and shapes."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Of this package and torch, and of others."""
    return {name: metadata.version(name) for name in ("edgewise", "torch", *packages)}


def _cycled(images: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    return [images[i % len(images)] for i in range(count)]


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
