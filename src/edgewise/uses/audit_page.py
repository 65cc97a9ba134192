"""An audit as files: a page with a picture of every suspect, the list as CSV, everything as JSON."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from edgewise.draw import DARK, LIGHT, PALETTE, Colour
from edgewise.edges import EDGES
from edgewise.evaluation.run import AnnotatedImages
from edgewise.report import Picture, Table, write_report
from edgewise.uses.audit import KINDS, Audit, Box, Odd, Suspect

SIDE = 420  # longer side of a picture in pixels
ROOM = 0.4  # around the boxes, as a share of their longer side
SEEN, WRONG = PALETTE[0], PALETTE[5]  # sky blue, vermilion

LEAD = (
    "Annotated boxes that the detector finds hard to believe, the least probable first. White: the box as "
    "annotated, in vermilion the edges in doubt. Blue: where the detector sees it, with a band of one spread "
    "to either side. An edge far outside of a narrow band is probably drawn wrong; beside a broad one the "
    "detector is unsure itself."
)
RAW = " The detector is not calibrated: the order holds, the probabilities are rough."

COLUMNS = (
    "rank",
    "file",
    "box",
    "class",
    "probability",
    "by_chance",
    "cause",
    "score",
    *(f"{what}_{edge}" for what in ("annotated", "predicted", "spread", "probability") for edge in EDGES),
)


def write_audit(audit: Audit, dataset: AnnotatedImages, folder: str | Path, k: int = 50) -> Path:
    """Writes report.html, suspects.csv, audit.json and pictures/ into `folder`; returns the page's path.

    The page shows `k` suspects and at most as many whole boxes in doubt; the files hold all. The folder is
    made if need be, older files of these names are replaced.
    """
    folder = Path(folder)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for old in (folder / "pictures").glob("*.png"):
        old.unlink()
    files = [str(one["file_name"]) for one in dataset.annotations["images"]]
    _write_csv(audit, files, folder / "suspects.csv")
    text = json.dumps(to_dict(audit, files), indent=2, ensure_ascii=False)
    (folder / "audit.json").write_text(text + "\n", encoding="utf-8")
    return write_report(
        folder,
        "Annotations in doubt",
        LEAD + ("" if audit.calibrated else RAW),
        {
            "boxes": f"{audit.boxes:,}",
            "compared": f"{len(audit.suspects):,}",
            "improbable": f"{audit.improbable:,}",
            "whole boxes in doubt": f"{len(audit.odd):,}",
            "images": f"{audit.images:,}",
        },
        list(_pictures(audit, dataset, files, folder / "pictures", k)),
        _tables(audit, files, k),
    )


def to_dict(audit: Audit, files: Sequence[str]) -> dict[str, Any]:
    """Plain values ready for JSON; boxes are left, top, right, bottom in pixels of the upright image."""
    names = audit.class_names
    return {
        "boxes": audit.boxes,
        "images": audit.images,
        "compared": len(audit.suspects),
        "improbable": audit.improbable,
        "calibrated": audit.calibrated,
        "suspects": [
            {"file": files[one.image], "class": names[one.label], **asdict(one)} for one in audit.suspects
        ],
        "odd": [
            {
                "file": files[one.image],
                "class": names[one.label],
                "other_class": None if one.other is None else names[one.other],
                **asdict(one),
            }
            for one in audit.odd
        ],
    }


def _write_csv(audit: Audit, files: Sequence[str], path: Path) -> None:
    """A row a compared box, the least probable first."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for rank, one in enumerate(audit.suspects, 1):
            writer.writerow(
                [
                    rank,
                    files[one.image],
                    one.box,
                    audit.class_names[one.label],
                    f"{one.probability:.3g}",
                    f"{audit.by_chance(one.probability):.3g}",
                    one.cause,
                    f"{one.score:.3f}",
                    *(f"{value:.2f}" for box in (one.annotated, one.predicted, one.spread) for value in box),
                    *(f"{value:.3g}" for value in one.tails),
                ]
            )


def _tables(audit: Audit, files: Sequence[str], k: int) -> list[Table]:
    names = audit.class_names
    suspects = [
        (
            str(rank),
            files[one.image],
            names[one.label],
            str(one),
            f"{one.probability:.1e}",
            f"{audit.by_chance(one.probability):.2g}",
        )
        for rank, one in enumerate(audit.suspects[:k], 1)
    ]
    tables = [
        Table(
            "Boxes by improbability",
            ("rank", "image", "class", "what is wrong", "probability", "so improbable by chance"),
            suspects,
            folded=True,
        )
    ]
    for kind, meaning in KINDS.items():
        rows = [
            (
                files[one.image],
                names[one.label],
                "–" if one.other is None else names[one.other],
                _score(one),
                _place(one.where),
            )
            for one in audit.odd
            if one.kind == kind
        ]
        if rows:
            header = ("image", "class", "seen as", "score", "left, top, right, bottom")
            tables.append(Table(f"{len(rows):,} {meaning}", header, rows, folded=True))
    return tables


def _score(one: Odd) -> str:
    return "–" if one.score is None else f"{one.score:.2f}"


def _place(box: Box) -> str:
    return ", ".join(f"{edge:.0f}" for edge in box)


def _pictures(
    audit: Audit, dataset: AnnotatedImages, files: Sequence[str], folder: Path, k: int
) -> Iterator[Picture]:
    """The first suspects, then the first of each kind of whole boxes in doubt."""
    for rank, suspect in enumerate(audit.suspects[:k], 1):
        path = folder / f"suspect_{rank:03d}.png"
        draw_suspect(dataset[suspect.image].image, suspect).save(path)
        name = audit.class_names[suspect.label]
        yield (
            path,
            f"{rank}. {name}, {suspect}. Probability {suspect.probability:.1e}; {files[suspect.image]}",
        )
    share = max(1, k // len(KINDS))
    for kind, meaning in KINDS.items():
        for number, odd in enumerate([one for one in audit.odd if one.kind == kind][:share], 1):
            path = folder / f"{kind}_{number:03d}.png"
            draw_odd(dataset[odd.image].image, odd).save(path)
            name = audit.class_names[odd.label]
            seen = "" if odd.other is None else f", seen as {audit.class_names[odd.other]}"
            score = "" if odd.score is None else f" with score {odd.score:.2f}"
            yield path, f"{kind} {number}: {name}{seen}{score}; one of the {meaning}; {files[odd.image]}"


def draw_suspect(image: UInt8[np.ndarray, "H W 3"], suspect: Suspect) -> Image.Image:
    """The part of the image around a suspect: as annotated in white, as seen in blue with its bands."""
    tile = _Tile(image, [suspect.annotated, suspect.predicted])
    tile.bands(suspect.predicted, suspect.spread)
    tile.frame(suspect.predicted, SEEN)
    tile.frame(suspect.annotated, LIGHT)
    tile.frame(suspect.annotated, WRONG, suspect.marked, width=4)
    return tile.picture


def draw_odd(image: UInt8[np.ndarray, "H W 3"], odd: Odd) -> Image.Image:
    """The part of the image around a box in doubt: white where annotated, blue where only seen."""
    tile = _Tile(image, [odd.where])
    tile.frame(odd.where, SEEN if odd.kind == "unannotated" else LIGHT, width=3)
    return tile.picture


class _Tile:
    """A part of an image, enlarged, that is drawn on in the image's own pixels."""

    def __init__(self, image: UInt8[np.ndarray, "H W 3"], boxes: Sequence[Box]) -> None:
        edges = np.array(boxes)
        low, high = edges[:, :2].min(0), edges[:, 2:].max(0)
        room = max(8.0, ROOM * float((high - low).max()))
        size = np.array(image.shape[1::-1])
        left, top = np.floor(low - room).astype(int).clip(0, size - 1).tolist()
        right, bottom = np.ceil(high + room).astype(int).clip(1, size).tolist()
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        self._corner, self._scale = (left, top), SIDE / max(right - left, bottom - top)
        shape = tuple(max(1, round(side * self._scale)) for side in (right - left, bottom - top))
        part = Image.fromarray(image[top:bottom, left:right])
        self.picture = part.resize((shape[0], shape[1]), Image.Resampling.BICUBIC)

    def _at(self, box: Box) -> Box:
        """Where a box lies in the picture; an edge on its border is moved inside, to be seen."""
        (x, y), scale = self._corner, self._scale
        inside = np.tile(self.picture.size, 2) - 3
        x1, y1, x2, y2 = ((np.array(box) - [x, y, x, y]) * scale).clip(2, inside).tolist()
        return x1, y1, x2, y2

    def bands(self, box: Box, spread: Box) -> None:
        """One spread to either side of each edge, half transparent."""
        x1, y1, x2, y2 = self._at(box)
        left, top, right, bottom = (one * self._scale for one in spread)
        layer = Image.new("RGBA", self.picture.size)
        pen, colour = ImageDraw.Draw(layer), (*SEEN, 110)
        for band in (
            (x1 - left, y1, x1 + left, y2),
            (x2 - right, y1, x2 + right, y2),
            (x1, y1 - top, x2, y1 + top),
            (x1, y2 - bottom, x2, y2 + bottom),
        ):
            if all(isfinite(one) for one in band) and band[0] <= band[2] and band[1] <= band[3]:
                pen.rectangle(band, fill=colour)
        self.picture = Image.alpha_composite(self.picture.convert("RGBA"), layer).convert("RGB")

    def frame(self, box: Box, colour: Colour, edges: Sequence[bool] = (True,) * 4, width: int = 2) -> None:
        """Some edges of a box, left to bottom, with a dark seam to stand out from any ground."""
        x1, y1, x2, y2 = self._at(box)
        lines = [((x1, y1), (x1, y2)), ((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x1, y2), (x2, y2))]
        pen = ImageDraw.Draw(self.picture)
        for own, thick in ((DARK, width + 2), (colour, width)):
            for line, wanted in zip(lines, edges, strict=True):
                if wanted:
                    pen.line(line, fill=own, width=thick)
