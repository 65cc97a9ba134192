"""A sweep as a table, as JSON, as a picture, and in a sentence."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgewise.evaluation.plots import panels
from edgewise.sweep.points import EAGER, WAYS, WITHIN, Point, Setting, Way, front, recommended

COLUMNS = (
    "front",
    "checkpoint",
    "size",
    "layers",
    "queries",
    "engine",
    "AP",
    "lost",
    "engine ms",
    "whole ms",
)
LEGEND = (
    "front: no other point finds as much in less time; bold: the fastest within "
    f"{WITHIN} points of the best; lost: points of AP, its hundredths"
)
COLOURS = dict(zip(WAYS, ("0.45", "#8fb8de", "#1f5fa8", "#7fc99b", "#1b7a43"), strict=True))
MARKERS = "osD^vPX*"
ACCENT = "#d1432b"
OFFSETS = [  # of labels, in points: to the upper left first, where no front comes
    (distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle)))
    for distance in (9, 16, 28, 45, 70, 100)
    for angle in (135, 90, 180, 45, 0, 315, 270, 225)
]


@dataclass(frozen=True)
class Sweep:
    """What was measured, and how; `notes` say what could not be. `stopped`: by Ctrl-C, before the end."""

    points: tuple[Point, ...]
    protocol: dict[str, Any]
    notes: tuple[str, ...] = ()
    stopped: bool = False

    @cached_property
    def front(self) -> list[Point]:
        """The points that none finds as much as in less time, fastest first."""
        return front(self.points)

    @property
    def recommended(self) -> Point | None:
        """The fastest that loses at most half a point of AP of the best; None where nothing is known."""
        return recommended(self.front)

    @property
    def verdict(self) -> str:
        """What is recommended, what it gives, and how to get it."""
        one = self.recommended
        if one is None:
            return "nothing recommended: no point has both AP and a time"
        best = self.front[-1]
        if one is best:
            gives = f"AP {one.ap:.3f} in {one.ms:.1f} ms: it is the best itself"
        else:
            gives = (
                f"AP {one.ap:.3f} in {one.ms:.1f} ms; the best, {best.setting}, has {best.ap:.3f} in "
                f"{best.ms:.1f} ms"
            )
        return f"fastest within {WITHIN} points of the best: {one.setting}\n{gives}\n{self.call(one.setting)}"

    def call(self, setting: Setting) -> str:
        """The Python that gives it."""
        cut, way = setting.cut, setting.way
        size = f"size=({cut.size[0]}, {cut.size[1]})"
        made = f'Detector.from_pretrained("{cut.checkpoint}").at(layers={cut.layers}, queries={cut.queries})'
        if way == EAGER:
            return f"{made}.predict(images, {size})"
        return f'{made}.optimize("cpu", engine="{way.engine}", precision="{way.precision}", {size})'

    def __str__(self) -> str:
        """A table in Markdown, what it says, and how it was measured."""
        timed = sorted((one for one in self.points if one.whole), key=lambda one: one.ms)
        shown = timed or sorted(self.points, key=lambda one: -one.points)
        lines = [COLUMNS, ("---",) * len(COLUMNS), *(self._cells(one) for one in shown)]
        notes = list(self.notes)
        if left := len(self.points) - len(shown):
            notes.append(f"{left} more cuts were evaluated but not timed: sweep.json has their AP")
        if self.stopped:
            notes.append("stopped before the end")
        return "\n".join(
            [
                *(f"| {' | '.join(line)} |" for line in lines),
                "",
                LEGEND,
                "",
                self.verdict.replace("\n", "\n\n"),
                "",
                *(f"- {one}" for one in notes),
                *(f"- {name}: {value}" for name, value in self.protocol.items()),
            ]
        )

    def _cells(self, one: Point) -> tuple[str, ...]:
        cut, most = one.setting.cut, max((other.points for other in self.front), default=math.nan)
        place = str(self.front.index(one) + 1) if one in self.front else ""
        cells = (
            place,
            cut.checkpoint,
            f"{cut.size[0]}x{cut.size[1]}",
            str(cut.layers),
            str(cut.queries),
            str(one.setting.way),
            "–" if one.ap is None else f"{one.ap:.3f}",
            "–" if math.isnan(most - one.points) else f"{most - one.points:.2f}",
            str(one.engine or "–"),
            str(one.whole or "–"),
        )
        return tuple(f"**{cell}**" if cell else cell for cell in cells) if one == self.recommended else cells

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the points of the front by their places among `points`, fastest first."""
        found, along = list(self.points), self.front
        return {
            "protocol": self.protocol,
            "notes": list(self.notes),
            "stopped": self.stopped,
            "verdict": self.verdict,
            "recommended": None if self.recommended is None else found.index(self.recommended),
            "front": [found.index(one) for one in along],
            "points": [_plain(one) for one in found],
        }

    def write(self, folder: str | Path) -> None:
        """sweep.json, sweep.md and sweep.png, without the picture where nothing has both AP and a time."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.json").write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        (folder / "sweep.md").write_text(f"{self}\n", encoding="utf-8")
        if self.front:
            self.plot(folder / "sweep.png")

    def plot(self, path: str | Path) -> None:
        """AP over milliseconds: every point, the front with its numbers in the table, the recommended one."""
        (figure, (axes,)), one = panels(1, (9.5, 6.0), 130), self.recommended
        assert one is not None
        known = [point for point in self.points if not math.isnan(point.ms + point.points)]
        names = list(dict.fromkeys(point.setting.cut.checkpoint for point in known))
        for point in known:
            way, name = point.setting.way, point.setting.cut.checkpoint
            look = {"color": COLOURS[way], "marker": MARKERS[names.index(name) % len(MARKERS)]}
            axes.plot(point.ms, point.points, markersize=6, linestyle="", zorder=3, **look)
        x, y = [point.ms for point in self.front], [point.points for point in self.front]
        axes.step(x, y, where="post", color="black", linewidth=1.2, zorder=2)
        axes.axhspan(y[-1] - WITHIN, y[-1], color=ACCENT, alpha=0.1, linewidth=0)
        ring = {"markersize": 14, "fillstyle": "none", "markeredgewidth": 1.8, "color": ACCENT}
        axes.plot(one.ms, one.points, "o", zorder=4, **ring)
        _plain_log_axis(axes, [point.ms for point in known])
        axes.set(xlabel="milliseconds an image, pixels to detections", ylabel="AP, points")
        axes.set_title(f"Accuracy over latency; images: {self.protocol['images']}", loc="left")
        _legend(figure, [way for way in WAYS if any(p.setting.way == way for p in known)], names)
        figure.draw_without_rendering()  # from here on places are final
        cut = one.setting.cut
        words = (
            f"fastest within {WITHIN} of the best\n{one.ms:.1f} ms, AP {one.points:.1f}\n{cut.size[0]}x"
            f"{cut.size[1]}, {cut.layers} layers, {cut.queries} queries\n{one.setting.way}"
        )
        labels = [(words, one, ACCENT)]
        labels += [(str(i), p, "black") for i, p in enumerate(self.front, 1) if p is not one]
        _place_labels(axes, labels, known)
        figure.savefig(path)


def _plain(one: Point) -> dict[str, Any]:
    times = {"engine_ms": one.engine, "whole_ms": one.whole}
    return {
        **asdict(one.setting.cut),
        **asdict(one.setting.way),
        "ap": one.ap,
        **{name: None if time is None else asdict(time) for name, time in times.items()},
    }


def _plain_log_axis(axes: Any, ms: Sequence[float]) -> None:
    """Logarithmic, with a few round numbers that are written out."""
    low, high = min(ms) / 1.15, max(ms) * 1.15
    steps = (1, 2, 5) if high / low > 20 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    ticks = [step * 10.0**power for power in range(-3, 6) for step in steps]
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set(xscale="log", xlim=(low, high))
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.minorticks_off()


def _legend(figure: Any, ways: Sequence[Way], names: Sequence[str]) -> None:
    """Colours are ways, shapes are checkpoints."""
    from matplotlib.lines import Line2D

    keys = [Line2D([], [], color=COLOURS[way], marker="o", linestyle="", label=str(way)) for way in ways]
    if len(names) > 1:
        keys += [
            Line2D([], [], color="0.6", marker=MARKERS[i % len(MARKERS)], linestyle="", label=name)
            for i, name in enumerate(names)
        ]
    keys.append(Line2D([], [], color="black", linewidth=1.2, label="front, numbered as in the table"))
    figure.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 4), frameon=False)


def _place_labels(axes: Any, labels: Sequence[tuple[str, Point, str]], points: Sequence[Point]) -> None:
    """Each beside its point, where it covers no point and no label; what has no such place is left out.

    But the first is not: at last it goes into the lower right corner, where no front comes.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    frame = axes.get_window_extent()
    places = axes.transData.transform([(one.ms, one.points) for one in points])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in places]
    for text, point, colour in labels:
        for right, up in OFFSETS:
            note = axes.annotate(
                text,
                (point.ms, point.points),
                (right, up),
                textcoords="offset points",
                ha="center" if abs(right) < 1 else "left" if right > 0 else "right",
                va="center" if abs(up) < 1 else "bottom" if up > 0 else "top",
                arrowprops=_leader(colour) if math.hypot(right, up) > 10 else None,
                **_words(colour),
            )
            note.get_window_extent()  # puts it in its place
            box = Text.get_window_extent(note).padded(1)  # without the line to the point
            inside = frame.contains(*box.min) and frame.contains(*box.max)
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                break
            note.remove()
        else:
            if text != labels[0][0]:
                continue
            corner = {"xytext": (0.98, 0.03), "textcoords": "axes fraction", "ha": "right", "va": "bottom"}
            place = (point.ms, point.points)
            note = axes.annotate(text, place, **corner, arrowprops=_leader(colour), **_words(colour))
            note.get_window_extent()
            taken.append(Text.get_window_extent(note).padded(1))


def _words(colour: str) -> dict[str, Any]:
    return {"fontsize": 8, "color": colour, "zorder": 5}


def _leader(colour: str) -> dict[str, Any]:
    """A line from a label to its point."""
    return {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkB": 4}
