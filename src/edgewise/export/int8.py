"""What int8 asks for: typical images, whose ranges it takes, and the part of a graph that it is good for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edgewise.artifact import IMAGES, SIZES, Artifact
from edgewise.export.graph import PREPROCESSING
from edgewise.preprocess import preprocess

if TYPE_CHECKING:
    from edgewise.data.dataset import Dataset
    from edgewise.data.open import Data
    from edgewise.evaluation.run import AnnotatedImages

TYPICAL = 200  # images to take ranges from
FEWEST = 16


class Typical(Sequence[np.ndarray]):
    """Some images of a data set, read when they are asked for, drawn from `seed`."""

    def __init__(self, dataset: "Dataset", count: int = TYPICAL, seed: int = 0) -> None:
        self._dataset = dataset
        self._rows = np.random.default_rng(seed).permutation(len(dataset))[:count].tolist()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._dataset[self._rows[index]].image


def typical(data: "Data | AnnotatedImages | None", split: str) -> Typical:
    """Training images of `data`, of which `split` is to be scored.

    ValueError where there are none or too few, or where they are what is scored.
    """
    from edgewise.data.open import open_splits
    from edgewise.data.splits import split_name
    from edgewise.evaluation.run import AnnotatedImages

    if data is None:
        raise ValueError(
            "precision 'int8': the ranges of its numbers are taken from training images, and AP says what it "
            "costs; give the annotated images with data= or --data"
        )
    if isinstance(data, AnnotatedImages):
        raise ValueError(
            f"precision 'int8': {type(data).__name__} is one split, but ranges are taken from the training "
            "images and AP from others; give the folder or file that has both"
        )
    if split_name(split) == "train":
        raise ValueError(
            "precision 'int8': its ranges are taken from the training images, so AP on them says little; "
            "give another split, such as val"
        )
    training = open_splits(data, {"train"}).get("train")
    if training is None or len(training) < FEWEST:
        found = 0 if training is None else len(training)
        raise ValueError(
            f"precision 'int8': {found} training images in the data, but its ranges need at least {FEWEST}, "
            f"better {TYPICAL}"
        )
    return Typical(training)


@dataclass(frozen=True)
class Feeds:
    """What an artifact is fed for each of some images, one at a time, made when it is asked for."""

    artifact: Artifact
    images: Sequence[np.ndarray]

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (inputs_of(self.artifact, [image]) for image in self.images)

    def __len__(self) -> int:
        return len(self.images)


def inputs_of(artifact: Artifact, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What an artifact is fed for RGB uint8 images, of one size where it resizes."""
    if artifact.resize_inside:
        return {IMAGES: np.stack(images)}
    inputs = {IMAGES: np.stack([preprocess(image, artifact.size)[0] for image in images])}
    if SIZES in artifact.inputs:
        inputs[SIZES] = np.array([image.shape[:2] for image in images], np.int64)
    return inputs


K = TypeVar("K")


def between(parents: Mapping[K, Iterable[K]], makers: Mapping[str, K]) -> set[K]:
    """The nodes of backbone and encoder: what the encoder's tensors are made of, less what comes before.

    `parents` are the nodes that each node reads, `makers` the one that makes each tensor by its name, which
    is that of the module whose output it is.
    """

    def behind(starts: Iterable[K]) -> set[K]:
        found: set[K] = set()
        left = list(starts)
        while left:
            node = left.pop()
            if node not in found:
                found.add(node)
                left += parents[node]
        return found

    ends = behind(node for name, node in makers.items() if name.startswith("encoder."))
    return ends - behind(node for name, node in makers.items() if name == PREPROCESSING)
