"""`edgewise info`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgewise.cli.app import app
from edgewise.cli.options import Trust
from edgewise.cli.words import describe, scores

if TYPE_CHECKING:
    from edgewise.runtime.engines import Engine


@app.command
def info(checkpoint: str, *, trust: Trust = False) -> None:
    """What is in a checkpoint: size, classes, parameters, GFLOPs, how it was trained, how good it is.

    The last rows are the scores of its validation and the thresholds that predict --threshold auto applies.
    Of an exported file: what goes in and comes out, what it was made from, and its proof.

    Example: `edgewise info runs/bccd/best.safetensors`, or `edgewise info s` before any training

    Parameters
    ----------
    checkpoint
        A file, an exported one too, a transformers folder, a hub name such as dfine-s-coco, or n, s, m, l, x
        for an untrained model with COCO's 80 classes.
    """
    from edgewise.api import Detector
    from edgewise.classes import COCO
    from edgewise.model.counts import flops, parameter_count, published_deploy_parameter_count
    from edgewise.presets import SIZES, preset
    from edgewise.runtime.base import BaseDetector
    from edgewise.runtime.detector import ExportedDetector
    from edgewise.runtime.engines import is_exported

    detector: BaseDetector = (
        Detector(preset(checkpoint, len(COCO)), COCO)
        if checkpoint in SIZES
        else Detector.from_pretrained(
            checkpoint, device="auto" if is_exported(checkpoint) else "cpu", trust=trust
        )
    )
    if isinstance(detector, ExportedDetector):
        Console().print(_table(checkpoint, _exported(detector.engine)))
        return
    assert isinstance(detector, Detector)
    model, found = detector.model, detector.checkpoint()
    fused, size = model.fused(), detector.config.size
    names, recipe = detector.class_names, found.recipe
    rows = {
        "model": f"{detector.config.name}, {size[0]}x{size[1]} (height x width)",
        "classes": f"{len(names)}: {', '.join(names[:20])}" + (", …" if len(names) > 20 else ""),
        "parameters": f"{parameter_count(model):,} to train, {parameter_count(fused):,} to predict "
        f"({published_deploy_parameter_count(model):,} as papers count them)",
        "GFLOPs": f"{flops(fused, size):.2f} an image",
        "trained": f"{found.step:,} steps" if found.step else "not here",
        "recipe": _recipe(recipe) if recipe else "not stored",
        "validation": scores(found.metrics, "ap", "ap50", "ap75") if found.metrics else "not stored",
        "thresholds": describe(found.thresholds, names) if found.thresholds else "not stored",
    }
    Console().print(_table(checkpoint, rows))


def _table(title: str, rows: Mapping[str, str]) -> Table:
    table = Table(title=escape(title), show_header=False, title_justify="left")
    for name, value in rows.items():
        table.add_row(f"[bold]{name}", escape(value))
    return table


def _exported(engine: "Engine") -> dict[str, str]:
    """What an exported file says about itself, and what its proof says."""
    from edgewise.export.proof import read_proof

    artifact = engine.artifact
    if artifact.resize_inside:
        fed = "uint8 [B, H, W, 3] of any size, resized inside"
    else:
        fed = "float32 [B, 3, H, W] in [0, 1]" + (", any multiples of 32" if artifact.dynamic_size else "")
    try:
        proof = read_proof(engine.path)
        edges = max(one.box_px for one in proof.checks)
        verdict = f"{'passed' if proof.passed else 'FAILED'} in {proof.engine}, boxes within {edges:.2g} px"
    except (FileNotFoundError, ValueError) as error:
        verdict = str(error)
    names, calibration = artifact.class_names, artifact.calibration
    return {
        "model": f"{artifact.model}, {artifact.size[0]}x{artifact.size[1]} (height x width)",
        "file": f"{artifact.target} {artifact.precision}, {engine.bytes / 1e6:.1f} MB, runs in {engine.name}",
        "in": f"{', '.join(artifact.inputs)}: {fed}",
        "out": f"head {artifact.head}: {', '.join(artifact.outputs)}",
        "sampler": artifact.sampler,
        "classes": f"{len(names)}: {', '.join(names[:20])}" + (", …" if len(names) > 20 else ""),
        "thresholds": describe(artifact.thresholds, names) if artifact.thresholds else "not stored",
        "calibration": calibration.describe() if calibration else "none: error bars are raw",
        "made from": f"weights of sha256 {artifact.checkpoint[:16]}…",
        "made with": ", ".join(f"{name} {version}" for name, version in artifact.versions.items()),
        "proof": verdict,
    }


SHOWN = (
    *("schedule.epochs", "size", "batch", "optimizer.lr", "optimizer.backbone_lr", "loss.classification"),
    *(
        f"augment.{name}"
        for name in ("photometric", "zoom_out", "crop", "flip", "vertical_flip", "multi_scale")
    ),
    *("dense.mosaic", "dense.mixup", "dense.copy_blend"),
)


def _recipe(recipe: Mapping[str, Any]) -> str:
    """What matters most of the settings it was trained with, without what is off, and where all are."""
    found = []
    for key in SHOWN:
        section, _, name = key.rpartition(".")
        value = (recipe.get(section, {}) if section else recipe).get(name)
        if value:
            found.append(f"{key} {f'{value:.3g}' if isinstance(value, float) else value}")
    everything = "all: Detector.from_pretrained(…).checkpoint().recipe, or settings.yaml of the run"
    return f"{', '.join(found)}; {everything}"
