"""What a user gets, in numpy: nothing here imports torch, so a runtime without it can share this file."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Float, Int, Shaped

from edgewise.edges import EDGES, OUTWARDS, EdgeDistributions
from edgewise.extras import require

if TYPE_CHECKING:
    import PIL.Image
    import supervision

    from edgewise.calibration import Calibration


@dataclass(frozen=True)
class Geometry:
    """How an image became model input: both sizes are (height, width); aspect is not kept, nothing is padded.

    `original_size` is that of the upright image: EXIF orientation is applied before anything else.
    """

    original_size: tuple[int, int]
    model_size: tuple[int, int]

    def to_pixels(self, boxes_cxcywh: Float[np.ndarray, "*b 4"]) -> Float[np.ndarray, "*b 4"]:
        """boxes_xyxy in pixels of the original image from boxes in [0, 1]; negative sides count as zero."""
        centre, half = boxes_cxcywh[..., :2], np.maximum(boxes_cxcywh[..., 2:], 0) / 2
        boxes: np.ndarray = np.concatenate([centre - half, centre + half], -1) * self.scale
        return boxes

    @property
    def scale(self) -> Float[np.ndarray, " 4"]:
        """Pixels of the original image per unit of (x, y, x, y)."""
        height, width = self.original_size
        return np.array([width, height, width, height], np.float32)


@dataclass(frozen=True)
class Detection:
    """One found object: what `Detections` holds in one row, as plain Python values.

    box_xyxy and edge_std (left, top, right, bottom) are in pixels of the original image.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    label: int
    name: str
    edge_std: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """Objects found in one image, best first; arrays of M rows, boxes in pixels of the original image.

    boxes_xyxy [M, 4], scores [M] in [0, 1], labels [M] (index into class_names), edge_std [M, 4]: the
    standard deviation of the left, top, right and bottom edge in pixels, read off the edge's own
    distribution. It is raw unless `calibrated`; with a `calibration`, `edge_interval` and `joint_interval`
    say where the true edges lie. `edges` are the distributions, where they were asked for. Boxes are not
    clipped to the image.

    `len`, iteration and `detections[i]` give single objects; `detections[i:j]`, `detections[mask]` and
    `detections[indices]` a smaller Detections. `source` is where the image is or the image itself.

    Raises ValueError where the arrays do not fit together or hold what cannot be a detection.
    """

    boxes_xyxy: Float[np.ndarray, "M 4"]
    scores: Float[np.ndarray, " M"]
    labels: Int[np.ndarray, " M"]
    edge_std: Float[np.ndarray, "M 4"]
    size: tuple[int, int]  # of the original image
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] | None = None  # the annotation file's own numbers, by label
    source: str | Path | np.ndarray | None = None
    calibration: "Calibration | None" = None  # what made edge_std, and the scores where it has a curve
    edges: EdgeDistributions | None = None  # as the model gave them, before any calibration

    def __post_init__(self) -> None:
        rows, classes = len(self.scores), len(self.class_names)
        expected = {"boxes_xyxy": (rows, 4), "scores": (rows,), "labels": (rows,), "edge_std": (rows, 4)}
        for name, shape in expected.items():
            array, kind = getattr(self, name), np.integer if name == "labels" else np.floating
            if array.shape != shape or not np.issubdtype(array.dtype, kind):
                raise ValueError(
                    f"Detections: {name} is {array.dtype} {list(array.shape)}; "
                    f"expected {kind.__name__} {list(shape)} for {rows} scores"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"Detections: {name} holds a value that is not finite")
        if rows and (self.labels.min() < 0 or self.labels.max() >= classes):
            raise ValueError(
                f"Detections: labels from {self.labels.min()} to {self.labels.max()}; "
                f"expected 0 to {classes - 1}, one for each of {classes} class_names"
            )
        if self.category_ids is not None and len(self.category_ids) != classes:
            raise ValueError(
                f"Detections: {len(self.category_ids)} category_ids for {classes} class_names; "
                "expected one each"
            )
        if self.edges is not None and len(self.edges) != rows:
            raise ValueError(f"Detections: edges of {len(self.edges)} boxes for {rows} scores")

    # ── as a sequence ────────────────────────────────────────────────────────────────────────────────

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray | list[int] | list[bool]) -> "Detections": ...
    def __getitem__(
        self, index: int | slice | np.ndarray | list[int] | list[bool]
    ) -> "Detection | Detections":
        if not isinstance(index, int | np.integer):
            rows = np.arange(len(self))[index]
            return replace(
                self,
                boxes_xyxy=self.boxes_xyxy[rows],
                scores=self.scores[rows],
                labels=self.labels[rows],
                edge_std=self.edge_std[rows],
                edges=None if self.edges is None else self.edges[rows],
            )
        label = int(self.labels[index])
        return Detection(
            box_xyxy=tuple(self.boxes_xyxy[index].tolist()),
            score=float(self.scores[index]),
            label=label,
            name=self.class_names[label],
            edge_std=tuple(self.edge_std[index].tolist()),
        )

    def __iter__(self) -> Iterator[Detection]:
        return (self[i] for i in range(len(self)))

    def filter(self, threshold: float | Float[np.ndarray, " C"]) -> "Detections":
        """Those with a score of at least `threshold`: one for all classes, or one a class, by label."""
        enough: np.ndarray = self.scores >= np.broadcast_to(threshold, len(self.class_names))[self.labels]
        return self[enough]

    @property
    def names(self) -> Shaped[np.ndarray, " M"]:
        """The class name of each detection, an array of str."""
        names: np.ndarray = np.array(self.class_names, dtype=np.str_)[self.labels]
        return names

    def __str__(self) -> str:
        """«3 objects in 640x480: 2 dog, 1 cat (edges ±2.1 px median, uncalibrated)», width x height."""
        height, width = self.size
        if not len(self):
            return f"no objects in {width}x{height}"
        counts = ", ".join(f"{count} {name}" for name, count in Counter(self.names.tolist()).most_common())
        edges = (
            f"edges ±{np.median(self.edge_std):.1f} px median{'' if self.calibrated else ', uncalibrated'}"
        )
        return f"{len(self)} object{'s'[: len(self) > 1]} in {width}x{height}: {counts} ({edges})"

    def __repr__(self) -> str:
        return f"<Detections: {self}>"

    # ── error bars ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def calibrated(self) -> bool:
        """Whether `edge_std` and the intervals keep their word on data like that of the calibration."""
        return self.calibration is not None

    @property
    def edge_probs(self) -> Float[np.ndarray, "M 4 n"] | None:
        """The masses of `edges`, if these were asked for: what the model says, before any calibration."""
        return None if self.edges is None else self.edges.probs

    def edge_interval(self, level: float = 0.9) -> Float[np.ndarray, "M 4 2"]:
        """Low and high x or y in pixels that hold a true edge with probability `level`, edge by edge.

        For the left, top, right and bottom edge; ends may lie outside the image. Raises ValueError without
        a calibration, or for a level outside (0, 1).
        """
        reach = self._calibration().edge_margins(level) * self.edge_std
        return np.stack([self.boxes_xyxy - reach, self.boxes_xyxy + reach], -1).astype(self.boxes_xyxy.dtype)

    def joint_interval(self, level: float = 0.9) -> tuple[Float[np.ndarray, "M 4"], Float[np.ndarray, "M 4"]]:
        """(inner, outer) boxes_xyxy with all four true edges between them with probability `level`.

        An inner box that would be inside out has no area: it lies at its own middle, and nothing is surely
        of the object. Raises ValueError without a calibration, or for a level outside (0, 1).
        """
        reach = self._calibration().joint_margin(level) * self.edge_std * OUTWARDS
        inner, outer = self.boxes_xyxy - reach, self.boxes_xyxy + reach
        middle = np.tile((inner[:, :2] + inner[:, 2:]) / 2, 2)
        inside_out = np.tile(inner[:, :2] > inner[:, 2:], 2)
        dtype = self.boxes_xyxy.dtype
        return np.where(inside_out, middle, inner).astype(dtype), outer.astype(dtype)

    def _calibration(self) -> "Calibration":
        if self.calibration is None:
            raise ValueError(
                "this detector is not calibrated, so its intervals would promise nothing; "
                "run: edgewise calibrate CHECKPOINT DATA"
            )
        return self.calibration

    # ── in other forms ───────────────────────────────────────────────────────────────────────────────

    def to_dict(self) -> dict[str, Any]:
        """Plain values ready for JSON; they say their own units. `source` is None for an image in memory.

        With a calibration, each object has its joint interval at 90 %: `joint_90_inner`, `joint_90_outer`.
        """
        height, width = self.size
        joint_format = "inner and outer box, as box_xyxy: all four true edges between them, probability 0.9"
        return {
            "source": self._path,
            "width": width,
            "height": height,
            "box_format": "left, top, right, bottom in pixels of the upright image",
            "edge_std_format": "left, top, right, bottom in pixels, one standard deviation",
            "edge_std_calibrated": self.calibrated,
            **({"joint_90_format": joint_format} if self.calibrated else {}),
            "detections": [
                {
                    "label": label,
                    "name": self.class_names[label],
                    **({} if self.category_ids is None else {"category_id": self.category_ids[label]}),
                    "score": score,
                    "box_xyxy": box,
                    **bars,
                }
                for box, score, label, bars in zip(
                    _plain(self.boxes_xyxy),
                    _plain(self.scores),
                    self.labels.tolist(),
                    self._bars_by_row(_plain),
                    strict=True,
                )
            ],
        }

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO result entries: `bbox` is x, y, width, height; without category_ids the label is the id.

        `edge_std`, and with a calibration `joint_90_inner` and `joint_90_outer`, go left, top, right, bottom.
        """
        sides = self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]
        ids = self.category_ids or range(len(self.class_names))
        return [
            {"image_id": image_id, "category_id": ids[label], "bbox": box, "score": score, **bars}
            for box, score, label, bars in zip(
                np.concatenate([self.boxes_xyxy[:, :2], sides], 1).tolist(),
                self.scores.tolist(),
                self.labels.tolist(),
                self._bars_by_row(np.ndarray.tolist),
                strict=True,
            )
        ]

    def to_csv(self) -> str:
        """A table with one row a detection, its first line the names of the columns; lengths in pixels.

        Those of `to_dict`, edges apart: left, top, right, bottom; left_std …; and with a calibration
        left_joint_90_inner …, left_joint_90_outer ….
        """
        columns: dict[str, list[Any]] = {
            "source": [self._path or ""] * len(self),
            "label": self.labels.tolist(),
            "name": self.names.tolist(),
        }
        if self.category_ids is not None:
            columns["category_id"] = [self.category_ids[label] for label in self.labels]
        columns["score"] = _plain(self.scores)
        bars = {name.removeprefix("edge_"): array for name, array in self._bars().items()}
        for name, array in {"": self.boxes_xyxy, **bars}.items():
            for edge, values in zip(EDGES, _plain(array.T), strict=True):
                columns[f"{edge}_{name}".rstrip("_")] = values
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return text.getvalue()

    def to_supervision(self) -> "supervision.Detections":
        """A `supervision.Detections`, with class_name and edge_std in its `data`. Needs the extra `viz`.

        With a calibration also joint_90_inner and joint_90_outer, boxes_xyxy [M, 4].
        """
        supervision = require("supervision", "viz")
        return supervision.Detections(
            xyxy=self.boxes_xyxy.copy(),
            confidence=self.scores.copy(),
            class_id=self.labels.copy(),
            data={"class_name": self.names, **{name: array.copy() for name, array in self._bars().items()}},
        )

    @property
    def _path(self) -> str | None:
        return str(self.source) if isinstance(self.source, str | Path) else None

    def _bars(self) -> dict[str, Float[np.ndarray, "M 4"]]:
        """The error bars that every form has."""
        if not self.calibrated:
            return {"edge_std": self.edge_std}
        inner, outer = self.joint_interval(0.9)
        return {"edge_std": self.edge_std, "joint_90_inner": inner, "joint_90_outer": outer}

    def _bars_by_row(self, plain: Callable[[np.ndarray], list[Any]]) -> list[dict[str, list[float]]]:
        bars = self._bars()
        return [dict(zip(bars, row, strict=True)) for row in zip(*map(plain, bars.values()), strict=True)]

    def plot(
        self,
        image: "str | Path | np.ndarray | PIL.Image.Image | None" = None,
        *,
        inset: int | None = None,
    ) -> "PIL.Image.Image":
        """The image with boxes, names and error bars on it (`edgewise.draw.draw`).

        `image` is the upright original: a path, RGB uint8 [H, W, 3] or a Pillow image; by default the one
        detected in. `inset`, the number of a detection, puts the distributions of its edges beside it, for
        which they have to be there: `predict(..., edges=True)`. Raises ValueError where image or
        distributions are not known, or where the size is another one.
        """
        from edgewise.draw import draw
        from edgewise.images import read_image

        image = self.source if image is None else image
        if image is None:
            raise ValueError(
                "these detections do not know their image; give it: plot(image), a path or an RGB array"
            )
        return draw(image if isinstance(image, np.ndarray) else read_image(image), self, inset)

    def save(self, path: str | Path) -> None:
        """Writes `to_dict` to a path that ends with .json, `to_csv` to .csv, `plot` to an image's (.jpg)."""
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".json":
            path.write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False), encoding="utf-8")
            return
        if ending == ".csv":
            path.write_text(self.to_csv(), encoding="utf-8")
            return
        from PIL import Image

        if ending not in Image.registered_extensions():
            raise ValueError(
                f"{path}: cannot save as {path.suffix or 'a name without ending'}; "
                "use .json, .csv, .jpg or .png"
            )
        self.plot().save(path)


def _plain(values: Float[np.ndarray, "*any"]) -> list[Any]:
    """Nested lists of the shortest decimals that mean the same number: 0.9, not 0.8999999761581421."""
    decimals: list[Any] = values.astype(np.str_).astype(np.float64).tolist()
    return decimals
