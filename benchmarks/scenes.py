"""The detector that comes with edgewise: trained on made-up scenes, calibrated, and held against their truth.

    python benchmarks/scenes.py train --start benchmarks/results/bccd/best.safetensors --out runs/scenes
    python benchmarks/scenes.py report src/edgewise/checkpoint/scenes.safetensors --out benchmarks/results/scenes

`train` makes the scenes, trains size n on them, calibrates it on scenes of its own, and writes
OUT/scenes.safetensors in float16; the same command with --resume goes on after a stop. `report` measures any
such file on scenes that neither has seen: AP, coverage, and whether predicted spread follows the true one.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import cyclopts
import torch

from edgewise.api import Detector
from edgewise.cli.provenance import provenance
from edgewise.config import TrainConfig
from edgewise.data.scenes import SIZE, SceneDataset
from edgewise.evaluation.calibration.pairs import Collector
from edgewise.evaluation.calibration.run import measured
from edgewise.evaluation.run import evaluate
from edgewise.uses.ambiguity import Ambiguity

TRAIN, VAL, CALIBRATE, TEST = (
    SceneDataset(3200, 11, "train"),
    SceneDataset(200, 11, "val"),
    SceneDataset(500, 12, "val"),
    SceneDataset(1000, 11, "test"),
)
SETTINGS = TrainConfig().updated(
    {
        "schedule.warmup_steps": 50,
        "schedule.plain_epochs": 0,
        "schedule.ema_decay": 0.995,
        "schedule.ema_warmup_steps": 200,
        "optimizer.lr": 8e-4,
        "optimizer.backbone_lr": 8e-4,
        "loss.classification": "mal",
        "denoising.queries": 30,
        "augment.photometric": 0.0,  # scenes vary enough
        "augment.zoom_out": 0.0,
        "augment.crop": 0.0,
        "augment.multi_scale": 0.0,
        "augment.vertical_flip": 0.5,
        "size": (192, 192),
        "batch": 8,  # many small steps beat few large ones here
        "workers": 0,
        "loggers": (),
        "device": "cpu",
    }
)
STAGES = {
    "constant": {"schedule.epochs": 20, "schedule.flat": 1.0},
    "cosine": {"schedule.epochs": 2, "schedule.flat": 0.0},
}
app = cyclopts.App(help=__doc__)


@app.command
def train(*, start: Path, out: Path = Path("runs/scenes"), resume: bool = False) -> None:
    """Trains from START in two stages, the second with a falling rate, calibrates, writes OUT/scenes.safetensors."""
    torch.set_num_threads(1)
    for stage, changes in STAGES.items():
        folder = out / stage
        detector = Detector.from_pretrained(start, device="cpu")
        going = resume and (folder / "last.state").exists()
        detector.fit(TRAIN, VAL, SETTINGS.updated(changes), folder, resume=going)
        start = folder / "best.safetensors"
    honesty = detector.calibrate(CALIBRATE, "val", batch=32)
    print(honesty)
    detector.save(out / "scenes.safetensors", half=True)


if __name__ == "__main__":
    app()
