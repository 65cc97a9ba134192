"""Is what `edgewise select` picks worth more than what chance picks? Learning curves on scenes.

    python benchmarks/selection.py --out runs/select

A small detector begins with some annotated scenes. Round after round more of a pool are annotated, picked
either by `select` (with those annotated so far as `known`) or at random, and training goes on from the last
round's weights. Both ways share the first round of a seed. After every round AP is measured on the same
unseen scenes. A round that has its result is not repeated, so the same command goes on after any stop, and
`--only 0`, `--only 1`, … make one seed each, side by side.

The result is the area under the curve (mean AP over what was annotated) of `select` less that of chance, seed
by seed, with the 95 % interval of their mean by Student's t. What is paid for may be images or boxes: scenes
hold one to six objects, so both are told, boxes over the range that both ways reach.
"""

import json
import shutil
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
from edgewise.presets import hgnetv2

WAYS = ("select", "random")
SIZE = (96, 96)  # of the scenes
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
    size=SIZE,
    batch=8,
    workers=0,
    loggers=(),
)
FIRST_RATE, LATER_RATE = 2e-3, 1e-3
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's, two-sided, by number of seeds
Round = dict[str, Any]
Curves = dict[str, list[list[Round]]]  # by way, then seed, then round


def subset(pool: SceneDataset, chosen: list[int]) -> SceneDataset:
    """Some scenes of the pool, perhaps several times, as a data set of their own."""
    part = SceneDataset(len(chosen), pool.seed, pool.split, pool.size)
    part.image_ids = tuple(chosen)
    part.paths = tuple(pool.paths[index] for index in chosen)
    part._scenes = [pool.scene(index) for index in chosen]
    return part


def trained(
    before: Path | None, pool: SceneDataset, chosen: list[int], seed: int, steps: int, folder: Path
) -> Detector:
    """After `steps` more updates, from fresh weights or from those of a round before."""
    if before is None:
        detector, rate = Detector(MODEL, CLASS_NAMES, seed=seed, device="cpu"), FIRST_RATE
    else:
        detector, rate = Detector.from_pretrained(before, device="cpu"), LATER_RATE
    data = subset(pool, np.resize(chosen, steps * SETTINGS.batch).tolist())  # in turn, to fill the epoch
    settings = SETTINGS.updated(
        {"seed": seed, "optimizer": OptimizerConfig(lr=rate, backbone_lr=rate).model_dump()}
    )
    shutil.rmtree(folder / "run", ignore_errors=True)
    detector.fit(data, None, settings, folder / "run", console=Console(quiet=True))
    return detector


def picked(way: str, before: Path, pool: SceneDataset, known: list[int], k: int, seed: int) -> list[int]:
    """k more images of the pool."""
    free = sorted(set(range(len(pool))) - set(known))
    if way == "random":
        rng = np.random.default_rng([seed, len(known)])
        return sorted(rng.choice(free, k, replace=False).tolist())
    images = [pool[index].image for index in free]
    found = Detector.from_pretrained(before, device="cpu").select(
        images, k, known=[pool[index].image for index in known], batch=16
    )
    return [free[one.index] for one in found.picks]


def round_of(
    folder: Path,
    before: Path | None,
    pool: SceneDataset,
    chosen: list[int],
    test: SceneDataset,
    seed: int,
    steps: int,
) -> Round:
    """The result of a round, made now if it is missing."""
    path = folder / "result.json"
    if not path.is_file():
        detector = trained(before, pool, chosen, seed, steps, folder)
        metrics = detector.evaluate(test, batch=32)
        detector.save(folder / "detector.safetensors")
        shutil.rmtree(folder / "run")
        boxes = sum(len(pool[index].labels) for index in chosen)
        result = {
            "ap": metrics.ap,
            "ap50": metrics.ap50,
            "images": len(chosen),
            "boxes": boxes,
            "chosen": chosen,
        }
        path.write_text(json.dumps(result) + "\n", encoding="utf-8")
        print(f"{folder}: AP {metrics.ap:.4f} with {len(chosen)} images, {boxes} boxes", flush=True)
    found: Round = json.loads(path.read_text(encoding="utf-8"))
    return found


def learned(
    out: Path,
    way: str,
    seed: int,
    rounds: int,
    images: tuple[int, int],
    pool: SceneDataset,
    test: SceneDataset,
    steps: tuple[int, int],
) -> list[Round]:
    """All rounds of one way and seed; `images` and `steps` are those of the first and of each later one."""
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(len(pool), images[0], replace=False).tolist())
    folder = out / f"seed{seed}/first"
    results = [round_of(folder, None, pool, chosen, test, seed, steps[0])]
    for number in range(2, rounds + 1):
        before, folder = folder / "detector.safetensors", out / f"seed{seed}/{way}{number}"
        if not (folder / "result.json").is_file():
            chosen = chosen + picked(way, before, pool, chosen, images[1], seed)
        results.append(round_of(folder, before, pool, chosen, test, seed, steps[1]))
        chosen = results[-1]["chosen"]
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
    seeds: int = 3,
    only: int | None = None,
    rounds: int = 5,
    images: tuple[int, int] = (48, 32),
    pool: int = 320,
    test: int = 200,
    steps: tuple[int, int] = (400, 60),
) -> None:
    """Makes the rounds that are missing in OUT, then writes result.json, table.md and curve.png there.

    IMAGES and STEPS are those annotated and the updates made in the first round, and in each later one. With
    ONLY, the rounds of one seed are made and nothing else.
    """
    torch.set_num_threads(1)
    unseen = SceneDataset(test, 0, "test", SIZE)
    curves: Curves = {way: [] for way in WAYS}
    for seed in range(seeds) if only is None else [only]:
        scenes = SceneDataset(pool, seed, "train", SIZE)
        for way in WAYS:
            curves[way].append(learned(out, way, seed, rounds, images, scenes, unseen, steps))
    if only is not None:
        return
    gains = {cost: compared(curves, cost) for cost in ("images", "boxes")}
    text = table(curves, gains)
    settings = {"rounds": rounds, "images": images, "pool": pool, "test": test, "steps": steps, "size": SIZE}
    rows = {
        way: [[{key: one[key] for key in one if key != "chosen"} for one in results] for results in by_seed]
        for way, by_seed in curves.items()
    }
    (out / "result.json").write_text(
        json.dumps({**gains, **settings, "curves": rows, **provenance()}, indent=2) + "\n", encoding="utf-8"
    )
    (out / "table.md").write_text(text, encoding="utf-8")
    plot(curves, out / "curve.png")
    print(text)


if __name__ == "__main__":
    cyclopts.run(main)
