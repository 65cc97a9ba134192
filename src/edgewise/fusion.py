"""Objects seen several times, in tiles or mirrored, to one Detections: the surer an edge, the more it counts.

Torch-free. The mean of several sightings weighted by 1/spread² is the best linear estimate of an edge where
errors have those spreads. It is per edge: a view that cuts an object off still counts for its other edges.
But it counts less: a spread is of an object that is there as seen, and the score says how likely that is.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from edgewise import overlaps
from edgewise.detections import Detections
from edgewise.overlaps import area, common, sides

Predict = Callable[[list[np.ndarray]], list[Detections]]  # RGB uint8 [H, W, 3] each, one Detections each
Window = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the whole image

SHARED = 0.1  # of the smaller box: what two windows must both see of an object to compare it
CUT = 0.02  # of a window's side: an edge so near to where the window cuts the image may be the cut's
LEAST_SPREAD = 1e-3  # pixels: no edge is surer
LEAST_SCORE = 1e-6  # no sighting counts for nothing


def fuse(
    views: Sequence[Detections], windows: Sequence[Window] | None = None, *, iou: float = 0.5
) -> Detections:
    """One Detections of several views of one image, best first; all in pixels of the whole image.

    `windows` are what each view saw of it, by default everything. Boxes of a class that overlap by at least
    `iou`, within what both views see, are one object; a view shows an object once. Greedy by score.

    An edge is the mean weighted by (score / edge_std)². Its spread is the weighted mean of the spreads, as
    for errors that go together (it is the same model that looks at the same object, so views do not cancel
    them), plus the scatter of the views around the mean. The score is the mean over views, each weighted by
    the share of the box in its window; a view that does not show the object counts as 0.

    ValueError for no views, or for views of different sizes or classes.
    """
    first, windows = _checked(views, windows)
    frames = np.array(windows, np.float64).reshape(-1, 4)  # [V, 4]
    boxes, std, scores, labels = (
        np.concatenate([getattr(view, name) for view in views])
        for name in ("boxes_xyxy", "edge_std", "scores", "labels")
    )
    view = np.repeat(np.arange(len(views)), [len(one) for one in views])  # [N]
    agree = _overlap(boxes, frames[view]) * (labels[:, None] == labels)
    groups = _groups(agree >= iou, agree, scores, view)
    fused = [_fused(*(one[rows].astype(np.float64) for one in (boxes, std, scores))) for rows in groups]
    edges = np.array([edge for edge, _ in fused]).reshape(-1, 4)
    seen = _share(edges[:, None], frames)  # [K, V]
    said = np.array([(seen[k, view[rows]] * scores[rows]).sum() for k, rows in enumerate(groups)])
    mean_scores = said / np.maximum(seen.sum(1), np.finfo(np.float64).tiny)
    order = np.argsort(-mean_scores, kind="stable")
    return replace(
        first,
        boxes_xyxy=edges[order].astype(first.boxes_xyxy.dtype),
        scores=mean_scores[order].astype(first.scores.dtype),
        labels=np.array([labels[rows[0]] for rows in groups], first.labels.dtype)[order],
        edge_std=np.array([spread for _, spread in fused]).reshape(-1, 4)[order].astype(first.edge_std.dtype),
        calibration=first.calibration if all(one.calibrated for one in views) else None,
        edges=None,
    )


def predict_mirrored(predict: Predict, image: UInt8[np.ndarray, "H W 3"], *, iou: float = 0.5) -> Detections:
    """An image and its mirror image, fused: twice the time for better edges.

    `predict` is that of a predictor with a low threshold (`Detector.predictor().predict_arrays`): an object
    should be seen in both.
    """
    straight, turned = predict([image, np.ascontiguousarray(image[:, ::-1])])
    return fuse([straight, mirrored(turned)], iou=iou)


def predict_tiles(
    predict: Predict,
    image: UInt8[np.ndarray, "H W 3"],
    *,
    grid: tuple[int, int] = (2, 2),
    overlap: float = 0.25,
    iou: float = 0.5,
) -> Detections:
    """An image seen in `grid` (rows, columns) tiles that overlap by a share of their sides, fused.

    For images with objects too small for the model's input. See `predict_mirrored` for `predict`.
    """
    size = (image.shape[0], image.shape[1])
    windows = tile_windows(size, grid, overlap)
    parts = predict([np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in windows])
    return fuse(
        [placed(part, window, size) for part, window in zip(parts, windows, strict=True)], windows, iou=iou
    )


def tile_windows(size: tuple[int, int], grid: tuple[int, int], overlap: float) -> list[Window]:
    """`grid` (rows, columns) windows that cover an image of `size` (height, width), in reading order.

    Neighbours overlap by the share `overlap` of a tile's side, in [0, 1); all are of one size.
    """
    if min(grid) < 1 or not 0 <= overlap < 1:
        raise ValueError(
            f"grid {grid}, overlap {overlap}: expected rows and columns from 1, overlap in [0, 1)"
        )
    spans = []
    for side, count in zip(size, grid, strict=True):
        tile = min(side, round(side / (count - (count - 1) * overlap)))
        starts = np.linspace(0, side - tile, count).round().astype(int).tolist()
        spans.append([(start, start + tile) for start in starts])
    return [(x1, y1, x2, y2) for y1, y2 in spans[0] for x1, x2 in spans[1]]


def placed(detections: Detections, window: Window, size: tuple[int, int]) -> Detections:
    """Detections of a window of an image of `size`, in the frame of that image.

    An edge where the window cuts the image is the cut's and not the object's, however sure the model is of
    it: its spread becomes at least the side of the box.
    """
    x1, y1, x2, y2 = window
    if detections.size != (y2 - y1, x2 - x1):
        height, width = detections.size
        raise ValueError(
            f"detections in {height}x{width} for a window of {y2 - y1}x{x2 - x1} (height x width)"
        )
    height, width = size
    boxes = detections.boxes_xyxy + np.array([x1, y1, x1, y1], detections.boxes_xyxy.dtype)
    inner = np.array([x1 > 0, y1 > 0, x2 < width, y2 < height])
    near = CUT * np.array([x2 - x1, y2 - y1] * 2)
    cut = inner & (np.abs(boxes - np.array(window)) <= near)
    std = np.where(cut, np.maximum(detections.edge_std, sides(boxes)), detections.edge_std)
    return replace(
        detections,
        boxes_xyxy=boxes,
        edge_std=std.astype(detections.edge_std.dtype),
        size=size,
        source=None,
        edges=None,
    )


def mirrored(detections: Detections) -> Detections:
    """Detections of an image as those of its mirror image, left for right."""
    width = detections.size[1]
    boxes = detections.boxes_xyxy.copy()
    boxes[:, [0, 2]] = width - detections.boxes_xyxy[:, [2, 0]]
    std = detections.edge_std[:, [2, 1, 0, 3]]
    return replace(detections, boxes_xyxy=boxes, edge_std=std, source=None, edges=None)


def _checked(
    views: Sequence[Detections], windows: Sequence[Window] | None
) -> tuple[Detections, Sequence[Window]]:
    """The first view, and every window. ValueError where they do not fit together."""
    if not views:
        raise ValueError("no views to fuse; expected at least one Detections")
    first = views[0]
    for one in views[1:]:
        if one.size != first.size or one.class_names != first.class_names:
            raise ValueError(
                f"views of {first!r} and {one!r}: expected one size and the same class_names; bring those of "
                "tiles into the frame of the whole image with fusion.placed"
            )
    height, width = first.size
    windows = [(0, 0, width, height)] * len(views) if windows is None else windows
    if len(windows) != len(views):
        raise ValueError(f"{len(windows)} windows for {len(views)} views; expected one each")
    return first, windows


def _fused(
    boxes: Float[np.ndarray, "n 4"], std: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " 4"], Float[np.ndarray, " 4"]]:
    """Edges of one object and their spreads, from n sightings of it."""
    std = np.maximum(std, LEAST_SPREAD)
    weight = (np.maximum(scores, LEAST_SCORE)[:, None] / std) ** 2
    weight /= weight.sum(0)
    mean = (weight * boxes).sum(0)
    spread = np.hypot((weight * std).sum(0), np.sqrt((weight * (boxes - mean) ** 2).sum(0)))
    return mean, spread


def _groups(
    joins: Bool[np.ndarray, "N N"],
    agree: Float[np.ndarray, "N N"],
    scores: Float[np.ndarray, " N"],
    view: Int[np.ndarray, " N"],
) -> list[Int[np.ndarray, " n"]]:
    """Rows of one object each, the best first: each joins the group, new to its view, it agrees with most."""
    group = np.full(len(scores), -1)
    members: list[list[int]] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        others = np.flatnonzero(joins[row] & (group >= 0))
        for other in others[np.argsort(-agree[row, others], kind="stable")].tolist():
            if all(view[member] != view[row] for member in members[group[other]]):
                group[row] = group[other]
                members[group[row]].append(row)
                break
        else:
            group[row] = len(members)
            members.append([row])
    return [np.array(rows) for rows in members]


def _overlap(boxes: Float[np.ndarray, "N 4"], frames: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N N"]:
    """IoU of what both frames of a pair see of its boxes; 0 where that is too little of the smaller one."""
    both = common(frames[:, None], frames)  # [N, N, 4]
    one, other = common(boxes[:, None], both), common(boxes, both)
    whole, seen = area(boxes), np.minimum(area(one), area(other))
    enough = seen >= SHARED * np.minimum(whole[:, None], whole)
    return np.where(enough, overlaps.iou(one, other), 0)


def _share(boxes: Float[np.ndarray, "K 1 4"], frames: Float[np.ndarray, "V 4"]) -> Float[np.ndarray, "K V"]:
    """The share of each box that lies in each frame; of one without area, or outside of all, 1 in each."""
    share = area(common(boxes, frames)) / np.maximum(area(boxes), np.finfo(np.float64).tiny)
    return np.where(share.sum(1, keepdims=True) > 0, share, 1.0)
