"""Which images are worth annotating: those a detector is unsure about, and no two of them alike."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from edgewise.boxes import cxcywh_to_xyxy, iou
from edgewise.detections import Detections
from edgewise.draw import contact_sheet
from edgewise.overlaps import sides
from edgewise.predict.network import NetworkPredictor
from edgewise.predict.sources import ImageLike, Source, expand
from edgewise.structures import ModelOutput

LEAST_SCORE = 0.1  # of what counts as an object
SURE = 0.5  # of what is drawn


@dataclass(frozen=True, eq=False)
class Look:
    """What a detector makes of one image.

    spread    sum over its objects of score x mean relative spread of the edges (standard deviation / side)
    movement  sum over its objects of score x (1 - IoU of their boxes in the last two layers)
    feature   [D] the encoder's maps, each channel of each averaged over the image
    """

    detections: Detections
    spread: float
    movement: float
    feature: Float[np.ndarray, " D"]


@dataclass(frozen=True)
class Pick:
    """One chosen image: where it stands in the list that was given, and its path, if it is a file.

    `doubt` is the mean of its ranks by `spread` and by `movement` among all images, in (0, 1]; `distance`
    that of its feature to the nearest one known or picked before, None where there is none.
    """

    index: int
    path: str | None
    doubt: float
    spread: float
    movement: float
    distance: float | None


@dataclass(frozen=True, eq=False)
class Selection:
    """The picks, the most worthwhile first, the Detections of each, and how many images there were."""

    picks: tuple[Pick, ...]
    detections: tuple[Detections, ...]
    images: int

    def save(self, path: str | Path) -> None:
        """Writes the list in the form of its suffix, see `check_list`.

        Images that are not files are written by their place in the list that was given.
        """
        path = check_list(path)
        path.write_text(LISTS[path.suffix.lower()](self.picks), encoding="utf-8")

    def sheet(self, count: int = 24) -> Image.Image:
        """The first picks with what was surely found in them, in reading order."""
        drawn = [one.filter(SURE).plot() for one in self.detections[:count]]
        return contact_sheet(drawn, columns=3, width=480)


def _text(picks: Sequence[Pick]) -> str:
    return "".join(f"{one.index if one.path is None else one.path}\n" for one in picks)


def _csv(picks: Sequence[Pick]) -> str:
    buffer = StringIO()
    writer = csv.DictWriter(buffer, list(Pick.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(one) for one in picks)
    return buffer.getvalue()


def _json(picks: Sequence[Pick]) -> str:
    return json.dumps([asdict(one) for one in picks], indent=2, ensure_ascii=False) + "\n"


LISTS = {".txt": _text, ".csv": _csv, ".json": _json}


def check_list(path: str | Path) -> Path:
    """A list's path. ValueError unless it ends with .txt (a path a line), .csv or .json (all numbers)."""
    path = Path(path)
    if path.suffix.lower() not in LISTS:
        raise ValueError(f"{path}: expected a list that ends with .txt, .csv or .json")
    return path


def select(
    predictor: NetworkPredictor,
    source: Source,
    k: int,
    known: Source = (),
    *,
    batch: int = 8,
    progress: bool = False,
) -> Selection:
    """The `k` images most worth annotating, one after another: most doubt x distance from those before.

    `source` is what `predict` takes. Images like those in `known`, which have annotations already, are worth
    less. ValueError for a `k` that is not from 1 to the number of images.
    """
    images = expand(source)[0]
    others = [] if isinstance(known, list | tuple) and not known else expand(known)[0]
    if not 1 <= k <= len(images):
        raise ValueError(f"k={k}: expected a number from 1 to {len(images)}, the images to select from")
    every = [*images, *others]
    looks, console = look(predictor, every, batch), Console(stderr=True)
    seen = list(track(looks, "looking", len(every), console=console, disable=not progress))
    new = seen[: len(images)]
    spread, movement = (np.array([getattr(one, name) for one in new]) for name in ("spread", "movement"))
    doubt = (ranks(spread) + ranks(movement)) / 2
    features = standardised(np.stack([one.feature for one in seen]))
    chosen, distances = pick(doubt, features[: len(images)], features[len(images) :], k)
    return Selection(
        tuple(
            Pick(
                index=index,
                path=_path(images[index]),
                doubt=float(doubt[index]),
                spread=new[index].spread,
                movement=new[index].movement,
                distance=distance if np.isfinite(distance) else None,
            )
            for index, distance in zip(chosen.tolist(), distances.tolist(), strict=True)
        ),
        tuple(new[index].detections for index in chosen.tolist()),
        len(images),
    )


def look(predictor: NetworkPredictor, images: Sequence[ImageLike], batch: int = 8) -> Iterator[Look]:
    """What a detector makes of each image."""
    movements: list[float] = []
    features: list[np.ndarray] = []
    with _watched(predictor.model, movements, features):
        found = predictor.predict(list(images), LEAST_SCORE, batch=batch, stream=True)
        assert not isinstance(found, Detections)
        for one in found:
            yield Look(one, relative_spread(one), movements.pop(0), features.pop(0))


def relative_spread(found: Detections) -> float:
    """Sum over objects of score x mean over edges of spread / side."""
    relative = found.edge_std / np.maximum(sides(found.boxes_xyxy), 1)  # pixels
    return float((found.scores * relative.mean(1).clip(max=1)).sum())


def movement(output: ModelOutput) -> Float[Tensor, " B"]:
    """Sum over objects of score x (1 - IoU of the boxes in the last two layers); 0 of a single layer."""
    last = output.layers[-1]
    scores = last.logits.sigmoid().amax(-1)  # [B, Q]
    if len(output.layers) < 2:
        return torch.zeros(len(scores))
    same = iou(cxcywh_to_xyxy(last.boxes), cxcywh_to_xyxy(output.layers[-2].boxes))
    return (scores * (scores >= LEAST_SCORE) * (1 - same)).sum(1)


def ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The share of values that are not greater, in (0, 1]."""
    share: np.ndarray = np.searchsorted(np.sort(values), values, side="right") / len(values)
    return share


def standardised(features: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
    """Every dimension with mean 0 and standard deviation 1; one that never changes is 0."""
    std = features.std(0)
    scaled: np.ndarray = (features - features.mean(0)) / np.where(std > 0, std, 1)
    return scaled


def pick(
    doubt: Float[np.ndarray, " n"],
    features: Float[np.ndarray, "n D"],
    known: Float[np.ndarray, "m D"],
    k: int,
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """k indices, greedy by doubt x distance to the nearest feature that is known or picked; those distances.

    With nothing known the first is the one of most doubt. All of equal doubt are greedy k-centres.
    """
    nearest = np.full(len(doubt), np.inf)
    for one in known:
        nearest = np.minimum(nearest, np.linalg.norm(features - one, axis=1))
    chosen: list[int] = []
    distances: list[float] = []
    free = np.ones(len(doubt), np.bool_)
    for _ in range(k):
        value = doubt * np.where(np.isinf(nearest), 1, nearest)
        best = int(np.where(free, value, -1).argmax())
        chosen.append(best)
        distances.append(float(nearest[best]))
        free[best] = False
        nearest = np.minimum(nearest, np.linalg.norm(features - features[best], axis=1))
    return np.array(chosen, np.int64), np.array(distances)


@contextmanager
def _watched(model: nn.Module, movements: list[float], features: list[np.ndarray]) -> Iterator[None]:
    """While it lasts, every forward pass adds a number and a feature an image.

    One that memory runs out in adds nothing: its images come again, in pieces.
    """
    pooled: list[np.ndarray] = []  # of the pass that runs

    def pool(module: nn.Module, args: object, maps: list[Tensor]) -> None:
        pooled[:] = torch.cat([one.float().mean((2, 3)) for one in maps], 1).cpu().numpy()

    def read(module: nn.Module, args: object, output: ModelOutput) -> None:
        movements.extend(movement(output).tolist())
        features.extend(pooled)

    handles = [
        model.get_submodule("encoder").register_forward_hook(pool),
        model.register_forward_hook(read),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _path(image: ImageLike) -> str | None:
    return str(image) if isinstance(image, str | Path) else None
