"""Are edges better when each counts by how sure it is? Two views of every image, fused in several ways.

    python benchmarks/fusion.py benchmarks/results/bccd/best.safetensors ../shared/data/bccd --out runs/fusion
    python benchmarks/fusion.py dfine-n-scenes scenes --out runs/fusion_scenes

The views are the image and its mirror image, or 2x2 overlapping tiles seen at the scale of the whole image.
Compared: the whole image seen once; non-maximum suppression, which keeps the best box; the mean weighted by
score (weighted boxes fusion), also without the edges that are a tile's cut; and `edgewise.fusion.fuse`. The
means use the very groups of `fuse`, so that they differ in the weights of edges alone. Edge errors are those
of boxes found by every method (score of at least 0.3, same class, IoU of at least 0.5), in pixels; those of
scenes are against their true boxes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cyclopts
import numpy as np
import torch

from edgewise import fusion
from edgewise.api import Detector
from edgewise.cli.provenance import provenance
from edgewise.data.open import open_dataset
from edgewise.data.scenes import SceneDataset
from edgewise.detections import Detections
from edgewise.evaluation.calibration.metrics import bootstrap_means, interval95
from edgewise.evaluation.coco import coco_metrics
from edgewise.evaluation.run import NO_ROWS, AnnotatedImages, categories_of, coco_rows
from edgewise.fusion import Window, fuse, mirrored, placed
from edgewise.overlaps import pairwise_iou, sides

LEAST_SCORE = 0.02  # of detections that are fused
SURE = 0.3  # of those whose edges are compared
Views = tuple[list[Detections], list[Window] | None]
Method = Callable[[list[Detections], list[Window] | None], Detections]


# ── the other ways ─────────────────────────────────────────────────────────────────────────────────


def joined(views: Sequence[Detections]) -> Detections:
    """All rows of all views, best first."""
    rows = {
        name: np.concatenate([getattr(one, name) for one in views])
        for name in ("boxes_xyxy", "scores", "labels", "edge_std")
    }
    every = replace(views[0], **rows, edges=None)
    return every[np.argsort(-every.scores, kind="stable")]


def suppressed(views: list[Detections], windows: list[Window] | None, iou: float = 0.6) -> Detections:
    """Greedy non-maximum suppression, class by class."""
    every = joined(views)
    rivals = (pairwise_iou(every.boxes_xyxy, every.boxes_xyxy) >= iou) & (
        every.labels[:, None] == every.labels
    )
    kept = np.ones(len(every), np.bool_)
    for row in range(len(every)):
        if kept[row]:
            kept[row + 1 :] &= ~rivals[row, row + 1 :]
    return every[kept]


def by_score(views: list[Detections], windows: list[Window] | None) -> Detections:
    """`fuse` with edges weighted by score."""
    return fuse([replace(one, edge_std=_of_score(one)) for one in views], windows)


def by_score_uncut(views: list[Detections], windows: list[Window] | None) -> Detections:
    """The same, but edges that are a tile's cut do not count where another tile sees them."""
    std = [np.where(one.edge_std >= sides(one.boxes_xyxy), 1e3, _of_score(one)) for one in views]
    return fuse([replace(one, edge_std=own) for one, own in zip(views, std, strict=True)], windows)


def _of_score(one: Detections) -> np.ndarray:
    """The spreads with which `fuse`, which takes (score / spread)², weights by the score."""
    return np.repeat(np.sqrt(one.scores)[:, None], 4, 1)


ONCE, BY_SPREAD = "whole image, once", "mean by spread (fuse)"
BY_SCORE, UNCUT = "mean by score", "mean by score, but for cuts"
METHODS: dict[str, Method] = {
    "non-maximum suppression": suppressed,
    BY_SCORE: by_score,
    UNCUT: by_score_uncut,
    BY_SPREAD: fuse,
}


# ── views ──────────────────────────────────────────────────────────────────────────────────────────


def seen(detector: Detector, image: np.ndarray) -> Detections:
    return detector.predictor().predict_arrays([image], LEAST_SCORE)[0]


def mirror_views(detector: Detector, image: np.ndarray) -> Views:
    turned = seen(detector, np.ascontiguousarray(image[:, ::-1]))
    return [seen(detector, image), mirrored(turned)], None


def tile_views(detector: Detector, image: np.ndarray) -> Views:
    """Four tiles that overlap, their input as large as keeps the scale of the whole image."""
    size = (image.shape[0], image.shape[1])
    windows = fusion.tile_windows(size, (2, 2), 0.3)
    x1, y1, x2, y2 = windows[0]
    whole = detector.config.size
    tile = [
        max(32, round(side * part / full / 32) * 32)
        for side, part, full in zip(whole, (y2 - y1, x2 - x1), size, strict=True)
    ]
    predictor = detector.predictor((tile[0], tile[1]))
    parts = predictor.predict_arrays(
        [np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in windows], LEAST_SCORE
    )
    return [placed(part, window, size) for part, window in zip(parts, windows, strict=True)], windows


# ── scores ─────────────────────────────────────────────────────────────────────────────────────────


def found_edges(found: Detections, boxes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each true box the signed errors [n, 4] of its detection, nan for none, and their spreads."""
    errors, spreads = np.full((len(boxes), 4), np.nan), np.full((len(boxes), 4), np.nan)
    sure = found[found.scores >= SURE]
    if len(sure) and len(boxes):
        both = np.where(labels[:, None] == sure.labels, pairwise_iou(boxes, sure.boxes_xyxy), 0)
        best = (both >= 0.5).argmax(1)  # the best scored: a duplicate does not help
        ok = both.max(1) >= 0.5
        errors[ok] = (sure.boxes_xyxy[best] - boxes)[ok]
        spreads[ok] = sure.edge_std[best][ok]
    return errors, spreads


def measured(source: AnnotatedImages, found: dict[str, list[Detections]]) -> dict[str, dict[str, float]]:
    """For each way to find: AP, the share of boxes found, and of boxes that all ways find edges and spreads.

    `error_per_spread` is robust, from the median: 1 where a spread keeps its word.
    """
    samples = [source[index] for index in range(len(source))]
    true = [
        source.scene(index).true_boxes if isinstance(source, SceneDataset) else one.boxes_xyxy
        for index, one in enumerate(samples)
    ]
    image = np.repeat(np.arange(len(true)), [len(boxes) for boxes in true])
    numbers: dict[str, dict[str, float]] = {}
    edges: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, every in found.items():
        rows = [
            coco_rows(one, sample.image_id, categories_of(one.class_names, source))
            for one, sample in zip(every, samples, strict=True)
        ]
        metrics = coco_metrics(source.annotations, np.concatenate([NO_ROWS, *rows]))
        numbers[name] = {"ap": metrics.ap, "ap75": metrics.ap75}
        parts = zip(every, true, samples, strict=True)
        errors, spreads = zip(*(found_edges(one, boxes, at.labels) for one, boxes, at in parts), strict=True)
        edges[name] = np.abs(np.concatenate(errors)), np.concatenate(spreads)
    by_all = np.all([~np.isnan(errors[:, 0]) for errors, _ in edges.values()], axis=0)
    for name, (errors, spreads) in edges.items():
        z = errors[by_all] / np.maximum(spreads[by_all], 1e-3)
        numbers[name]["found"] = float((~np.isnan(errors[:, 0])).mean())
        numbers[name]["edge_error"] = float(errors[by_all].mean())
        numbers[name]["error_per_spread"] = float(np.sqrt(np.median(np.square(z)) / 0.455))
    less = (edges[BY_SPREAD][0] - edges[UNCUT][0])[by_all].mean(1, keepdims=True)
    low, high = interval95(bootstrap_means(less, image[by_all], len(true)))
    numbers[BY_SPREAD] |= {"edge_error_gain_low": -float(high[0]), "edge_error_gain_high": -float(low[0])}
    return numbers


def table(views: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = [
        "| views | fused by | AP | AP75 | found | mean edge error, px | error / spread |",
        "|---|---|---|---|---|---|---|",
    ]
    gains = []
    for kind, methods in views.items():
        for name, one in methods.items():
            last = "–" if name in (BY_SCORE, UNCUT) else f"{one['error_per_spread']:.2f}"
            lines.append(
                f"| {kind} | {name} | {one['ap']:.4f} | {one['ap75']:.4f} | {one['found']:.3f} "
                f"| {one['edge_error']:.3f} | {last} |"
            )
        gain = methods[UNCUT]["edge_error"] - methods[BY_SPREAD]["edge_error"]
        low, high = (methods[BY_SPREAD][f"edge_error_gain_{end}"] for end in ("low", "high"))
        gains.append(
            f"{kind}: edges by spread are {gain:.3f} px nearer than by score without cuts "
            f"(95 % of the bootstrap over images {low:.3f} to {high:.3f})."
        )
    return "\n".join([*lines, "", *gains]) + "\n"


def main(
    checkpoint: str, data: str, *, split: str = "test", count: int = 200, out: Path = Path("runs/fusion")
) -> None:
    """Writes result.json and table.md into OUT. DATA is a data set; "scenes" are COUNT scenes."""
    torch.set_num_threads(1)
    detector = Detector.from_pretrained(checkpoint, device="cpu")
    source = SceneDataset(count, 0, split) if data == "scenes" else open_dataset(data, split)
    images = [source[index].image for index in range(len(source))]
    once = {ONCE: [seen(detector, image) for image in images]}
    views = {}
    for kind, see in (("mirror image", mirror_views), ("2x2 tiles", tile_views)):
        looks = [see(detector, image) for image in images]
        fused = {name: [method(*look) for look in looks] for name, method in METHODS.items()}
        views[kind] = measured(source, once | fused)
    result = {
        "checkpoint": str(checkpoint),
        "data": data,
        "split": split,
        "images": len(source),
        "calibrated": detector.calibration is not None,
        "views": views,
        **provenance(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (out / "table.md").write_text(table(views), encoding="utf-8")
    print(table(views))


if __name__ == "__main__":
    cyclopts.run(main)
