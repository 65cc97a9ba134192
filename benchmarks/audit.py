"""Does an audit find annotations that are wrong? Some are made wrong, and the audit is asked.

    python benchmarks/audit.py benchmarks/results/bccd/best.safetensors ../shared/data/bccd --out runs/audit
    python benchmarks/audit.py dfine-n-scenes scenes --out runs/audit_scenes

A twentieth of the boxes, drawn by seed, is made wrong in one of three ways: moved by 8 % of the box's sides
in a random direction, one edge moved by 15 % of the side across, or all edges moved out or in by 8 %. Boxes
are ranked by the probability of `edgewise audit`, of the detector calibrated on the val split and as it was,
and, for comparison, by IoU with the same detections. A real set has mistakes of its own, which count as false
alarms here, in all rankings. Boxes without a detection are not found.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cyclopts
import numpy as np
import torch
from matplotlib.figure import Figure

from edgewise.api import Detector
from edgewise.cli.provenance import provenance
from edgewise.data.open import open_dataset
from edgewise.data.scenes import SceneDataset
from edgewise.detections import Detections
from edgewise.edges import OUTWARDS
from edgewise.evaluation.run import AnnotatedImages
from edgewise.overlaps import iou, sides
from edgewise.sample import Sample
from edgewise.uses.audit import Audit, Suspect, audit

SHARE = 0.05  # of the boxes
CALIBRATED, RAW, IOU = "error bars, calibrated", "error bars, raw", "IoU"
Place = tuple[int, int]  # image, box of its Sample
Harm = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # a box_xyxy [4] → a wrong one


def moved(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return box + 0.08 * sides(box) * np.tile([np.cos(angle), np.sin(angle)], 2)


def one_edge(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    edge = int(rng.integers(4))
    return box + 0.15 * rng.choice([-1, 1]) * sides(box) * np.eye(4)[edge]


def resized(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return box + 0.08 * rng.choice([-1, 1]) * sides(box) * OUTWARDS


HARMS: dict[str, Harm] = {"moved 8 %": moved, "one edge 15 %": one_edge, "resized 8 %": resized}


@dataclass(frozen=True)
class Harmed:
    """A data set some of whose boxes are wrong."""

    whole: list[Sample]
    source: AnnotatedImages
    wrong: dict[Place, np.ndarray]

    class_names = property(lambda self: self.source.class_names)
    category_ids = property(lambda self: self.source.category_ids)
    image_ids = property(lambda self: self.source.image_ids)
    annotations = property(lambda self: self.source.annotations)

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Sample:
        sample = self.whole[index]
        boxes = [self.wrong.get((index, box), own) for box, own in enumerate(sample.boxes_xyxy)]
        return replace(sample, boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4))


def harmed(source: AnnotatedImages, samples: list[Sample], harm: Harm, seed: int) -> Harmed:
    rng = np.random.default_rng(seed)
    places = [(index, box) for index, one in enumerate(samples) for box in range(len(one.labels))]
    drawn = rng.choice(len(places), round(SHARE * len(places)), replace=False)
    chosen = [places[one] for one in sorted(drawn.tolist())]
    return Harmed(samples, source, {at: harm(samples[at[0]].boxes_xyxy[at[1]], rng) for at in chosen})


def agreement(one: Suspect) -> float:
    return float(iou(np.array(one.annotated), np.array(one.predicted)))


def hits(found: Audit, wrong: dict[Place, np.ndarray], key: Callable[[Suspect], float]) -> np.ndarray:
    """Which of the boxes are wrong, by rank."""
    ranked = sorted(found.suspects, key=key)
    return np.array([(one.image, one.box) in wrong for one in ranked])


def curve(hit: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision after every rank."""
    right = np.cumsum(hit)
    return right / total, right / np.arange(1, len(hit) + 1)


def scores(hit: np.ndarray, total: int) -> dict[str, float]:
    """Average precision over all wrong boxes; precision, and so recall, at as many ranks as there are."""
    _, precision = curve(hit, total)
    return {
        "average_precision": float(precision[hit].sum() / total),
        "precision_at_k": float(hit[:total].mean()),
    }


def recorded(samples: list[Sample], detector: Detector) -> list[Detections]:
    predict = detector.predictor().predict_arrays
    return [
        one
        for start in range(0, len(samples), 8)
        for one in predict([s.image for s in samples[start : start + 8]])
    ]


def replayed(found: list[Detections]) -> Callable[[list[np.ndarray]], list[Detections]]:
    """A `predict` that has seen the images before, in this order."""
    rest: Iterator[Detections] = iter(found)
    return lambda images: [next(rest) for _ in images]


def improbability(one: Suspect) -> float:
    return one.probability


RANKINGS: dict[str, Callable[[Suspect], float]] = {
    CALIBRATED: improbability,
    RAW: improbability,
    IOU: agreement,
}
Hits = dict[str, dict[str, list[np.ndarray]]]  # by mistake, ranking and seed


def measured(
    source: AnnotatedImages, samples: list[Sample], detector: Detector, seeds: int
) -> tuple[Hits, int]:
    """What every ranking finds of every kind of mistake; and how many boxes are wrong each time."""
    calibrated, raw = (recorded(samples, one) for one in (detector, detector.uncalibrated()))
    found: Hits = {harm: {name: [] for name in RANKINGS} for harm in HARMS}
    for harm, spoil in HARMS.items():
        for seed in range(seeds):
            bad = harmed(source, samples, spoil, seed)
            by_raw = audit(bad, replayed(raw))
            audits = {CALIBRATED: audit(bad, replayed(calibrated)), RAW: by_raw, IOU: by_raw}
            for name, key in RANKINGS.items():
                found[harm][name].append(hits(audits[name], bad.wrong, key))
    return found, len(bad.wrong)


def plot(found: Hits, total: int, path: Path) -> None:
    """Precision over recall of each ranking, a panel a kind of mistake; the mean over seeds at each rank."""
    figure = Figure(figsize=(4 * len(found), 3.8), dpi=130, layout="constrained")
    for axes, (harm, rankings) in zip(
        figure.subplots(1, len(found), sharey=True), found.items(), strict=True
    ):
        for (name, seeds), colour in zip(rankings.items(), ("C0", "C9", "C1"), strict=True):
            ranks = min(map(len, seeds))
            axes.plot(*curve(np.mean([hit[:ranks] for hit in seeds], 0), total), label=name, color=colour)
        axes.axhline(SHARE, color="0.7", linewidth=1, linestyle=":", label="chance")
        axes.set(title=harm, xlabel="recall", xlim=(0, 1), ylim=(0, 1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("precision")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path)


def table(mistakes: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    lines = ["| mistake | ranking | average precision | precision at k |", "|---|---|---|---|"]
    for harm, rankings in mistakes.items():
        for name, seeds in rankings.items():
            columns = ([one[key] for one in seeds] for key in ("average_precision", "precision_at_k"))
            cells = (f"{np.mean(column):.3f} ± {np.std(column, ddof=1):.3f}" for column in columns)
            lines.append(f"| {harm} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    checkpoint: str,
    data: str,
    *,
    split: str = "test",
    count: int = 200,
    seeds: int = 5,
    out: Path = Path("runs/audit"),
) -> None:
    """Writes result.json, table.md and curves.png into OUT. DATA is a data set; "scenes" are COUNT scenes."""
    torch.set_num_threads(1)
    detector = Detector.from_pretrained(checkpoint, device="cpu")
    scenes = data == "scenes"
    if detector.calibration is None:
        detector.calibrate(SceneDataset(count, 0, "val") if scenes else data)
    source = SceneDataset(count, 0, split) if scenes else open_dataset(data, split)
    samples = [source[index] for index in range(len(source))]
    found, total = measured(source, samples, detector, seeds)
    mistakes = {
        harm: {name: [scores(hit, total) for hit in seeds] for name, seeds in rankings.items()}
        for harm, rankings in found.items()
    }
    result = {
        "checkpoint": str(checkpoint),
        "data": data,
        "split": split,
        "images": len(samples),
        "boxes": sum(len(one.labels) for one in samples),
        "wrong": total,
        "mistakes": mistakes,
        **provenance(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (out / "table.md").write_text(table(mistakes), encoding="utf-8")
    plot(found, total, out / "curves.png")
    print(table(mistakes))


if __name__ == "__main__":
    cyclopts.run(main)
