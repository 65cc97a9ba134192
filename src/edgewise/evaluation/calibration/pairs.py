"""What honesty is fitted and measured on: detections with the boxes they found, and what else was said."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from edgewise.detections import Detections
from edgewise.edges import EdgeDistributions
from edgewise.evaluation.f1 import MAX_DETECTIONS
from edgewise.evaluation.matching import NO_TRUTH, Truth, match, to_xywh, to_xyxy
from edgewise.evaluation.run import AnnotatedImages, Predict, labels_of, looked_at, truths_of
from edgewise.overlaps import area, iou, sides
from edgewise.sample import Sample

PredictLayers = Callable[[list[np.ndarray]], Sequence[Sequence[Detections]]]  # as Predict, every layer's

IOU = 0.5  # from which on a detection has found a box


@dataclass(frozen=True, eq=False)
class EdgePairs:
    """Detections that found a box: same class, IoU at least 0.5, greedy by score, scored high enough.

    boxes_xyxy, true_xyxy [M, 4] in pixels of the original image; edges: raw distributions, M rows; spread
    [M, 4]: standard deviations as the detector gave them; scores, labels (the dataset's) and image [M],
    which counts from 0 to `num_images` - 1. Beside the M pairs, `unmatched` detections that score high
    enough found nothing, and `missed` boxes were not found; crowd regions are neither.
    """

    boxes_xyxy: Float[np.ndarray, "M 4"]
    true_xyxy: Float[np.ndarray, "M 4"]
    edges: EdgeDistributions
    spread: Float[np.ndarray, "M 4"]
    scores: Float[np.ndarray, " M"]
    labels: Int[np.ndarray, " M"]
    image: Int[np.ndarray, " M"]
    num_images: int
    unmatched: int
    missed: int

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Bool[np.ndarray, " M"] | Int[np.ndarray, " n"]) -> "EdgePairs":
        """Some of the pairs; the counts beside them stay those of the whole."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[rows],
            true_xyxy=self.true_xyxy[rows],
            edges=self.edges[rows],
            spread=self.spread[rows],
            scores=self.scores[rows],
            labels=self.labels[rows],
            image=self.image[rows],
        )

    @property
    def errors(self) -> Float[np.ndarray, "M 4"]:
        """How far each edge lies from the true one, in pixels; positive to the right and downwards."""
        errors: np.ndarray = self.boxes_xyxy - self.true_xyxy
        return errors

    @property
    def root_area(self) -> Float[np.ndarray, " M"]:
        """√(width · height) of the detections in pixels."""
        root: np.ndarray = np.sqrt(area(self.boxes_xyxy))
        return root

    @property
    def sides(self) -> Float[np.ndarray, "M 4"]:
        """Width, height, width, height of the detections in pixels."""
        return sides(self.boxes_xyxy)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Every detection that COCO scores, whatever its score: scores, labels and image [K], and what it found.

    iou [K]: with the box it found at IoU 0.5 or more, 0 where it found none; any_iou [K]: the same with the
    least overlap being enough. Detections that only found a crowd are left out. `true_label` and
    `true_image` [n]: the boxes to find, crowds apart.
    """

    scores: Float[np.ndarray, " K"]
    labels: Int[np.ndarray, " K"]
    image: Int[np.ndarray, " K"]
    iou: Float[np.ndarray, " K"]
    any_iou: Float[np.ndarray, " K"]
    true_label: Int[np.ndarray, " n"]
    true_image: Int[np.ndarray, " n"]

    @property
    def right(self) -> Bool[np.ndarray, " K"]:
        """Whether it found a box at IoU 0.5."""
        right: np.ndarray = self.iou > 0
        return right

    def of(self, scores: Float[np.ndarray, " K"]) -> "Verdicts":
        """The same with other scores."""
        return replace(self, scores=scores)

    def within(self, images: Bool[np.ndarray, " I"]) -> "Verdicts":
        """Those of some images."""
        kept, true = images[self.image], images[self.true_image]
        names = ("scores", "labels", "image", "iou", "any_iou")
        some = {name: getattr(self, name)[kept] for name in names}
        return Verdicts(**some, true_label=self.true_label[true], true_image=self.true_image[true])


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that a detector did on a data set, as far as honesty is concerned."""

    pairs: EdgePairs
    verdicts: Verdicts


class Collector:
    """Takes detections image by image, with `edges` and whatever their score, and keeps what matters.

    `threshold` [C] is what a score must reach to be a pair, by the dataset's label.
    """

    def __init__(self, dataset: AnnotatedImages, threshold: Float[np.ndarray, " C"]) -> None:
        self._truth, self._dataset, self._threshold = truths_of(dataset), dataset, threshold
        self._pairs: list[EdgePairs] = []
        self._verdicts: list[Verdicts] = []

    def add(self, sample: Sample, found: Detections) -> None:
        """The next image. ValueError where the class names differ, or edges were not kept."""
        if found.edges is None:
            raise ValueError("detections without edges: predict with edges=True")
        truth = self._truth.get(sample.image_id, NO_TRUTH)
        labels = labels_of(found.class_names, self._dataset)[found.labels]
        scored = _best_of_class(labels)
        labels, found = labels[scored], found[scored]
        place = match(to_xywh(found.boxes_xyxy), labels, truth, IOU)
        in_crowd = np.append(truth.crowd, False)[place]  # -1 reads the appended
        high = found.scores >= self._threshold[labels]
        self._add_pairs(found, labels, truth, place, high & ~in_crowd)
        self._add_verdicts(found, labels, truth, place, ~in_crowd)

    def _add_pairs(
        self, found: Detections, labels: np.ndarray, truth: Truth, place: np.ndarray, high: np.ndarray
    ) -> None:
        rows = np.flatnonzero(high & (place >= 0))
        pairs = found[rows]
        assert pairs.edges is not None
        self._pairs.append(
            EdgePairs(
                boxes_xyxy=pairs.boxes_xyxy.astype(np.float64),
                true_xyxy=to_xyxy(truth.boxes_xywh)[place[rows]],
                edges=pairs.edges,
                spread=pairs.edge_std.astype(np.float64),
                scores=pairs.scores.astype(np.float64),
                labels=labels[rows],
                image=np.full(len(rows), len(self._pairs)),
                num_images=1,
                unmatched=int(high.sum()) - len(rows),
                missed=int((~truth.crowd).sum()) - len(rows),
            )
        )

    def _add_verdicts(
        self, found: Detections, labels: np.ndarray, truth: Truth, place: np.ndarray, judged: np.ndarray
    ) -> None:
        boxes = found.boxes_xyxy.astype(np.float64)
        least = match(to_xywh(boxes), labels, truth, np.finfo(np.float64).tiny)
        true = to_xyxy(truth.boxes_xywh)
        number = len(self._verdicts)
        self._verdicts.append(
            Verdicts(
                scores=found.scores[judged].astype(np.float64),
                labels=labels[judged],
                image=np.full(int(judged.sum()), number),
                iou=_iou(boxes, true, place)[judged],
                any_iou=_iou(boxes, true, least)[judged],
                true_label=truth.labels[~truth.crowd],
                true_image=np.full(int((~truth.crowd).sum()), number),
            )
        )

    def outcome(self) -> Outcome:
        """What the images so far came to. ValueError without any."""
        if not self._pairs:
            raise ValueError("no images to measure honesty on")
        return Outcome(_joined_pairs(self._pairs), _joined_verdicts(self._verdicts))


class LayerWatch:
    """Stands between a detector and its evaluation, and keeps what every decoder layer said.

    `predict_layers` gives of each image what its layers found, with edges and whatever their score: raw, but
    for the last, which evaluation sees. `threshold` [C] is of the last, `raw_threshold` of those before.
    """

    def __init__(
        self,
        dataset: AnnotatedImages,
        predict_layers: PredictLayers,
        threshold: Float[np.ndarray, " C"],
        raw_threshold: Float[np.ndarray, " C"],
    ) -> None:
        self._predict_layers, self._waiting = predict_layers, list[Sequence[Detections]]()
        self._last = Collector(dataset, threshold)
        self._before = defaultdict[int, Collector](lambda: Collector(dataset, raw_threshold))

    def predict(self, images: list[np.ndarray]) -> list[Detections]:
        """Of each image what the last layer found."""
        self._waiting = list(self._predict_layers(images))
        return [layers[-1] for layers in self._waiting]

    def add(self, sample: Sample, found: Detections) -> None:
        """The next image of those predicted; ValueError as of `Collector.add`."""
        *before, last = self._waiting.pop(0)
        assert last is found
        self._last.add(sample, last)
        for number, one in enumerate(before, 1):
            self._before[number].add(sample, one)

    def outcome(self) -> Outcome:
        """Of the detector. ValueError without images."""
        return self._last.outcome()

    def before(self) -> dict[str, Outcome]:
        """By number, from 1, of the layers before the last: of the images that they did not finish."""
        return {str(number): one.outcome() for number, one in sorted(self._before.items())}


def collect(
    dataset: AnnotatedImages,
    predict: Predict,
    threshold: Float[np.ndarray, " C"],
    *,
    batch: int = 8,
    progress: bool = False,
) -> Outcome:
    """What `predict` does on all images of `dataset`: its detections must have edges and any score.

    `threshold` [C] is what a score must reach to be a pair, by the dataset's label. For the pairs of an
    earlier layer, let `predict` be that layer's.
    """
    collector = Collector(dataset, threshold)
    for sample, found in looked_at(dataset, predict, "collecting", batch=batch, progress=progress):
        collector.add(sample, found)
    return collector.outcome()


def _best_of_class(labels: Int[np.ndarray, " M"]) -> Int[np.ndarray, " n"]:
    """The best detections of each class that COCO scores, of those of an image, best first."""
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return np.flatnonzero(rank < MAX_DETECTIONS)


def _iou(boxes: np.ndarray, true: np.ndarray, place: np.ndarray) -> Float[np.ndarray, " K"]:
    """With the box at `place`; 0 where that is -1."""
    return iou(boxes, np.concatenate([true, np.zeros((1, 4))])[place])


def _joined_pairs(parts: Sequence[EdgePairs]) -> EdgePairs:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in parts])

    def edges(name: str) -> np.ndarray:
        return np.concatenate([getattr(one.edges, name) for one in parts])

    return EdgePairs(
        **{name: joined(name) for name in ("boxes_xyxy", "true_xyxy", "spread", "scores", "labels", "image")},
        edges=replace(parts[0].edges, probs=edges("probs"), origin=edges("origin"), sides=edges("sides")),
        num_images=len(parts),
        unmatched=sum(one.unmatched for one in parts),
        missed=sum(one.missed for one in parts),
    )


def _joined_verdicts(parts: Sequence[Verdicts]) -> Verdicts:
    names = ("scores", "labels", "image", "iou", "any_iou", "true_label", "true_image")
    return Verdicts(**{name: np.concatenate([getattr(one, name) for one in parts]) for name in names})
