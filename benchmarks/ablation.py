"""Which part of a recipe did it: variants times seeds, one run after another, then a table and a plot.

    python benchmarks/ablation.py benchmarks/ablation.yaml --out runs/ablation

The file names the command that all share, the seeds, and what each variant sets differently, or which
`model` it starts from. The first variant is the full recipe, with which the others are compared:

    command: train ../shared/data/bccd --model n
    seeds: [0, 1, 2]
    variants:
      full: {}
      without mal: {loss.classification: vfl}

A run that has its result is not repeated, one that was interrupted goes on; so the same command goes on
after any stop.
"""

import json
import math
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import cyclopts
import yaml
from matplotlib.figure import Figure

Results = dict[str, list[dict[str, Any]]]  # variant → result.json of each seed


def read(path: Path) -> dict[str, Any]:
    plan: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if set(plan) != {"command", "seeds", "variants"}:
        raise ValueError(f"{path}: has {', '.join(plan)}; expected command, seeds, variants")
    return plan


def folder_of(out: Path, variant: str, seed: int) -> Path:
    return out / f"{variant.replace(' ', '_')}_s{seed}"


def command(plan: dict[str, Any], variant: str, seed: int, folder: Path) -> list[str]:
    """The words of one run. Values are written as JSON, which is YAML too."""
    changes = plan["variants"][variant] or {}
    words = [*shlex.split(plan["command"]), "--seed", str(seed), "--out", str(folder)]
    for key, value in changes.items():
        words += ["--model", value] if key == "model" else ["--set", f"{key}={json.dumps(value)}"]
    return [*words, "--resume"] if (folder / "last.state").exists() else words


def run_all(plan: dict[str, Any], out: Path) -> Results:
    """Every result, those that are missing made now: a seed of every variant before the next seed."""
    for seed in plan["seeds"]:
        for variant in plan["variants"]:
            folder = folder_of(out, variant, seed)
            if not (folder / "result.json").is_file():
                words = command(plan, variant, seed, folder)
                print(shlex.join(["edgewise", *words]), flush=True)
                subprocess.run([sys.executable, "-m", "edgewise", *words], check=True)
    return {
        variant: [
            json.loads((folder_of(out, variant, seed) / "result.json").read_text(encoding="utf-8"))
            for seed in plan["seeds"]
        ]
        for variant in plan["variants"]
    }


def spread(values: list[float]) -> float:
    """Standard deviation over seeds; nan of a single one."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def difference(values: list[float], full: list[float]) -> tuple[float, float]:
    """Mean of `values` less that of `full`, and its standard error, that of two independent means."""
    error = math.sqrt(spread(values) ** 2 / len(values) + spread(full) ** 2 / len(full))
    return statistics.fmean(values) - statistics.fmean(full), error


def table(results: Results) -> str:
    """Markdown: mean ± standard deviation over seeds, difference to the first variant ± standard error."""
    full = [one["ap"] for one in next(iter(results.values()))]
    lines = ["| variant | AP | AP50 | minutes | AP less that of the full recipe |", "|---|---|---|---|---|"]
    for index, (variant, runs) in enumerate(results.items()):
        ap, ap50 = ([one[key] for one in runs] for key in ("ap", "ap50"))
        shift, error = difference(ap, full)
        minutes = statistics.fmean(one["minutes"] for one in runs)
        lines.append(
            f"| {variant} | {statistics.fmean(ap):.4f} ± {spread(ap):.4f} "
            f"| {statistics.fmean(ap50):.4f} ± {spread(ap50):.4f} | {minutes:.0f} "
            f"| {'' if index == 0 else f'{shift:+.4f} ± {error:.4f}'} |"
        )
    return "\n".join(lines) + "\n"


def plot(results: Results, path: Path) -> None:
    """Writes a row a variant: a dot a seed, a bar for the mean, a line down from the full recipe's mean."""
    figure = Figure(figsize=(7, 1.2 + 0.42 * len(results)), dpi=140, layout="constrained")
    axes = figure.subplots()
    means = {variant: statistics.fmean(one["ap"] for one in runs) for variant, runs in results.items()}
    axes.axvline(next(iter(means.values())), color="0.7", linewidth=1, zorder=0)
    for y, (variant, runs) in enumerate(results.items()):
        axes.plot([one["ap"] for one in runs], [y] * len(runs), "o", color="C0", alpha=0.6, markersize=5)
        axes.plot([means[variant]] * 2, [y - 0.28, y + 0.28], color="black", linewidth=2)
    axes.set_yticks(range(len(results)), list(results))
    axes.set(ylim=(len(results) - 0.5, -0.5), xlabel="AP (dots: seeds, bars: means)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    figure.savefig(path)


def ablate(plan: Path, *, out: Path = Path("runs/ablation")) -> None:
    """Makes the runs of PLAN that are missing in OUT, then writes table.md and ablation.png there."""
    results = run_all(read(plan), out)
    (out / "table.md").write_text(table(results), encoding="utf-8")
    plot(results, out / "ablation.png")
    print(table(results))


if __name__ == "__main__":
    cyclopts.run(ablate)
