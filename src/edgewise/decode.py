"""What the model says about one image, in numpy, to Detections: top-k, pixels, error bars. No torch."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from edgewise.detections import Detections, Geometry


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
) -> Detections:
    """The `max_detections` best (query, class) pairs that score at least `threshold`, best first.

    `threshold` is one for all classes, or one a class, by label. A query may appear under several classes;
    nothing is suppressed and no box is clipped. `boxes` and `initial_boxes` are cxcywh in [0, 1]; `values`
    is W(n) in sides of the initial box (`edgewise.bins.bin_values`). Raises ValueError where a logit is
    not a number.
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
    query, label = np.divmod(best, num_classes)
    enough = scores >= np.broadcast_to(threshold, num_classes)[label]
    query, label, scores = query[enough], label[enough], scores[enough]
    sides = np.tile(np.maximum(initial_boxes[query, 2:], 0), 2) * geometry.scale  # [M, 4] in pixels
    return Detections(
        boxes_xyxy=geometry.to_pixels(boxes[query]),
        scores=scores,
        labels=label,
        edge_std=offset_std(edge_logits[query], values) * sides,
        size=geometry.original_size,
        class_names=class_names,
        category_ids=category_ids,
        source=source,
    )


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


def offset_std(
    edge_logits: Float[np.ndarray, "*b 4 n"], values: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "*b 4"]:
    """Standard deviation of each edge's offset under its distribution, in sides of the initial box.

    `edgewise.distributions.offset_std` in numpy.
    """
    values = values.astype(edge_logits.dtype)
    probs = np.exp(edge_logits - edge_logits.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    mean = probs @ values
    std: np.ndarray = np.sqrt((np.square(values - mean[..., None]) * probs).sum(-1))
    return std
