"""Summarises finished runs of `edgewise train`: a table, and beside it what the table is read from.

    python benchmarks/finetune.py runs/bccd runs/aquarium runs/person121 runs/deeppcb

Of each run it copies what is small: result.json, settings.yaml, metrics.jsonl, the metrics of the scored
split, the run's curves and three pictures of that split. A run whose files do not agree is refused.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import cyclopts
import yaml
from PIL import Image

RESULTS = Path(__file__).parent / "results/finetune"
FIELDS = (
    "ap",
    "ap50",
    "split",
    "minutes",
    "epochs",
    "size",
    "start",
    "command",
    "commit",
    "torch",
    "cores",
    "processor",
)
PICTURES = ("precision_recall.png", "confusion.png", "worst_images.png")
WIDTH = 1200  # pixels at most of a copied picture
HEADER = "| data | start | size | epochs | images, split | AP | AP50 | minutes | command |"


def checked(run: Path) -> dict[str, Any]:
    """result.json of a run with the metrics of its split. ValueError where the two do not agree."""
    path = run / "result.json"
    if not path.is_file():
        raise FileNotFoundError(f"{run}: no result.json; the run is not finished")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    missing = [name for name in FIELDS if name not in result]
    if missing:
        raise ValueError(f"{path}: without {', '.join(missing)}; made by another version of edgewise train")
    metrics = json.loads((run / result["split"] / "metrics.json").read_text(encoding="utf-8"))
    settings = yaml.safe_load((run / "settings.yaml").read_text(encoding="utf-8"))
    for name, told, found in (
        ("ap", result["ap"], metrics["ap"]),
        ("ap50", result["ap50"], metrics["ap50"]),
        ("epochs", result["epochs"], settings["schedule"]["epochs"]),
        ("size", list(result["size"]), list(settings["size"])),
    ):
        if told != found:
            raise ValueError(f"{path}: {name} is {told}, but the run's other files say {found}")
    return {**result, "metrics": metrics}


def copy_small(run: Path, split: str, folder: Path) -> None:
    """The run's files that belong into a repository, pictures no wider than WIDTH."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "settings.yaml", "metrics.jsonl", "results.png", f"{split}/metrics.json"):
        shutil.copy(run / name, folder / Path(name).name)
    for name in PICTURES:
        with Image.open(run / split / name) as picture:
            picture = picture.convert("RGB")
            picture.thumbnail((WIDTH, 10 * WIDTH))
            picture.save(folder / f"{Path(name).stem}.jpg", quality=88)


def row(name: str, result: dict[str, Any]) -> str:
    height, width = result["size"]
    cells = (
        f"[{name}]({name}/result.json)",
        result["start"] or "",
        f"{height} x {width}",
        f"{result['epochs']}",
        f"{result['metrics']['num_images']}, {result['split']}",
        f"**{result['ap']:.3f}**",
        f"{result['ap50']:.3f}",
        f"{result['minutes']:.0f}",
        f"`{result['command']}`",
    )
    return f"| {' | '.join(cells)} |"


def page(results: dict[str, dict[str, Any]]) -> str:
    """README.md of the folder: one row a run, its curves below."""
    machines = {f"{one['cores']} cores, {one['processor']}, torch {one['torch']}" for one in results.values()}
    curves = (
        f"## {name}\n\n![Losses, AP, rate and speed over epochs]({name}/results.png)\n" for name in results
    )
    return "\n".join(
        [
            "# Data sets as they lie there, one command each\n",
            HEADER,
            "|" + "---|" * (HEADER.count("|") - 1),
            *(row(name, result) for name, result in results.items()),
            "\nHeight x width. Start: what `--model` names, else the default of that commit, which was n,",
            "fresh weights, before it was dfine-n-scenes (here without its stage `long`). "
            f"Machine: {'; '.join(sorted(machines))}.\n",
            *curves,
        ]
    )


def summarise(*runs: Path, out: Path = RESULTS) -> None:
    """Copies the small files of finished runs into OUT and writes its table, one row a run."""
    results = {run.resolve().name: checked(run) for run in runs}
    for run, (name, result) in zip(runs, results.items(), strict=True):
        copy_small(run, result["split"], out / name)
    (out / "README.md").write_text(page(results), encoding="utf-8")
    print(f"{len(results)} runs in {out / 'README.md'}")


if __name__ == "__main__":
    cyclopts.run(summarise)
