"""Random detection problems small enough to be seen whole, and pycocotools' answer to them."""

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def random_case(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Annotations and detections with image and category ids from 0: ties, crowds, empty images."""
    rng = np.random.default_rng(seed)
    num_images, num_classes = int(rng.integers(1, 6)), int(rng.integers(1, 9))
    scale = float(rng.choice([2, 15, 60]))
    whole = bool(rng.random() < 0.5)  # integer boxes tie more often

    def boxes(count: int) -> np.ndarray:
        found = np.concatenate([rng.uniform(0, 4, (count, 2)), rng.uniform(0.5, 4, (count, 2))], 1) * scale
        return np.ceil(found) if whole else found

    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image_id in range(num_images):
        truth = boxes(int(rng.integers(0, 7)) * int(rng.random() < 0.8))
        labels = rng.integers(0, max(1, num_classes - 1), len(truth))  # mostly one class without boxes
        for box, label in zip(truth, labels, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(label),
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3] * rng.uniform(0.5, 1)),
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
        near = truth + rng.normal(0, 0.1 * scale, truth.shape) * (not whole)
        near[:, 2:] = near[:, 2:].clip(min=0.1)
        candidates = np.concatenate([near, near, boxes(int(rng.integers(0, 5)))])
        found = np.concatenate(
            [labels, labels, rng.integers(0, num_classes, len(candidates) - 2 * len(labels))]
        )
        kept = rng.random(len(candidates)) < 0.7
        for box, label in zip(candidates[kept], found[kept], strict=True):
            detections.append(
                {
                    "image_id": image_id,
                    "category_id": int(label),
                    "bbox": box.tolist(),
                    "score": float(np.round(rng.random(), int(rng.choice([1, 4])))),
                }
            )
    images = [{"id": i, "width": 640, "height": 480} for i in range(num_images)]
    categories = [{"id": i, "name": f"class {i}"} for i in range(num_classes)]
    return {"images": images, "annotations": annotations, "categories": categories}, detections


def pycocotools_eval(annotations: dict[str, Any], detections: list[dict[str, Any]]) -> COCOeval:
    """The reference evaluator after `summarize`: `.stats` are the twelve numbers, -1 where undefined."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = annotations
        truth.createIndex()
        if detections:
            found = truth.loadRes(detections)
        else:  # loadRes fails on none
            found = COCO()
            found.dataset = {**annotations, "annotations": []}
            found.createIndex()
        evaluator = COCOeval(truth, found, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator
