"""COCO's numbers by hotcoco, and beside them what COCO leaves out: what a score threshold does."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import isnan, nan
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich import box
from rich.table import Table
from rich.text import Text

from edgewise.evaluation.f1 import THRESHOLDS, ThresholdCurves, judged, peak, threshold_curves
from edgewise.evaluation.matching import duplicate_rate, truths
from edgewise.extras import require
from edgewise.thresholds import Thresholds

RECALLS = np.linspace(0, 1, 101)  # where a precision curve is sampled


@dataclass(frozen=True)
class ClassMetrics:
    """One class. Everything but `count` is nan where the class has no boxes to find.

    `ap`, `ap50`, `ap75`, `ar100` as in `Metrics`; `count`: boxes to find, crowd regions apart; `best_f1`:
    the highest F1 at IoU 0.5 that a score threshold can give, `best_threshold`: that threshold, the middle
    one where many give the same; `best_precision` and `best_recall`: those at this threshold. `precision`
    is COCO's interpolated precision at IoU 0.5 at each of `RECALLS` (its mean is `ap50`), `curves` what is
    right at each of `THRESHOLDS`.
    """

    ap: float
    ap50: float
    ap75: float
    ar100: float
    count: int
    best_f1: float
    best_threshold: float
    best_precision: float
    best_recall: float
    precision: Float[np.ndarray, " 101"] = field(repr=False, compare=False)
    curves: ThresholdCurves = field(repr=False, compare=False)


@dataclass(frozen=True)
class Metrics:
    """COCO's twelve numbers for boxes, in [0, 1], and the same by class name.

    `ap` is the mean over classes and over IoU thresholds 0.50, 0.55 … 0.95; `ap50` and `ap75` are at one
    threshold; small, medium and large are annotations with an `area` up to 32², up to 96² and above;
    `ar1`, `ar10`, `ar100` are the mean recall with that many detections of a class in an image. A number
    that is undefined because there are no such boxes is nan (COCO's own tools print -1); classes without
    boxes are in no mean. `duplicate_rate`: the share of detections scored at least `best_threshold` that
    overlap a better one of their class by an IoU of 0.7 or more; a model without suppression of its own
    should keep it near zero. `honesty`: the numbers of `evaluation.calibration.honesty` with a `summary` in
    words; None where it was not measured, or nothing was found.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    duplicate_rate: float
    per_class: dict[str, ClassMetrics]
    num_images: int
    honesty: dict[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def count(self) -> int:
        """Boxes to find, crowd regions apart."""
        return sum(one.count for one in self.per_class.values())

    @property
    def precision(self) -> Float[np.ndarray, " 101"]:
        """Mean over classes of the precision at IoU 0.5, at each of `RECALLS`."""
        return _mean_curve([one.precision for one in self._defined], RECALLS)

    @property
    def f1(self) -> Float[np.ndarray, " 1001"]:
        """Mean over classes of the F1 at IoU 0.5, at each of `THRESHOLDS`."""
        return _mean_curve([one.curves.f1 for one in self._defined], THRESHOLDS)

    @property
    def best_f1(self) -> float:
        """The highest mean F1 that one score threshold for all classes can give."""
        return peak(self.f1)[0]

    @property
    def best_threshold(self) -> float:
        """The score threshold that gives `best_f1`."""
        return peak(self.f1)[1]

    @property
    def best_precision(self) -> float:
        """Mean over classes of the precision at `best_threshold`, of those with detections there."""
        return _mean_at([one.curves.precision for one in self._defined], self.best_threshold)

    @property
    def best_recall(self) -> float:
        """Mean over classes of the recall at `best_threshold`."""
        return _mean_at([one.curves.recall for one in self._defined], self.best_threshold)

    @property
    def _defined(self) -> list[ClassMetrics]:
        return [one for one in self.per_class.values() if one.count]

    def thresholds(self, class_names: Sequence[str], split: str) -> Thresholds | None:
        """Those of best F1, by label of `class_names`, for a checkpoint; None where nothing was found."""
        return Thresholds.of(self.to_dict(), class_names, split)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain JSON values, without the curves; None where undefined."""
        whole = {name: _plain(getattr(self, name)) for name in _NUMBERS}
        whole |= {name: _plain(getattr(self, name)) for name in _AT_BEST}
        whole |= {"count": self.count, "num_images": self.num_images}
        per_class = {
            name: {key: _plain(getattr(one, key)) for key in CLASS_COLUMNS}
            for name, one in self.per_class.items()
        }
        honesty = {} if self.honesty is None else {"honesty": self.honesty}
        return {**whole, "per_class": per_class, **honesty}

    def table(self) -> Table:
        """One row a class and one for all, for `rich.print`; a dash where undefined."""
        table = Table(
            title=f"boxes: {self.count}, images: {self.num_images}",
            caption=f"AP small {_show(self.ap_small)}, medium {_show(self.ap_medium)}, "
            f"large {_show(self.ap_large)}; duplicates {_percent(self.duplicate_rate)}\n"
            "F1, precision and recall at IoU 0.5 and the score threshold of the best F1"
            + ("" if self.honesty is None else f"\n{self.honesty['summary']}"),
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),  # so that a terminal of 80 columns has room for names
        )
        table.add_column("class", overflow="fold")
        for heading in ("boxes", "AP", "AP50", "AP75", "AR", "F1", "score", "prec.", "recall"):
            table.add_column(heading, justify="right", no_wrap=True)
        for name, one in self.per_class.items():
            table.add_row(Text(name), *_row(one))  # a name in brackets is no markup
        table.add_section()
        table.add_row("all", *_row(self), style="bold")
        return table


_NUMBERS = tuple(key.name for key in fields(Metrics) if key.type is float)
CLASS_COLUMNS = tuple(key.name for key in fields(ClassMetrics) if key.compare)
_AT_BEST = ("best_f1", "best_threshold", "best_precision", "best_recall")


def _mean_curve(curves: list[np.ndarray], grid: np.ndarray) -> np.ndarray:
    return np.mean(curves, axis=0) if curves else np.full(len(grid), nan)


def _mean_at(curves: list[np.ndarray], threshold: float) -> float:
    """The mean of what is defined of the curves at one of `THRESHOLDS`; nan where nothing is."""
    if isnan(threshold):
        return nan
    values = np.array([curve[np.searchsorted(THRESHOLDS, threshold)] for curve in curves])
    return float(values[~np.isnan(values)].mean())


def _row(one: ClassMetrics | Metrics) -> list[str]:
    names = ("ap", "ap50", "ap75", "ar100", *_AT_BEST)
    return [str(one.count), *(_show(getattr(one, name)) for name in names)]


def _show(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "–" if isnan(value) else f"{value:.1%}"


def _plain(value: float | int) -> float | int | None:
    return None if isnan(value) else value


def coco_metrics(
    annotations: dict[str, Any], detections: Sequence[dict[str, Any]] | Float[np.ndarray, "M 7"]
) -> Metrics:
    """Metrics of COCO detections against a COCO annotation dictionary.

    Detections are COCO result entries (image_id, category_id, bbox = x, y, w, h in pixels, score) or, as
    COCO's tools allow too, their rows image_id, x, y, w, h, score, category_id. Of each class the best 100
    in an image are scored. In annotations `iscrowd` may be missing (0), so may `area` (that of the box);
    those of images that are not listed are left out; their ids are not read, so that the id 0, which
    pycocotools loses, counts.
    ValueError for a box or score that is not finite, for an image or category that is not in
    `annotations`, and for two categories of one name.
    """
    categories = sorted(annotations["categories"], key=lambda one: one["id"])
    names = [str(one["name"]) for one in categories]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"annotations: two categories are named {double!r}; metrics go by class name")
    image_ids = sorted({one["id"] for one in annotations["images"]})
    position = {image_id: index for index, image_id in enumerate(image_ids)}
    label_of = {one["id"]: label for label, one in enumerate(categories)}

    rows = _rows(detections, position, label_of)
    boxes = [
        {**_box(one, label_of), "id": number, "image_id": position[one["image_id"]]}
        for number, one in enumerate(annotations["annotations"], 1)
        if one["image_id"] in position
    ]
    precision, recall = _accumulate(boxes, rows, len(image_ids), names)
    all_areas, small, medium, large = range(4)
    per_class = _per_class(names, precision[..., all_areas], recall[..., all_areas, 2], boxes, rows)
    shared = peak(_mean_curve([one.curves.f1 for one in per_class.values() if one.count], THRESHOLDS))[1]
    return Metrics(
        ap=_mean(precision[..., all_areas]),
        ap50=_mean(precision[0, ..., all_areas]),
        ap75=_mean(precision[5, ..., all_areas]),
        ap_small=_mean(precision[..., small]),
        ap_medium=_mean(precision[..., medium]),
        ap_large=_mean(precision[..., large]),
        ar1=_mean(recall[..., all_areas, 0]),
        ar10=_mean(recall[..., all_areas, 1]),
        ar100=_mean(recall[..., all_areas, 2]),
        ar_small=_mean(recall[..., small, 2]),
        ar_medium=_mean(recall[..., medium, 2]),
        ar_large=_mean(recall[..., large, 2]),
        duplicate_rate=duplicate_rate(rows, shared),
        per_class=per_class,
        num_images=len(image_ids),
    )


def _box(annotation: dict[str, Any], label_of: dict[Any, int]) -> dict[str, Any]:
    """What the metric reads of an annotation, with the label as its category."""
    category, box = annotation["category_id"], annotation["bbox"]
    if category not in label_of:
        raise ValueError(
            f"annotations: the box {box} of image {annotation['image_id']} has category_id {category}; "
            f"the categories are {_few(label_of)}"
        )
    return {
        "category_id": label_of[category],
        "bbox": box,
        "area": annotation.get("area", box[2] * box[3]),
        "iscrowd": annotation.get("iscrowd", 0),
    }


def _rows(
    detections: Sequence[dict[str, Any]] | Float[np.ndarray, "M 7"],
    position: dict[Any, int],
    label_of: dict[Any, int],
) -> Float[np.ndarray, "M 7"]:
    """Rows of COCO's form with the image's position for its id and the label for the category's."""
    if isinstance(detections, np.ndarray):
        images, values, categories = detections[:, 0], detections[:, 1:6], detections[:, 6]
    else:
        images = np.array([one["image_id"] for one in detections])
        values = np.array([[*one["bbox"], one["score"]] for one in detections], np.float64).reshape(-1, 5)
        categories = np.array([one["category_id"] for one in detections])
    finite = np.isfinite(values).all(1)
    if not finite.all():
        index = int(np.argmin(finite))
        raise ValueError(
            f"detection {index}, of image {images[index]}: box {values[index, :4].tolist()} with score "
            f"{values[index, 4]}; expected finite numbers"
        )
    return np.column_stack(
        [
            _positions(images, position, "image_id", "images"),
            values,
            _positions(categories, label_of, "category_id", "categories"),
        ]
    )


def _positions(ids: np.ndarray, position: dict[Any, int], key: str, listed: str) -> Int[np.ndarray, " M"]:
    known, inverse = np.unique(ids, return_inverse=True)
    if known.dtype.kind == "f" and (known >= 2**53).any():
        raise ValueError(
            f"{key} {known.max():.0f} in a row of floats, which cannot tell numbers from 2^53 on apart; "
            f"number the {listed} anew, or give detections as dictionaries"
        )
    for one in known.tolist():
        if one not in position:
            index = int(np.argmax(ids == one))
            given = f"{one:.0f}" if isinstance(one, float) else one
            raise ValueError(
                f"detection {index} has {key} {given}, which the annotations do not have; "
                f"their {listed} are {_few(position)}"
            )
    return np.array([position[one] for one in known.tolist()], np.int64)[inverse]


def _few(ids: dict[Any, int]) -> str:
    listed = ", ".join(map(str, list(ids)[:10]))
    return f"{listed} … ({len(ids)} in all)" if len(ids) > 10 else listed or "none"


def _accumulate(
    boxes: list[dict[str, Any]], rows: Float[np.ndarray, "M 7"], num_images: int, names: list[str]
) -> tuple[Float[np.ndarray, "10 101 C 4"], Float[np.ndarray, "10 C 4 3"]]:
    """Precision [IoU, recall, class, area] of the best 100 and recall [IoU, class, area, best 1, 10, 100].

    -1 where a class has no boxes of that area.
    """
    hotcoco = require("hotcoco", "evaluate")
    truth = hotcoco.COCO(
        {
            "images": [{"id": index} for index in range(num_images)],
            "annotations": boxes,
            "categories": [{"id": label, "name": name} for label, name in enumerate(names)],
        }
    )
    evaluator = hotcoco.COCOeval(truth, truth.load_res(rows), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator.eval["precision"][..., 2], evaluator.eval["recall"]


def _mean(values: np.ndarray) -> float:
    """Over the values that are defined; nan where none is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else nan


def _per_class(
    names: list[str],
    precision: Float[np.ndarray, "10 101 C"],
    recall: Float[np.ndarray, "10 C"],
    boxes: list[dict[str, Any]],
    rows: Float[np.ndarray, "M 7"],
) -> dict[str, ClassMetrics]:
    counts = np.bincount([one["category_id"] for one in boxes if not one["iscrowd"]], minlength=len(names))
    labels, scores, right = judged(truths(boxes), rows)
    per_class = {}
    for label, name in enumerate(names):
        mine, count = labels == label, int(counts[label])
        curves = threshold_curves(scores[mine], right[mine], count)
        best_f1, best_threshold = peak(curves.f1)
        curve = precision[0, :, label]
        per_class[name] = ClassMetrics(
            ap=_mean(precision[..., label]),
            ap50=_mean(curve),
            ap75=_mean(precision[5, :, label]),
            ar100=_mean(recall[:, label]),
            count=count,
            best_f1=best_f1,
            best_threshold=best_threshold,
            best_precision=_mean_at([curves.precision], best_threshold),
            best_recall=_mean_at([curves.recall], best_threshold),
            precision=np.where(curve > -1, curve, nan),
            curves=curves,
        )
    return per_class
