"""`edgewise info`."""

import yaml
from rich.console import Console
from rich.markup import escape

from edgewise.cli.app import app
from edgewise.cli.words import describe, scores


@app.command
def info(checkpoint: str) -> None:
    """What is in a checkpoint: size, classes, parameters, GFLOPs, how it was trained, how good it is.

    The last rows are the scores of its validation and the thresholds that predict --threshold auto applies.

    Example: `edgewise info runs/bccd/best.safetensors`, or `edgewise info s` before any training

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
        "validation": scores(found.metrics, "ap", "ap50", "ap75") if found.metrics else "not stored",
        "thresholds": describe(found.thresholds, names) if found.thresholds else "not stored",
    }
    for name, value in rows.items():
        table.add_row(f"[bold]{name}", escape(value))
    Console().print(table)
