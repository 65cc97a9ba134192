"""The detector that comes with edgewise: trained on made-up scenes, calibrated, and held against their truth.

    python benchmarks/scenes.py train --start benchmarks/results/bccd/best.safetensors --out runs/scenes
    python benchmarks/scenes.py report dfine-n-scenes --out benchmarks/results/scenes

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
from edgewise.data.scenes import SceneDataset
from edgewise.evaluation.calibration.pairs import Collector
from edgewise.evaluation.calibration.run import measured
from edgewise.evaluation.run import evaluate
from edgewise.uses.ambiguity import Ambiguity

VAL, CALIBRATE, TEST = (
    SceneDataset(200, 11, "val"),
    SceneDataset(400, 12, "val"),
    SceneDataset(1000, 11, "test"),
)
SETTINGS = TrainConfig().updated(
    {
        "schedule.epochs": 1,
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
FINE = {"size": (320, 320), "loss.fgl": 0.9}  # twice the scenes': maps of stride 16 have to tell blur apart
MUON = FINE | {"optimizer.kind": "muon"}
STAGES: dict[str, tuple[SceneDataset, dict[str, Any]]] = {
    "coarse": (SceneDataset(3200, 11, "train"), {"schedule.epochs": 3}),
    "fine": (SceneDataset(2360, 11, "train"), FINE),
    "muon": (SceneDataset(5864, 11, "train"), MUON),
    "cosine": (SceneDataset(6400, 13, "train"), MUON | {"schedule.epochs": 4, "schedule.flat": 0.4}),
    "long": (SceneDataset(15000, 14, "train"), MUON | {"schedule.epochs": 2, "schedule.flat": 0.4}),
}
QUERIES = 100  # in all stages but the first: a scene has six objects at most


app = cyclopts.App(help=__doc__)


@app.command
def train(*, start: Path, out: Path = Path("runs/scenes"), resume: bool = False) -> None:
    """Trains from START, calibrates, and writes OUT/scenes.safetensors; the last two stages' rates fall."""
    torch.set_num_threads(1)
    for stage, (scenes, changes) in STAGES.items():
        folder = out / stage
        detector = Detector.from_pretrained(start, device="cpu")
        if stage != "coarse":
            detector = detector.at(queries=QUERIES)
        going = resume and (folder / "last.state").exists()
        detector.fit(scenes, VAL, SETTINGS.updated(changes), folder, resume=going)
        start = folder / "last.safetensors"
    honesty = detector.calibrate(CALIBRATE, "val", batch=32)
    print(honesty)
    detector.save(out / "scenes.safetensors", half=True)


@app.command
def report(checkpoint: str, *, out: Path = Path("runs/scenes/report")) -> None:
    """Measures CHECKPOINT on unseen scenes; result.json, ambiguity.png and its honesty land in OUT."""
    torch.set_num_threads(1)
    detector = Detector.from_pretrained(checkpoint, device="cpu")
    watch = Collector(TEST, detector.enough(TEST))
    found = evaluate(
        TEST, partial(detector.predictor().predict_arrays, edges=True), batch=32, watch=watch.add
    )
    outcome = watch.outcome()
    honesty = measured(outcome, {}, detector.calibration, TEST.class_names)
    assert honesty is not None
    honesty.write(out)
    truth = Ambiguity.of(outcome.pairs, TEST)
    truth.plot(out / "ambiguity.png")
    metrics = found.metrics
    result = {
        "scenes": len(TEST),
        "ap": metrics.ap,
        "ap50": metrics.ap50,
        "ap75": metrics.ap75,
        "found": len(outcome.pairs),
        "missed": outcome.pairs.missed,
        "spread": truth.correlations(),
        **provenance(),
    }
    (out / "result.json").write_text(
        json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(json.dumps(result["spread"], indent=2, ensure_ascii=False), metrics.ap, honesty)


if __name__ == "__main__":
    app()
