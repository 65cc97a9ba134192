"""Is what `edgewise select` picks worth more than what chance picks? Learning curves on scenes.

    python benchmarks/selection.py --out runs/select
    python benchmarks/selection.py --out runs/infrared --start dfine-n-scenes --images 0 12 --steps 0 24 \\
        --rate 4e-4 --pool 160 --test 120

A small detector begins with some annotated scenes, or one that knows scenes meets another camera, with none.
Round after round more of a pool are annotated, picked either by `select` (with those annotated so far as
`known`) or at random, and training goes on from the last round's weights. Both ways share the first round of
a seed. After every round AP is measured on the same unseen scenes. A round that has its result is not
repeated, so the same command goes on after any stop, and `--only 0`, `--only 1`, … make one seed each, to run
side by side.

The result is the area under the curve (mean AP over what was annotated) of `select` less that of chance, seed
by seed, with the 95 % interval of their mean by Student's t. What is paid for may be images or boxes: scenes
hold one to six objects, so both are told, boxes over the range that both ways reach.
"""

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cyclopts
import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console

from edgewise.api import Detector
from edgewise.cli.provenance import provenance
from edgewise.config import (
    AugmentConfig,
    DecoderConfig,
    DenoisingConfig,
    EncoderConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from edgewise.data.scenes import CLASS_NAMES, SceneDataset
from edgewise.demo import InfraredScenes
from edgewise.presets import hgnetv2

WAYS = ("select", "random")
SIZE = (96, 96)  # of the scenes of the small detector
MODEL = ModelConfig(  # a third of size n, with maps of stride 8 as well: scenes are small, and so is the time
    name="small",
    num_classes=len(CLASS_NAMES),
    size=SIZE,
    backbone=hgnetv2(
        (16, 16), [(16, 48), (32, 96), (48, 192), (96, 384)], blocks=[1, 1, 1, 1], layers=2, affine=True
    ),
    encoder=EncoderConfig(dim=96, ffn_dim=192, expansion=0.34, depth=0.34),
    decoder=DecoderConfig(dim=96, ffn_dim=192, num_layers=2, num_points=(4, 4, 4), num_queries=40),
)
SETTINGS = TrainConfig(  # one epoch, since each ends in files
    schedule=ScheduleConfig(
        epochs=1, plain_epochs=1, warmup_steps=15, flat=0.4, ema_decay=0.98, ema_warmup_steps=30
    ),
    denoising=DenoisingConfig(queries=30),
    augment=AugmentConfig(zoom_out=0, crop=0, photometric=0, multi_scale=0),  # scenes vary enough
    batch=8,
    workers=0,
    loggers=(),
)
FIRST_RATE = 2e-3  # from fresh weights
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's, two-sided, by number of seeds
Round = dict[str, Any]
Curves = dict[str, list[list[Round]]]  # by way, then seed, then round


def subset(pool: SceneDataset, chosen: list[int]) -> SceneDataset:
    """Some scenes of the pool, perhaps several times, as a data set of their own."""
    part = type(pool)(len(chosen), pool.seed, pool.split, pool.size)
    part.image_ids = tuple(chosen)
    part.paths = tuple(pool.paths[index] for index in chosen)
    part._scenes = [pool.scene(index) for index in chosen]
    return part


def trained(
    before: Detector, pool: SceneDataset, chosen: list[int], seed: int, steps: int, rate: float, folder: Path
) -> Detector:
    """After `steps` more updates."""
    if not steps:
        return before
    data = subset(pool, np.resize(chosen, steps * SETTINGS.batch).tolist())  # in turn, to fill the epoch
    optimizer = OptimizerConfig(lr=rate, backbone_lr=rate).model_dump()
    settings = SETTINGS.updated({"seed": seed, "size": before.config.size, "optimizer": optimizer})
    shutil.rmtree(folder / "run", ignore_errors=True)
    before.fit(data, None, settings, folder / "run", console=Console(quiet=True))
    shutil.rmtree(folder / "run")
    return before


def picked(way: str, before: Detector, pool: SceneDataset, known: list[int], k: int, seed: int) -> list[int]:
    """k more images of the pool."""
    free = sorted(set(range(len(pool))) - set(known))
    if way == "random":
        rng = np.random.default_rng([seed, len(known)])
        return sorted(rng.choice(free, k, replace=False).tolist())
    images = [pool[index].image for index in free]
    found = before.select(images, k, known=[pool[index].image for index in known], batch=16)
    return [free[one.index] for one in found.picks]


@dataclass(frozen=True)
class Plan:
    """What all rounds of a seed share; `images` and `steps` are those of the first and of each later one."""

    seed: int
    start: str | None
    pool: SceneDataset
    test: SceneDataset
    images: tuple[int, int]
    steps: tuple[int, int]
    rate: float

    def first(self, folder: Path) -> Round:
        """Of fresh weights, or of the detector to start from."""
        rng = np.random.default_rng(self.seed)
        chosen = sorted(rng.choice(len(self.pool), self.images[0], replace=False).tolist())
        if self.start is None:
            detector, rate = Detector(MODEL, CLASS_NAMES, seed=self.seed, device="cpu"), FIRST_RATE
        else:
            detector, rate = Detector.from_pretrained(self.start, device="cpu").uncalibrated(), self.rate
        return self._measured(detector, chosen, self.steps[0], rate, folder)

    def later(self, way: str, before: Path, known: list[int], folder: Path) -> Round:
        """After a round that is in the folder `before`."""
        detector = Detector.from_pretrained(before / "detector.safetensors", device="cpu")
        chosen = known + picked(way, detector, self.pool, known, self.images[1], self.seed)
        return self._measured(detector, chosen, self.steps[1], self.rate, folder)

    def _measured(
        self, detector: Detector, chosen: list[int], steps: int, rate: float, folder: Path
    ) -> Round:
        detector = trained(detector, self.pool, chosen, self.seed, steps, rate, folder)
        metrics = detector.evaluate(self.test, batch=32)
        folder.mkdir(parents=True, exist_ok=True)
        detector.save(folder / "detector.safetensors")
        boxes = sum(len(self.pool[index].labels) for index in chosen)
        counts = {"images": len(chosen), "boxes": boxes, "chosen": chosen}
        result = {"ap": metrics.ap, "ap50": metrics.ap50, **counts}
        (folder / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
        print(f"{folder}: AP {metrics.ap:.4f} with {len(chosen)} images, {boxes} boxes", flush=True)
        return result


def learned(plan: Plan, way: str, rounds: int, out: Path) -> list[Round]:
    """The results of all rounds of one way and seed; those that are missing are made."""
    results: list[Round] = []
    before = out
    for number in range(1, rounds + 1):
        folder = out / ("first" if number == 1 else f"{way}{number}")
        if (folder / "result.json").is_file():
            results.append(json.loads((folder / "result.json").read_text(encoding="utf-8")))
        elif number == 1:
            results.append(plan.first(folder))
        else:
            results.append(plan.later(way, before, results[-1]["chosen"], folder))
        before = folder
    return results


def area(results: list[Round], cost: str, end: float) -> float:
    """Mean AP from the first round's cost up to `end`, straight between rounds."""
    ap, costs = (np.array([one[key] for one in results], np.float64) for key in ("ap", cost))
    return float(np.interp(np.linspace(costs[0], end, 1001), costs, ap).mean())


def compared(curves: Curves, cost: Literal["images", "boxes"]) -> dict[str, Any]:
    """Areas of each way by seed, and their mean difference with its interval."""
    ends = [min(one[-1][cost] for one in pair) for pair in zip(*curves.values(), strict=True)]
    areas = {
        way: [area(one, cost, end) for one, end in zip(by_seed, ends, strict=True)]
        for way, by_seed in curves.items()
    }
    gain = np.array(areas["select"]) - np.array(areas["random"])
    half = T_95[len(gain)] * gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) in T_95 else float("nan")
    return {
        "areas": areas,
        "gain": float(gain.mean()),
        "gain_95": [float(gain.mean() - half), float(gain.mean() + half)],
    }


def table(curves: Curves, gains: dict[str, dict[str, Any]]) -> str:
    """Curves as means over seeds, and what they add up to."""
    lines = [
        "| images | " + " | ".join(f"AP, {way} | boxes, {way}" for way in curves) + " |",
        "|" + "---|" * (1 + 2 * len(curves)),
    ]
    for number, first in enumerate(curves["select"][0]):
        cells = []
        for by_seed in curves.values():
            ap, boxes = ([one[number][key] for one in by_seed] for key in ("ap", "boxes"))
            cells += [f"{np.mean(ap):.4f} ± {np.std(ap, ddof=1):.4f}", f"{np.mean(boxes):.0f}"]
        lines.append(f"| {first['images']} | {' | '.join(cells)} |")
    for cost, one in gains.items():
        low, high = one["gain_95"]
        text = f"{one['gain']:+.4f} (95 % {low:+.4f} to {high:+.4f})"
        lines += ["", f"Area under the curve over {cost}, select less random: {text}."]
    return "\n".join(lines) + "\n"


def plot(curves: Curves, path: Path) -> None:
    """AP over images and over boxes; thin lines are seeds."""
    figure = Figure(figsize=(9, 3.8), dpi=140, layout="constrained")
    for axes, cost in zip(figure.subplots(1, 2, sharey=True), ("images", "boxes"), strict=True):
        for colour, (way, by_seed) in zip(("C0", "0.5"), curves.items(), strict=True):
            paid, ap = (np.array([[one[key] for one in run] for run in by_seed]) for key in (cost, "ap"))
            axes.plot(paid.T, ap.T, color=colour, alpha=0.35, linewidth=1)
            axes.plot(paid.mean(0), ap.mean(0), "o-", color=colour, linewidth=2, label=way)
        axes.set(xlabel=f"annotated {cost}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("AP on unseen scenes")
    figure.axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(path)


def main(
    *,
    out: Path = Path("runs/select"),
    start: str | None = None,
    seeds: int = 3,
    only: int | None = None,
    rounds: int = 5,
    images: tuple[int, int] = (48, 32),
    pool: int = 320,
    test: int = 200,
    steps: tuple[int, int] = (400, 60),
    rate: float = 1e-3,
) -> None:
    """Makes the rounds that are missing in OUT, then writes result.json, table.md and curve.png there.

    IMAGES and STEPS are those annotated and the updates made in the first round, and in each later one, RATE
    is that of the later ones. START is a detector of scenes, which meets infrared ones. With ONLY, the rounds
    of one seed are made and nothing else.
    """
    torch.set_num_threads(1)
    scenes = partial(SceneDataset, size=SIZE) if start is None else InfraredScenes
    unseen = scenes(test, 0, "test")
    curves: Curves = {way: [] for way in WAYS}
    for seed in range(seeds) if only is None else [only]:
        plan = Plan(seed, start, scenes(pool, seed, "train"), unseen, images, steps, rate)
        for way in WAYS:
            curves[way].append(learned(plan, way, rounds, out / f"seed{seed}"))
    if only is not None:
        return
    gains = {cost: compared(curves, cost) for cost in ("images", "boxes")}
    sizes = {"rounds": rounds, "images": images, "pool": pool, "test": test, "steps": steps}
    settings: dict[str, Any] = {"start": start, "rate": rate, **sizes}
    rows = {
        way: [[{key: one[key] for key in one if key != "chosen"} for one in results] for results in by_seed]
        for way, by_seed in curves.items()
    }
    text = json.dumps({"gains": gains, **settings, "curves": rows, **provenance()}, indent=2)
    (out / "result.json").write_text(text + "\n", encoding="utf-8")
    (out / "table.md").write_text(table(curves, gains), encoding="utf-8")
    plot(curves, out / "curve.png")
    print(table(curves, gains))


if __name__ == "__main__":
    cyclopts.run(main)
