"""`edgewise train`."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from edgewise.cli.app import Flag, app, console, say
from edgewise.cli.provenance import provenance
from edgewise.cli.words import parse_changes, parse_size, scores

if TYPE_CHECKING:
    from edgewise.api import Detector, Run
    from edgewise.data.dataset import Dataset

Changes = Annotated[list[str] | None, Parameter(name="--set", negative=())]


@app.command
def train(
    data: Path,
    *,
    model: str | None = None,
    epochs: int | None = None,
    size: str | None = None,
    batch: int | Literal["auto"] | None = None,
    lr: float | Literal["find"] | None = None,
    recipe: Literal["auto", "deim"] = "auto",
    augment: Literal["auto", "none"] = "auto",
    out: Path = Path("runs/train"),
    backbone: Path | None = None,
    seed: int | None = None,
    device: str | None = None,
    devices: int = 1,
    settings: Path | None = None,
    set_: Changes = None,
    selfcheck: bool = True,
    resume: Annotated[bool, Flag] = False,
) -> None:
    """Train a detector on annotated images.

    Checks data and model first, chooses settings that suit the data and says why. Writes best.safetensors
    (a whole detector), report.html, curves, metrics.jsonl and result.json into OUT. Ctrl-C saves first; the
    same command with --resume goes on.

    Example: `edgewise train bccd/ --out runs/bccd`

    Parameters
    ----------
    data
        Annotated images: COCO or Roboflow JSON, YOLO, Pascal VOC, LabelMe, CVAT, CSV, … as they lie there.
        `edgewise doctor DATA` says what is wrong with them.
    model
        A checkpoint or hub name (dfine-s-coco) to start from, or n, s, m, l or x for fresh weights. By
        default dfine-n-scenes, which comes with the package: size n, trained on made-up scenes, from where
        photographs are learned sooner than from fresh weights. A resumed run has its own.
    epochs
        Passes over the training images; follows from their number by default.
    size
        Most the longer side of the input may have (640 by default), in multiples of 32; the shorter follows
        the images' shape. Or HEIGHTxWIDTH.
    batch
        Images a step; follows from their number by default. auto: the most that data and memory suit.
    lr
        Learning rate outside the backbone, whose own keeps its proportion; the recipe's by default.
        find: test a range of rates first, draw lr_range.png and take the suggestion.
    recipe
        auto: from the data. deim: with mosaic, mixup, copy-blend and the matchability-aware loss.
    augment
        none: images as they are, resized and nothing else.
    out
        Folder of the run.
    backbone
        A published PPHGNetV2_B*_stage1.pth for the backbone of a fresh model.
    seed
        Everything random follows from it.
    device
        cpu, cuda, cuda:1, mps; the best there is by default.
    devices
        Processes on this machine, a GPU each. On several machines: torchrun … -m edgewise train …
    settings
        YAML file as a run writes it (settings.yaml).
    set_
        Any other setting: --set augment.crop=0.3 --set optimizer.lr=0.0004
    selfcheck
        Check data, boxes, first batch, memory and learning before the first epoch.
    resume
        Go on with the run in OUT, with the settings it began with.
    """
    from edgewise.api import Detector
    from edgewise.checkpoint import SCENES
    from edgewise.data.open import open_to_train
    from edgewise.presets import SIZES
    from edgewise.train.distributed import main_process

    if resume and model is not None:
        _check_model(model, out)
    named = model
    model = named or ("n" if backbone else SCENES)
    sides = parse_size(size)
    changes = parse_changes(set_ or []) | ({"device": device} if device else {})
    if backbone is not None and model not in SIZES:
        raise ValueError(f"--backbone starts a fresh model (n, s, m, l, x), but --model is {model}")
    splits = open_to_train(data)  # all of them: what is wrong with the test split is said now, too
    split = next(name for name in ("test", "val", "train") if name in splits)
    scored = splits[split]
    if model in SIZES:
        names = splits["train"].class_names
        detector = Detector(model, names, backbone=backbone, seed=seed or 0, device=device or "auto")
    else:
        detector = Detector.from_pretrained(model, device=device or "auto")
    try:
        run = detector.train(
            splits,
            out=out,
            epochs=epochs,
            size=sides,
            batch=batch,
            lr=lr,
            recipe=recipe,
            augment=augment,
            seed=seed,
            settings=settings,
            changes=changes,
            selfcheck=selfcheck,
            resume=resume,
            devices=devices,
            console=console,
        )
    except KeyboardInterrupt:
        if not (out / "last.state").exists():
            raise
        raise KeyboardInterrupt("stopped; the same command with --resume goes on") from None
    if main_process():
        _score(detector, run, scored, split, named if resume else model)


def _check_model(model: str, folder: Path) -> None:
    """ValueError if the run to be resumed in `folder` is of another size than `model` would be."""
    from edgewise import checkpoint
    from edgewise.presets import SIZES
    from edgewise.train.state import read_state

    given = model if model in SIZES else checkpoint.load(model).config.name
    of_run = read_state(folder)["model_config"]["name"]
    if given != of_run:
        raise ValueError(
            f"--model {model} is of size {given}, but the run in {folder} is of size {of_run} and goes on "
            "so; leave --model out to resume it, or start another run in another --out"
        )


def _score(detector: "Detector", run: "Run", dataset: "Dataset", split: str, start: str | None) -> None:
    """Scores the best weights of a run on a split, writes result.json and report.html, and says so.

    `start` is what the run began with, None where nobody said, as when it is resumed.
    """
    from edgewise.run_page import write_run_page

    try:
        metrics = detector.evaluate(dataset, out=run.folder / split, progress=True)
    except ValueError as error:
        raise ValueError(
            f"{run.folder / 'best.safetensors'} is trained and whole, but the {split} split could not be "
            f"scored: {error}. Mend it, then: edgewise evaluate CHECKPOINT DATA --split {split}"
        ) from error
    numbers = metrics.to_dict()
    result = {
        "ap": numbers["ap"],
        "ap50": numbers["ap50"],
        "split": split,
        "minutes": round(run.minutes, 1),
        "epochs": run.config.schedule.epochs,
        "size": list(run.config.size),
        "start": start,
        "command": shlex.join(["edgewise", *sys.argv[1:]]),
        **provenance(),
    }
    (run.folder / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    page = write_run_page(run.folder)
    console.print(metrics.table())
    say(
        f"{run.folder / 'best.safetensors'}: {scores(numbers, 'ap', 'ap50')} on the {split} split after "
        f"{result['minutes']} minutes; curves and pictures are in {page}",
    )
