"""Checks of a data set before training on it: classes, units, and ground truth scored as predictions.

Each returns a `Finding`, or raises ValueError with the reason and the way out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from edgewise.bins import bin_values
from edgewise.boxes import cxcywh_to_xyxy
from edgewise.config import DecoderConfig
from edgewise.data.collate import collate
from edgewise.data.problems import fractions
from edgewise.decode import decode
from edgewise.detections import Detections, Geometry
from edgewise.evaluation.coco import RECALLS, Metrics, coco_metrics
from edgewise.evaluation.matching import to_xyxy
from edgewise.evaluation.run import AnnotatedImages, Part, categories_of, coco_rows
from edgewise.recipe import counted
from edgewise.sample import Sample
from edgewise.structures import Targets

Verdict = Literal["ok", "warning", "skipped"]

SCORED_IMAGES = 32  # that are decoded to be scored; the fullest and one of each class come first
MOST_SCORED = 100  # detections of a class in an image that COCO's metric reads
LISTED_CLASSES = 6
SMALL_SIDE = 4  # pixels of the model's input, of the median box; the finest feature map has stride 8


@dataclass(frozen=True)
class Finding:
    """What a check has to say where training may go on."""

    verdict: Verdict
    text: str


# ── classes ────────────────────────────────────────────────────────────────────────────────────────


def boxes_by_class(dataset: AnnotatedImages) -> dict[str, int]:
    """How many boxes each class has, crowd regions apart, by name in the order of labels."""
    counts = Counter(one["category_id"] for one in _boxes(dataset))
    return {
        name: counts[category]
        for name, category in zip(dataset.class_names, dataset.category_ids, strict=True)
    }


def check_classes(train_set: AnnotatedImages, val_set: AnnotatedImages | None) -> Finding:
    """The class map: label, name, id in the file, boxes in both splits.

    Raises ValueError for a split without images or without boxes.
    """
    train = _counted(train_set, "training")
    val = {} if val_set is None else _counted(val_set, "validation")
    rows = [
        f"{label} {name} (id {category}): {train[name]}" + (f" + {val.get(name, 0)}" if val_set else "")
        for label, (name, category) in enumerate(
            zip(train_set.class_names, train_set.category_ids, strict=True)
        )
    ]
    more = [f"… {len(rows) - LISTED_CLASSES} more"] * (len(rows) > LISTED_CLASSES)
    columns = "label name (id in the file): training" + (" + validation boxes" if val_set else " boxes")
    text = f"{columns}; {', '.join(rows[:LISTED_CLASSES] + more)}"
    untaught = [name for name, count in train.items() if not count]
    unseen = [name for name in train if val_set and not val.get(name) and train[name]]
    notes = []
    if untaught:
        notes.append(f"no training box, so never found: {_listed(untaught)}")
    if unseen:
        notes.append(f"no validation box, so not scored: {_listed(unseen)}")
    if val_set is not None:
        notes += _other_ids(train_set, val_set)
    return Finding("warning" if notes else "ok", "; ".join([text, *notes]))


def _counted(dataset: AnnotatedImages, split: str) -> dict[str, int]:
    counts = boxes_by_class(dataset)
    if not len(dataset):
        raise ValueError(f"the {split} split has no images; expected at least one. {_WAY_OUT[split]}")
    if not sum(counts.values()):
        found = f"none of the {len(dataset)} images of the {split} split has a box: {_EMPTY[split]}"
        raise ValueError(f"{found}. {_WAY_OUT[split]}")
    return counts


_EMPTY = {
    "training": "there is nothing to learn",
    "validation": "AP is undefined, and no epoch would be the best",
}
_WAY_OUT = {
    "training": "Check that the annotations belong to these images and are where they are expected",
    "validation": "Add images with boxes to it, or leave the split out to have one made or do without",
}


def _other_ids(train_set: AnnotatedImages, val_set: AnnotatedImages) -> list[str]:
    """Classes are matched by name, so other numbers are no fault, but they may tell of one."""
    other = dict(zip(val_set.class_names, val_set.category_ids, strict=True))
    moved = [
        f"{name} is {category} and {other[name]}"
        for name, category in zip(train_set.class_names, train_set.category_ids, strict=True)
        if other.get(name, category) != category
    ]
    return [f"ids differ between the splits, names count: {_listed(moved)}"] if moved else []


# ── units ──────────────────────────────────────────────────────────────────────────────────────────


def check_annotated_boxes(dataset: AnnotatedImages, size: tuple[int, int]) -> Finding:
    """How large the annotated boxes are, in their images and at the `size` of training.

    Raises ValueError where all of them look like fractions of the image.
    """
    sizes = {one["id"]: (one["width"], one["height"]) for one in dataset.annotations["images"]}
    found = [one for one in _boxes(dataset) if one["image_id"] in sizes]
    boxes = np.array([one["bbox"] for one in found], np.float64).reshape(-1, 4)
    images = np.array([sizes[one["image_id"]] for one in found], np.float64).reshape(-1, 2)
    if unlike := fractions(to_xyxy(boxes), images):
        raise ValueError(unlike)
    share = boxes[:, 2:] / images
    pixels = share * (size[1], size[0])
    typical, lost = np.median(share, 0), int(np.less(pixels, 1).any(1).sum())
    side = float(np.median(np.sqrt(pixels.prod(1))))
    text = (
        f"{len(boxes)} in {counted(len(dataset), 'image')}; the median is {typical[0]:.1%} x "
        f"{typical[1]:.1%} of its image, a side of {side:.0f} px at {size[0]}x{size[1]} (height x width)"
    )
    if lost:
        text += f"; {lost} below a pixel there are not trained"
    if side < SMALL_SIDE:
        return Finding("warning", f"{text}; that is small: take a larger size, or cut the images into tiles")
    if typical.min() > 0.98:
        return Finding("warning", f"{text}; most boxes are the whole image")
    return Finding("warning" if lost else "ok", text)


def check_targets(targets: Targets) -> Finding:
    """That the boxes of a batch are what the losses take them for: cxcywh, as fractions of the image.

    Raises ValueError, naming the first box that is not.
    """
    corners = cxcywh_to_xyxy(targets.boxes)
    wrong = ((corners < -1e-3) | (corners > 1 + 1e-3) | ~corners.isfinite()).any(1)
    if wrong.any():
        first = int(wrong.int().argmax())
        given = [round(float(value), 4) for value in targets.boxes[first]]
        raise ValueError(
            f"{int(wrong.sum())} of {len(corners)} boxes of the first batch leave their image; the first, of "
            f"image number {int(targets.image[first])}, is {given} as centre and sides. Expected fractions "
            "of the image from 0 to 1. The picture shows the batch: are the annotations in other units, of "
            "another format, or of other images?"
        )
    if not len(corners):
        return Finding("warning", f"no box in a batch of {counted(len(targets.counts), 'image')}")
    sides = targets.boxes[:, 2:].prod(1).sqrt()
    return Finding(
        "ok",
        f"{len(corners)} boxes in {counted(len(targets.counts), 'image')}, all within [0, 1], median side "
        f"{float(sides.median()):.3f}",
    )


# ── ground truth as predictions ────────────────────────────────────────────────────────────────────


def check_ground_truth(
    dataset: AnnotatedImages,
    split: str,
    class_names: tuple[str, ...],
    decoder: DecoderConfig,
    size: tuple[int, int],
) -> Finding:
    """AP of the data set's own boxes, given back as if a model of `class_names` had predicted them.

    The boxes of up to SCORED_IMAGES images go the whole way: Sample, training targets, what a perfect model
    would put out at the training `size`, decode, Detections, category ids, COCO's metric. That gives 1.0,
    or exactly the ceiling that follows from the number of queries, the metric's 100 detections of a class,
    and boxes below a pixel. Raises ValueError for any other number: then the classes, the ids or the boxes
    of samples and annotations are not the same.
    """
    indices = _chosen(dataset)
    categories = categories_of(class_names, dataset)
    rows = [np.zeros((0, 7))]
    for index in indices:
        sample = dataset[index]
        answer = _perfect(sample, dataset.class_names, class_names, decoder, size, split)
        rows.append(coco_rows(answer, sample.image_id, categories))
    truth, found = Part(dataset, indices).annotations, np.concatenate(rows)
    metrics = coco_metrics(truth, found)
    wanted = Counter(one["category_id"] for one in truth["annotations"] if not one.get("iscrowd"))
    reached = _reached(found)
    ceiling = _ceiling(reached, wanted)
    if not abs(metrics.ap - ceiling) < 1e-6:
        names = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
        raise ValueError(
            f"the {split} split's own boxes, scored as predictions, give AP {metrics.ap:.4f} where "
            f"{ceiling:.4f} is possible: {_why(reached, wanted, names, metrics)}. Trained on this, AP would "
            "stay low however well the model learns: correct labels, category ids and image ids"
        )
    images = counted(len(indices), f"{split} image")
    text = f"{metrics.count} boxes of {images} scored as predictions: AP {metrics.ap:.3f}"
    most = max(Counter(one["image_id"] for one in _boxes(dataset)).values(), default=0)
    if most > decoder.num_queries:
        text += f"; {most} boxes in an image, but the model has {decoder.num_queries} queries"
    if ceiling < 1:
        text += f", the ceiling: {wanted.total() - reached.total()} boxes are out of reach"
    return Finding("ok" if ceiling == 1 and most <= decoder.num_queries else "warning", text)


def _perfect(
    sample: Sample,
    own_names: tuple[str, ...],
    class_names: tuple[str, ...],
    decoder: DecoderConfig,
    size: tuple[int, int],
    split: str,
) -> Detections:
    """What `decode` makes of a model that is sure of a sample's training targets and of nothing else."""
    targets = collate([sample], size).targets
    labels = targets.labels.numpy()[: decoder.num_queries]
    if len(labels) and (labels.min() < 0 or labels.max() >= len(own_names)):
        raise ValueError(
            f"{sample.path or f'image {sample.image_id}'}: labels from {labels.min()} to {labels.max()} in "
            f"the {split} split; expected 0 to {len(own_names) - 1}, the places of its class_names"
        )
    to_label = np.array([class_names.index(name) for name in own_names])
    logits = np.full((decoder.num_queries, len(class_names)), -30, np.float32)
    boxes = np.full((decoder.num_queries, 4), 0.5, np.float32)
    logits[np.arange(len(labels)), to_label[labels]] = 30
    boxes[: len(labels)] = targets.boxes.numpy()[: decoder.num_queries]
    return decode(
        logits,
        boxes,
        np.zeros((*boxes.shape, decoder.num_bins + 1), np.float32),
        boxes,
        Geometry(sample.size, size),
        values=bin_values(decoder.num_bins, decoder.a, decoder.c),
        class_names=class_names,
        threshold=0.5,
    )


def _chosen(dataset: AnnotatedImages) -> list[int]:
    """The image with the most boxes, one of each class, and others evenly; SCORED_IMAGES at most."""
    index_of = {image_id: index for index, image_id in enumerate(dataset.image_ids)}
    full = Counter(one["image_id"] for one in _boxes(dataset)).most_common(1)
    of_class = {one["category_id"]: one["image_id"] for one in reversed(_boxes(dataset))}
    first = [index_of[image_id] for image_id in (*(one for one, _ in full), *of_class.values())]
    evenly = np.linspace(0, len(dataset) - 1, min(len(dataset), SCORED_IMAGES)).round().astype(int)
    return list(dict.fromkeys([*first, *evenly.tolist()]))[:SCORED_IMAGES]


def _reached(rows: Float[np.ndarray, "M 7"]) -> Counter[int]:
    """How many rows of each category the metric reads."""
    given = Counter(zip(rows[:, 0].astype(int).tolist(), rows[:, 6].astype(int).tolist(), strict=True))
    reached: Counter[int] = Counter()
    for (_, category), count in given.items():
        reached[category] += min(count, MOST_SCORED)
    return reached


def _ceiling(reached: Counter[int], wanted: Counter[int]) -> float:
    """AP if every row finds a box: COCO's mean over recalls, of which the last are out of reach.

    Of a class with n boxes of which k are reached, precision is 1 up to the recall k / n.
    """
    shares = [(min(count, reached[one]) / count >= RECALLS).mean() for one, count in wanted.items()]
    return float(np.mean(shares))


def _why(reached: Counter[int], wanted: Counter[int], names: dict[int, str], metrics: Metrics) -> str:
    """What differs between samples and annotations, as far as counting can tell."""
    differing = [
        f"{name} {reached[category]} and {wanted[category]}"
        for category, name in names.items()
        if reached[category] != wanted[category]
    ]
    if differing:
        return f"boxes in samples and in annotations differ, {_listed(differing)}"
    worst = min((one for one in metrics.per_class.items() if one[1].count), key=lambda one: one[1].ap)
    return f"as many boxes of each class, but in other places (worst: {worst[0]}, AP {worst[1].ap:.3f})"


# ── small things ───────────────────────────────────────────────────────────────────────────────────


def _boxes(dataset: AnnotatedImages) -> list[dict[str, Any]]:
    """Annotations but for crowd regions."""
    return [one for one in dataset.annotations["annotations"] if not one.get("iscrowd")]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:5]) + (f" … ({len(words)} in all)" if len(words) > 5 else "")
