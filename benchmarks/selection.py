"""Is what `edgewise select` picks worth more than what chance picks? Learning curves on scenes.

    python benchmarks/selection.py --out runs/select

A small detector begins with some annotated scenes. Round after round more of a pool are annotated, picked
either by `select` (with those annotated so far as `known`) or at random, and training goes on from the last
round's weights. Both ways share the first round of a seed. After every round AP is measured on the same
unseen scenes. A round that has its result is not repeated, so the same command goes on after any stop.

The result is the area under the curve (mean AP over rounds, trapezoids) of `select` less that of chance, seed
by seed, with the 95 % interval of their mean by Student's t. Images are what is paid for; scenes hold one to
six objects, so the boxes that each way had annotated are told beside it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console

from edgewise.api import Detector
from edgewise.cli.provenance import provenance
from edgewise.data.scenes import CLASS_NAMES, SceneDataset
from edgewise.demo import SETTINGS, small_model

WAYS = ("select", "random")
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's, two-sided, by number of seeds


def subset(pool: SceneDataset, chosen: list[int]) -> SceneDataset:
    """Some scenes of the pool as a data set of their own."""
    part = SceneDataset(len(chosen), pool.seed, pool.split)
    part.image_ids = tuple(chosen)
    part.paths = tuple(pool.paths[index] for index in chosen)
    part._scenes = [pool.scene(index) for index in chosen]
    return part


def trained(before: Path | None, data: SceneDataset, seed: int, steps: int, folder: Path) -> Detector:
    """After `steps` more updates, from fresh weights or from those of a round before."""
    if before is None:
        detector = Detector(small_model(len(CLASS_NAMES)), CLASS_NAMES, seed=seed, device="cpu")
    else:
        detector = Detector.from_pretrained(before, device="cpu")
    epochs = max(2, round(steps * SETTINGS.batch / len(data)))
    changes = {"seed": seed, "schedule.epochs": epochs, "workers": 0, "loggers": ()}
    shutil.rmtree(folder / "run", ignore_errors=True)
    detector.fit(data, None, SETTINGS.updated(changes), folder / "run", console=Console(quiet=True))
    return detector


def picked(way: str, before: Path, pool: SceneDataset, known: list[int], k: int, seed: int) -> list[int]:
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
) -> dict[str, Any]:
    """The result of a round, made now if it is missing."""
    path = folder / "result.json"
    if not path.is_file():
        data = subset(pool, chosen)
        detector = trained(before, data, seed, steps, folder)
        metrics = detector.evaluate(test, batch=32)
        detector.save(folder / "detector.safetensors")
        shutil.rmtree(folder / "run")
        boxes = sum(len(data[index].labels) for index in range(len(data)))
        result = {
            "ap": metrics.ap,
            "ap75": metrics.ap75,
            "images": len(chosen),
            "boxes": boxes,
            "chosen": chosen,
        }
        path.write_text(json.dumps(result) + "\n", encoding="utf-8")
        print(f"{folder}: AP {metrics.ap:.4f} with {len(chosen)} images, {boxes} boxes", flush=True)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def learned(
    out: Path,
    way: str,
    seed: int,
    rounds: int,
    images: int,
    pool: SceneDataset,
    test: SceneDataset,
    steps: int,
) -> list[dict[str, Any]]:
    """The results of all rounds of one way and seed."""
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(len(pool), images, replace=False).tolist())
    folder = out / f"seed{seed}/first"
    results = [round_of(folder, None, pool, chosen, test, seed, 2 * steps)]
    for number in range(2, rounds + 1):
        before, folder = folder / "detector.safetensors", out / f"seed{seed}/{way}{number}"
        if not (folder / "result.json").is_file():
            chosen = chosen + picked(way, before, pool, chosen, images, seed)
        results.append(round_of(folder, before, pool, chosen, test, seed, steps))
        chosen = results[-1]["chosen"]
    return results


def area(results: list[dict[str, Any]]) -> float:
    """Mean AP over the range of images."""
    ap, images = (np.array([one[key] for one in results], np.float64) for key in ("ap", "images"))
    return float(((ap[1:] + ap[:-1]) / 2 * np.diff(images)).sum() / (images[-1] - images[0]))


def compared(curves: dict[str, list[list[dict[str, Any]]]]) -> dict[str, Any]:
    """Areas of each way by seed, and their mean difference with its interval."""
    areas = {way: [area(one) for one in by_seed] for way, by_seed in curves.items()}
    gain = np.array(areas["select"]) - np.array(areas["random"])
    half = T_95[len(gain)] * gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) in T_95 else float("nan")
    return {
        "areas": areas,
        "gain": float(gain.mean()),
        "gain_95": [float(gain.mean() - half), float(gain.mean() + half)],
    }


def table(curves: dict[str, list[list[dict[str, Any]]]], result: dict[str, Any]) -> str:
    lines = [
        "| images | " + " | ".join(f"AP, {way} | boxes, {way}" for way in curves) + " |",
        "|---" * 5 + "|",
    ]
    for number, first in enumerate(curves["select"][0]):
        cells = []
        for by_seed in curves.values():
            ap, boxes = ([one[number][key] for one in by_seed] for key in ("ap", "boxes"))
            cells += [f"{np.mean(ap):.4f} ± {np.std(ap):.4f}", f"{np.mean(boxes):.0f}"]
        lines.append(f"| {first['images']} | {' | '.join(cells)} |")
    low, high = result["gain_95"]
    text = f"Area under the curve, select less random: {result['gain']:+.4f} (95 % {low:+.4f} to {high:+.4f})"
    return "\n".join([*lines, "", text]) + "\n"


def plot(curves: dict[str, list[list[dict[str, Any]]]], path: Path) -> None:
    figure = Figure(figsize=(5.5, 4), dpi=140, layout="constrained")
    axes = figure.subplots()
    for colour, (way, by_seed) in zip(("C0", "0.5"), curves.items(), strict=True):
        images = [one["images"] for one in by_seed[0]]
        ap = np.array([[one["ap"] for one in results] for results in by_seed])
        axes.plot(images, ap.T, color=colour, alpha=0.35, linewidth=1)
        axes.plot(images, ap.mean(0), "o-", color=colour, linewidth=2, label=way)
    axes.set(xlabel="annotated images", ylabel="AP on unseen scenes")
    axes.grid(alpha=0.25)
    axes.legend()
    figure.savefig(path)


def main(
    *,
    out: Path = Path("runs/select"),
    seeds: int = 3,
    rounds: int = 5,
    images: int = 80,
    pool: int = 1500,
    test: int = 250,
    steps: int = 500,
) -> None:
    """Makes the rounds that are missing in OUT, then writes result.json, table.md and curve.png there.

    IMAGES are annotated each round, STEPS are the updates of each (twice as many in the first).
    """
    torch.set_num_threads(1)
    unseen = SceneDataset(test, 0, "test")
    curves: dict[str, list[list[dict[str, Any]]]] = {way: [] for way in WAYS}
    for seed in range(seeds):
        scenes = SceneDataset(pool, seed, "train")
        for way in WAYS:
            curves[way].append(learned(out, way, seed, rounds, images, scenes, unseen, steps))
    result = compared(curves)
    text = table(curves, result)
    settings = {
        "seeds": seeds,
        "rounds": rounds,
        "images": images,
        "pool": pool,
        "test": test,
        "steps": steps,
    }
    rows = {
        way: [[{**one, "chosen": None} for one in results] for results in by_seed]
        for way, by_seed in curves.items()
    }
    (out / "result.json").write_text(
        json.dumps({**result, **settings, "curves": rows, **provenance()}, indent=2) + "\n", encoding="utf-8"
    )
    (out / "table.md").write_text(text, encoding="utf-8")
    plot(curves, out / "curve.png")
    print(text)


if __name__ == "__main__":
    cyclopts.run(main)
