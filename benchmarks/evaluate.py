"""Seconds that COCO's numbers take after the last image, against pycocotools on the same boxes.

    python benchmarks/evaluate.py
    python benchmarks/evaluate.py 200 --repeats 3 --out runs/evaluate.json

Made-up annotations like COCO's (80 classes, about 7 boxes an image) and 100 detections an image, most of them
near a box. Ours includes what pycocotools does not compute: F1 over the score thresholds of every class, and
duplicates. Both must give the same twelve numbers, or the benchmark stops.
"""

import contextlib
import io
from functools import partial
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from speed import RESULTS, alternated, curves, facts, medians, once, times_faster, walls, write

from edgewise.evaluation.coco import coco_metrics

COUNTS = (100, 500, 1000, 5000)
THEIRS, OURS = "pycocotools", "edgewise"
SIDE, CLASSES, FOUND = 640, 80, 100


def drawn(images: int) -> tuple[dict[str, Any], np.ndarray]:
    """Annotations, and rows image_id, x, y, w, h, score, category_id of detections."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    rows = []
    for image in range(1, images + 1):
        count = 1 + rng.poisson(6.3)
        sides = np.exp(rng.uniform(np.log(8), np.log(SIDE / 2), (count, 2)))
        boxes = np.concatenate([rng.random((count, 2)) * (SIDE - sides), sides], 1)
        labels = rng.integers(1, CLASSES + 1, count)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": label, "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
        near = rng.integers(count, size=FOUND)
        shifts = rng.normal(0, rng.exponential(0.15, (FOUND, 1)), (FOUND, 4)) * np.tile(sides[near], 2)
        placed = boxes[near] + shifts
        placed[:, 2:] = placed[:, 2:].clip(1)
        called = np.where(rng.random(FOUND) < 0.8, labels[near], rng.integers(1, CLASSES + 1, FOUND))
        rows.append(np.column_stack([np.full(FOUND, image), placed, rng.random(FOUND), called]))
    categories = [{"id": one, "name": f"class {one}"} for one in range(1, CLASSES + 1)]
    pictures = [{"id": one, "width": SIDE, "height": SIDE} for one in range(1, images + 1)]
    return {"images": pictures, "annotations": annotations, "categories": categories}, np.concatenate(rows)


def theirs(annotations: dict[str, Any], rows: np.ndarray) -> list[float]:
    """The twelve numbers of pycocotools, -1 where undefined."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = annotations
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(one) for one in evaluator.stats]


def ours(annotations: dict[str, Any], rows: np.ndarray) -> list[float]:
    """The same in their order, NaN where undefined."""
    metrics = coco_metrics(annotations, rows)
    sizes = ("small", "medium", "large")
    names = ["ap", "ap50", "ap75", *(f"ap_{one}" for one in sizes), "ar1", "ar10", "ar100"]
    return [getattr(metrics, name) for name in [*names, *(f"ar_{one}" for one in sizes)]]


def main(*counts: int, repeats: int = 5, out: Path = RESULTS / "evaluate.json") -> None:
    """COUNTS are images, by default from 100 to 5,000."""
    result: dict[str, Any] = {"facts": facts(), "detections_an_image": FOUND, "images": {}}
    for count in counts or COUNTS:
        given = drawn(count)
        work = {THEIRS: partial(theirs, *given), OURS: partial(ours, *given)}
        said = {name: compute() for name, compute in work.items()}  # which warms up
        apart = float(np.abs(np.nan_to_num(said[OURS], nan=-1) - said[THEIRS]).max())
        if not apart <= 1e-9:
            raise SystemExit(f"{count} images: the twelve numbers differ by up to {apart:.2g}: {said}")
        times = alternated({name: once(one, "metrics") for name, one in work.items()}, repeats, warm=0)
        ratio = times_faster(times[THEIRS], times[OURS])
        result["images"][count] = {"parts": times, "times_faster": ratio, "numbers_apart": apart}
        print(
            f"{count} images: {THEIRS} {medians(times[THEIRS])}, {OURS} {medians(times[OURS])}, "
            f"times faster {ratio}, numbers apart {apart:.1g}",
            flush=True,
        )
    result["load_after"] = facts()["load"]
    write(result, out)
    title = f"COCO's numbers, {FOUND} detections an image"
    curves(walls(result["images"]), title, "images", "seconds", out.with_suffix(".png"))


if __name__ == "__main__":
    cyclopts.run(main)
