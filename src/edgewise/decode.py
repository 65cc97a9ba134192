"""What the model says about one image, in numpy, to Detections: top-k, pixels, error bars. No torch."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from edgewise.detections import Detections, Geometry
from edgewise.edges import OUTWARDS, EdgeDistributions

if TYPE_CHECKING:
    from edgewise.calibration import Calibration


def decode(
    logits: Float[np.ndarray, "Q C"],
    boxes: Float[np.ndarray, "Q 4"],
    edge_logits: Float[np.ndarray, "Q 4 n"],
    initial_boxes: Float[np.ndarray, "Q 4"],
    geometry: Geometry,
    *,
    values: Float[np.ndarray, " n"],
    class_names: tuple[str, ...],
    category_ids: tuple[int, ...] | None = None,
    threshold: float | Float[np.ndarray, " C"] = 0.0,
    max_detections: int = 300,
    source: str | Path | np.ndarray | None = None,
    calibration: "Calibration | None" = None,
    edges: bool = False,
) -> Detections:
    """The `max_detections` best (query, class) pairs that score at least `threshold`, best first.

    `threshold` is one for all classes, or one a class, by label. A query may appear under several classes;
    nothing is suppressed and no box is clipped. `boxes` and `initial_boxes` are cxcywh in [0, 1]; `values`
    is W(n) in sides of the initial box (`edgewise.bins.bin_values`). A `calibration` makes the error bars
    those that it promises, and the scores where it has a curve for them; `threshold` is on these. Boxes
    stay what they are. With `edges`, the distributions are kept, as the model gave them. Raises ValueError
    where a logit is not a number.
    """
    num_classes = logits.shape[1]
    if num_classes != len(class_names):
        raise ValueError(
            f"logits of {num_classes} classes but {len(class_names)} class_names; expected one each"
        )
    if np.isnan(logits).any():
        bad = int(np.isnan(logits).any(1).sum())
        raise ValueError(
            f"the class logits of {bad} of {len(logits)} queries are not numbers (nan); "
            "the weights are broken, or the model overflows at this precision: try float32"
        )
    best = top_k(logits.reshape(-1), max_detections)
    scores = sigmoid(logits.reshape(-1)[best])
    if calibration is not None and calibration.score is not None:
        scores = calibration.score.apply(scores)
    query, label = np.divmod(best, num_classes)
    enough = scores >= np.broadcast_to(threshold, num_classes)[label]
    query, label, scores = query[enough], label[enough], scores[enough]
    boxes_xyxy = geometry.to_pixels(boxes[query])
    raw = edge_distributions(edge_logits[query], initial_boxes[query], geometry, values)
    return Detections(
        boxes_xyxy=boxes_xyxy,
        scores=scores,
        labels=label,
        edge_std=calibrated_std(raw, boxes_xyxy, calibration),
        size=geometry.original_size,
        class_names=class_names,
        category_ids=category_ids,
        source=source,
        calibration=calibration,
        edges=raw if edges else None,
    )


def edge_distributions(
    edge_logits: Float[np.ndarray, "M 4 n"],
    initial_boxes: Float[np.ndarray, "M 4"],
    geometry: Geometry,
    values: Float[np.ndarray, " n"],
) -> EdgeDistributions:
    """What the model says of each edge, in pixels of the original image; negative initial sides are none."""
    sides = np.tile(np.maximum(initial_boxes[:, 2:], 0), 2)
    origin = np.tile(initial_boxes[:, :2], 2) + OUTWARDS.astype(sides.dtype) * sides / 2
    return EdgeDistributions.of(edge_logits, values, origin * geometry.scale, sides * geometry.scale)


def calibrated_std(
    edges: EdgeDistributions, boxes_xyxy: Float[np.ndarray, "M 4"], calibration: "Calibration | None"
) -> Float[np.ndarray, "M 4"]:
    """Standard deviations in pixels: those of the distributions, or what a calibration makes of them."""
    if calibration is None:
        return edges.std
    return calibration.spread(edges.tempered(calibration.temperature).std, boxes_xyxy)


def top_k(values: Float[np.ndarray, " n"], k: int) -> Int[np.ndarray, " k"]:
    """Where the k greatest values lie (all, if there are fewer), greatest first, equals in their order."""
    k = min(k, len(values))
    least = np.partition(values, -k)[-k]
    candidates = np.flatnonzero(values >= least)  # more than k where several equal the least
    return candidates[np.argsort(-values[candidates], kind="stable")[:k]]


def sigmoid(x: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """1 / (1 + exp(-x)), without overflow for any x."""
    small = np.exp(-np.abs(x))
    share: np.ndarray = np.where(x >= 0, 1, small) / (1 + small)
    return share
