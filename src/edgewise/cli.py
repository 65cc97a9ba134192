"""The `edgewise` command: words → settings → one call. Each command imports what it needs when it runs."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

from edgewise.config import check_size

app = App(
    name="edgewise",
    help="Real-time object detection with honest error bars (D-FINE).",
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # `main` has something to say about it
)
console = Console(stderr=True)

Flag = Parameter(negative=())
Changes = Annotated[list[str] | None, Parameter(name="--set", negative=())]


@app.command
def train(
    data: Path,
    *,
    model: str = "n",
    epochs: int | None = None,
    size: str | None = None,
    batch: int | None = None,
    out: Path = Path("runs/train"),
    backbone: Path | None = None,
    seed: int | None = None,
    device: str | None = None,
    settings: Path | None = None,
    set_: Changes = None,
    resume: Annotated[bool, Flag] = False,
) -> None:
    """Train a detector on annotated images.

    Writes best.safetensors (a whole detector), curves, metrics.jsonl and result.json into OUT. Ctrl-C
    saves first; the same command with --resume goes on.

    Example: `edgewise train bccd/ --model n --epochs 72 --size 640 --batch 16 --out runs/bccd`

    Parameters
    ----------
    data
        Folder with one COCO JSON a split (train, val, test) and its images.
    model
        n, s, m, l or x for fresh weights, or a checkpoint or hub name (dfine-s-coco) to start from.
    epochs
        Passes over the training images; 72 unless settings say otherwise.
    size
        Side of the square input, or HEIGHTxWIDTH, in multiples of 32; the model's own (640) by default.
    batch
        Images a step; 16 unless settings say otherwise.
    out
        Folder of the run.
    backbone
        A published PPHGNetV2_B*_stage1.pth for the backbone of a fresh model.
    seed
        Everything random follows from it.
    device
        cpu, cuda, cuda:1, mps; the best there is by default.
    settings
        YAML file as a run writes it (settings.yaml).
    set_
        Any other setting: --set augment.crop=0.3 --set optimizer.lr=0.0004
    resume
        Go on with the run in OUT, with the settings it began with.
    """
    from edgewise.api import Detector
    from edgewise.data.coco import available_splits, open_dataset
    from edgewise.presets import SIZES

    pair = parse_size(size)
    changes = parse_changes(set_ or []) | ({"device": device} if device else {})
    if model in SIZES:
        names = open_dataset(data, "train").class_names
        detector = Detector(model, names, backbone=backbone, seed=seed or 0, device=device or "auto")
    elif backbone is not None:
        raise ValueError(f"--backbone starts a fresh model (n, s, m, l, x), but --model is {model}")
    else:
        detector = Detector.from_pretrained(model, device=device or "auto")
    run = detector.train(
        data,
        out=out,
        epochs=epochs,
        size=pair,
        batch=batch,
        seed=seed,
        settings=settings,
        changes=changes,
        resume=resume,
        console=console,
    )
    split = next(name for name in ("test", "val", "train") if name in available_splits(data))
    metrics = detector.evaluate(data, split, out=run.folder / split, progress=True)
    numbers = metrics.to_dict()
    result = {
        "ap": numbers["ap"],
        "ap50": numbers["ap50"],
        "split": split,
        "minutes": round(run.minutes, 1),
        "epochs": run.config.schedule.epochs,
        "size": list(run.config.size),
        "command": shlex.join(["edgewise", *sys.argv[1:]]),
        **provenance(),
    }
    (run.folder / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.print(metrics.table())
    console.print(
        f"{run.folder / 'best.safetensors'}: {_scores(numbers, 'ap', 'ap50')} on the {split} split after "
        f"{run.minutes:.0f} minutes; curves and pictures are beside it",
        markup=False,
    )


@app.command
def evaluate(
    checkpoint: str,
    data: Path,
    *,
    split: str = "val",
    size: str | None = None,
    batch: int = 8,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Score a checkpoint on annotated images: COCO's numbers and AP by class.

    Example: `edgewise evaluate runs/bccd/best.safetensors bccd/ --split test --out runs/bccd/test`

    Parameters
    ----------
    checkpoint
        A file, a transformers folder, or a hub name such as dfine-s-coco.
    data
        Folder with one COCO JSON a split and its images, or one JSON file.
    split
        train, val or test.
    size
        Side of the square input, or HEIGHTxWIDTH; what it was trained at by default.
    batch
        Images a forward pass.
    out
        Folder for metrics.json, precision-recall and F1 curves and the worst images.
    device
        cpu, cuda, mps; the best there is by default.
    """
    from edgewise.api import Detector

    pair = parse_size(size)
    detector = Detector.from_pretrained(checkpoint, device=device)
    metrics = detector.evaluate(data, split, size=pair, batch=batch, out=out, progress=True)
    console.print(metrics.table())
    if out:
        console.print(f"numbers, curves and the worst images are in {out}", markup=False)


@app.command
def predict(
    checkpoint: str,
    source: Annotated[list[str], Parameter(negative=())],
    *,
    threshold: float = 0.5,
    size: str | None = None,
    batch: int = 8,
    out: Path = Path("runs/predict"),
    device: str = "auto",
) -> None:
    """Detect objects in images: a picture with error bars on every edge, and the numbers as JSON.

    Example: `edgewise predict runs/bccd/best.safetensors photos/ --threshold 0.4 --out found`

    Parameters
    ----------
    checkpoint
        A file, a transformers folder, or a hub name such as dfine-s-coco.
    source
        Images, folders, patterns ('photos/*.jpg') or URLs.
    threshold
        Objects with at least this score are kept.
    size
        Side of the square input, or HEIGHTxWIDTH; what it was trained at by default.
    batch
        Images a forward pass.
    out
        Folder for NAME.jpg and NAME.json of every image.
    device
        cpu, cuda, mps; the best there is by default.
    """
    from rich.progress import track

    from edgewise.api import Detector
    from edgewise.predict.sources import expand

    pair = parse_size(size)
    images, _ = expand(source)
    if any(isinstance(image, Path) and image.parent.resolve() == out.resolve() for image in images):
        raise ValueError(f"--out {out}: the pictures could replace the images there; name another folder")
    detector = Detector.from_pretrained(checkpoint, device=device)
    found = detector.predict(images, threshold, batch=batch, size=pair, stream=True)
    out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()  # images of one name from several folders are numbered
    for detections in track(found, "detecting", total=len(images), console=console):
        stem = detections.source.stem if isinstance(detections.source, Path) else "image"
        numbered = (stem if number == 1 else f"{stem}_{number}" for number in count(1))
        name = next(one for one in numbered if one not in taken)
        taken.add(name)
        detections.save(out / f"{name}.jpg")
        detections.save(out / f"{name}.json")
        console.print(f"{name}: {detections}", markup=False, highlight=False)
    console.print(f"{len(images)} pictures and JSON files are in {out}", markup=False)


@app.command
def info(checkpoint: str) -> None:
    """What is in a checkpoint: size, classes, parameters, GFLOPs, how it was trained, how good it is.

    Example: `edgewise info runs/bccd/best.safetensors`

    Parameters
    ----------
    checkpoint
        A file, a transformers folder, a hub name such as dfine-s-coco, or n, s, m, l, x for an untrained
        model with COCO's 80 classes.
    """
    from rich.table import Table

    from edgewise.api import Detector
    from edgewise.classes import COCO
    from edgewise.model.counts import flops, parameter_count, published_deploy_parameter_count
    from edgewise.presets import SIZES, preset

    detector = (
        Detector(preset(checkpoint, len(COCO)), COCO)
        if checkpoint in SIZES
        else Detector.from_pretrained(checkpoint, device="cpu")
    )
    model, found = detector.model, detector.checkpoint()
    fused, size = model.fused(), detector.config.size
    names, recipe = detector.class_names, found.recipe
    table = Table(title=escape(checkpoint), show_header=False, title_justify="left")
    rows = {
        "model": f"{detector.config.name}, {size[0]}x{size[1]} (height x width)",
        "classes": f"{len(names)}: {', '.join(names[:20])}" + (", …" if len(names) > 20 else ""),
        "parameters": f"{parameter_count(model):,} to train, {parameter_count(fused):,} to predict "
        f"({published_deploy_parameter_count(model):,} as papers count them)",
        "GFLOPs": f"{flops(fused, size):.2f} an image",
        "trained": f"{found.step:,} steps" if found.step else "not here",
        "recipe": yaml.safe_dump(recipe, default_flow_style=True, width=10**6) if recipe else "not stored",
        "validation": _scores(found.metrics, "ap", "ap50", "ap75") if found.metrics else "not stored",
    }
    for name, value in rows.items():
        table.add_row(f"[bold]{name}", escape(value))
    Console().print(table)


@app.command
def demo(
    *,
    out: Path = Path("demo"),
    seed: int = 0,
) -> None:
    """See it work: made-up scenes, a small detector trained in minutes, pictures with error bars.

    Needs no file and no network. Writes report.html, pictures and the trained detector into OUT.

    Example: `edgewise demo`

    Parameters
    ----------
    out
        Folder for everything it makes.
    seed
        Scenes, weights and noise follow from it.
    """
    from edgewise.demo import run

    run(out, seed=seed, console=console)


# ── words to values ────────────────────────────────────────────────────────────────────────────────


def parse_size(text: str | None) -> tuple[int, int] | None:
    """«640» or «480x640» (height x width) as a pair. ValueError says what is expected."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise ValueError(f"size {text!r}: expected one side such as 640, or HEIGHTxWIDTH such as 480x640")
    return check_size((int(sides[0]), int(sides[-1])))


def parse_changes(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE words as settings; values are read as YAML."""
    changes = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--set {word}: expected KEY=VALUE, such as augment.crop=0.3")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"--set {word}: {value!r} is not a YAML value") from None
    return changes


def _scores(numbers: dict[str, Any], *names: str) -> str:
    """«AP 0.512, AP50 –»: undefined numbers, those without a box to find, are a dash."""
    values = (numbers.get(name) for name in names)
    shown = ("–" if value is None else f"{value:.3f}" for value in values)
    return ", ".join(f"{name.upper()} {value}" for name, value in zip(names, shown, strict=True))


def provenance() -> dict[str, Any]:
    """Where and with what a number was made: commit, versions, machine."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None  # installed from a wheel
    return {
        "commit": commit,
        "edgewise": metadata.version("edgewise"),
        "torch": metadata.version("torch"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
    }


def main() -> None:
    """Runs the command line; what a user can mend is one line and exit code 1, not a traceback."""
    try:
        app(sys.argv[1:])
    except KeyboardInterrupt:
        console.print("\nstopped; a training goes on with the same command and --resume")
        sys.exit(130)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
