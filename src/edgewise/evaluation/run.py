"""Scoring any callable on annotated images: what is scored are the very `Detections` a user gets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track

from edgewise.detections import Detections
from edgewise.evaluation.coco import Metrics, coco_metrics
from edgewise.evaluation.matching import Truth, to_xywh, truths
from edgewise.processes import ALONE, Processes
from edgewise.sample import Sample

Predict = Callable[[list[np.ndarray]], list[Detections]]  # RGB uint8 [H, W, 3] each, one Detections each
Answer = TypeVar("Answer")


@runtime_checkable
class AnnotatedImages(Protocol):
    """What evaluation asks of a dataset: images one by one, and their annotations in COCO's form."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Those of `annotations`, by label."""

    @property
    def image_ids(self) -> tuple[int, ...]:
        """Those of `annotations`, by index."""

    @property
    def annotations(self) -> dict[str, Any]:
        """The COCO dictionary, crowd regions included."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class Part:
    """Some images of a data set, by their places in it."""

    def __init__(self, of: AnnotatedImages, places: Sequence[int]) -> None:
        self._of, self._places = of, places
        self.class_names, self.category_ids = of.class_names, of.category_ids
        self.image_ids = tuple(of.image_ids[place] for place in places)
        own = set(self.image_ids)
        self.annotations: dict[str, Any] = of.annotations | {
            "images": [one for one in of.annotations["images"] if one["id"] in own],
            "annotations": [one for one in of.annotations["annotations"] if one["image_id"] in own],
        }

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        return self._of[self._places[index]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics and what they were computed from: one Detections an image, in the dataset's order.

    Of several processes all have the metrics, and the main one alone the detections.
    """

    metrics: Metrics
    detections: tuple[Detections, ...] = field(repr=False)


def evaluate(
    dataset: AnnotatedImages,
    predict: Predict,
    *,
    batch: int = 8,
    progress: bool = False,
    processes: Processes = ALONE,
    watch: Callable[[Sample, Detections], None] | None = None,
) -> Evaluation:
    """Metrics of `predict` over all images of `dataset`, called with `batch` images at a time.

    All detections are passed to COCO's metric, which scores the best 100 of a class in an image: a
    predictor should not cut by score. Classes are matched by name; their order may differ. The detections
    that are kept carry the image's path as their `source`, not the image, and no edges; `watch` sees them
    first, as they come. `progress` shows a bar.
    Several `processes` share the batches, which are those of one process, and so are the numbers.
    ValueError where the class names of predictor and dataset are not the same, or where `predict` does not
    return one Detections an image.
    """
    kept: list[Detections] = []
    rows: list[np.ndarray] = []
    for sample, result in looked_at(
        dataset, predict, "evaluating", batch=batch, progress=progress, processes=processes
    ):
        rows.append(coco_rows(result, sample.image_id, categories_of(result.class_names, dataset)))
        if watch is not None:
            watch(sample, result)
        kept.append(replace(result, source=sample.path or None, edges=None))
    parts = processes.gathered((rows, kept))  # by rank, so in the dataset's order
    every = np.concatenate([NO_ROWS, *(one for part, _ in parts for one in part)])
    metrics = coco_metrics(dataset.annotations, every) if processes.main else None
    return Evaluation(processes.told(metrics), tuple(one for _, part in parts for one in part))


NO_ROWS = np.zeros((0, 7))


def looked_at(
    dataset: AnnotatedImages,
    predict: Callable[[list[np.ndarray]], Sequence[Answer]],
    doing: str,
    *,
    batch: int,
    progress: bool,
    processes: Processes = ALONE,
) -> Iterator[tuple[Sample, Answer]]:
    """Every image with what `predict` says of it, asked for `batch` at a time; `doing` names the bar.

    Of several `processes` each has its share of the batches. ValueError unless there is one answer an image.
    """
    console = Console(stderr=True)  # results alone go to stdout
    starts = range(0, len(dataset), batch)
    own = [starts[i] for i in processes.share(len(starts))]
    for start in track(own, doing, console=console, disable=not (progress and processes.main)):
        samples = [dataset[index] for index in range(start, min(start + batch, len(dataset)))]
        answers = predict([sample.image for sample in samples])
        if len(answers) != len(samples):
            raise ValueError(f"predict returned {len(answers)} results for {len(samples)} images")
        yield from zip(samples, answers, strict=True)


def labels_of(class_names: tuple[str, ...], dataset: AnnotatedImages) -> Int[np.ndarray, " C"]:
    """The dataset's label for each of the predictor's. ValueError where the names are not the same."""
    label_of = {name: label for label, name in enumerate(dataset.class_names)}
    if set(class_names) != set(label_of):
        raise ValueError(
            f"the predictor's classes are {_listed(class_names)}; the dataset's are "
            f"{_listed(dataset.class_names)}; expected the same names: "
            f"{_difference('only the predictor has', set(class_names) - set(label_of))}"
            f"{_difference('only the dataset has', set(label_of) - set(class_names))}"
            "rename the classes of one, or train on this dataset"
        )
    return np.array([label_of[name] for name in class_names], np.int64)


def categories_of(class_names: tuple[str, ...], dataset: AnnotatedImages) -> Int[np.ndarray, " C"]:
    """The dataset's category id for each of the predictor's labels."""
    categories: np.ndarray = np.array(dataset.category_ids, np.int64)[labels_of(class_names, dataset)]
    return categories


def truths_of(dataset: AnnotatedImages) -> dict[int, Truth]:
    """The annotated boxes, by the dataset's label, of each image that has any, by image id."""
    label_of = {category: label for label, category in enumerate(dataset.category_ids)}
    return truths(
        {**one, "category_id": label_of[one["category_id"]]} for one in dataset.annotations["annotations"]
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (f" … ({len(names)} in all)" if len(names) > 10 else "")


def _difference(what: str, names: set[str]) -> str:
    return f"{what} {_listed(tuple(sorted(names)))}; " if names else ""


def coco_rows(
    detections: Detections, image_id: int, categories: Int[np.ndarray, " C"]
) -> Float[np.ndarray, "M 7"]:
    """Rows image_id, x, y, w, h, score, category_id: the very numbers of `Detections.to_coco`."""
    return np.column_stack(
        [
            np.full(len(detections), image_id, np.float64),
            to_xywh(detections.boxes_xyxy),
            detections.scores,
            categories[detections.labels],
        ]
    )
