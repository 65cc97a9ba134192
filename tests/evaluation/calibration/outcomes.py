"""What a detector might have done, drawn from known error bars."""

import numpy as np

from edgewise.bins import bin_values
from edgewise.edges import EdgeDistributions
from edgewise.evaluation.calibration.pairs import EdgePairs, Outcome, Verdicts

VALUES = bin_values(32)


def pairs(count: int = 400, images: int = 40, scale: float = 2.0, seed: int = 0) -> EdgePairs:
    """Edges whose errors are Laplace with `scale` times the standard deviation of their distributions."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 200, (count, 2)), rng.uniform(30, 90, (count, 2))
    boxes, sides = np.concatenate([corner, corner + size], 1), np.tile(size, 2)
    sigma = np.exp(rng.uniform(np.log(0.5), np.log(5), (count, 4)))
    edges = EdgeDistributions.of(
        -np.square(VALUES / (sigma / sides)[..., None]) / 2, VALUES, boxes.copy(), sides
    )
    return EdgePairs(
        boxes_xyxy=boxes,
        true_xyxy=boxes + rng.laplace(0, scale * edges.std / np.sqrt(2)),
        edges=edges,
        spread=edges.std,
        scores=rng.uniform(0.5, 1, count),
        labels=rng.integers(0, 2, count),
        image=np.sort(rng.integers(0, images, count)),
        num_images=images,
        unmatched=7,
        missed=9,
    )


def verdicts(count: int = 2000, images: int = 40, seed: int = 0) -> Verdicts:
    """Scores that claim too much: s is right with the chance s²."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, count)
    iou = np.where(rng.random(count) < scores**2, rng.uniform(0.5, 1, count), 0)
    labels, image = rng.integers(0, 2, count), rng.integers(0, images, count)
    return Verdicts(scores, labels, image, iou, np.maximum(iou, 0.1), labels[iou > 0], image[iou > 0])


def outcome(count: int = 400, images: int = 40, scale: float = 2.0, seed: int = 0) -> Outcome:
    return Outcome(pairs(count, images, scale, seed), verdicts(5 * count, images, seed))
