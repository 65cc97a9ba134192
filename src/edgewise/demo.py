"""`edgewise demo`: from nothing to a page of detections with error bars, without a file or a network."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console

from edgewise.api import Detector
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
from edgewise.data.scenes import CLASS_NAMES, SIZE, SceneDataset
from edgewise.draw import contact_sheet
from edgewise.evaluation.report import write_evaluation
from edgewise.evaluation.run import evaluate
from edgewise.presets import hgnetv2
from edgewise.report import write_report

SCENES = {"train": 640, "val": 64, "test": 128}
SETTINGS = TrainConfig(
    schedule=ScheduleConfig(
        epochs=10, warmup_steps=30, flat=0.4, plain_epochs=1, ema_decay=0.99, ema_warmup_steps=100
    ),
    optimizer=OptimizerConfig(lr=2e-3, backbone_lr=2e-3),
    denoising=DenoisingConfig(queries=30),
    augment=AugmentConfig(zoom_out=0, crop=0, photometric=0, multi_scale=0),  # scenes vary enough
    size=SIZE,
    batch=8,
    validate_every=2,
)


def small_model(num_classes: int) -> ModelConfig:
    """A third of size n, with the stride-8 maps that n leaves out: scenes are small, and so is the time."""
    widths = [(16, 48), (32, 96), (48, 192), (96, 384)]
    return ModelConfig(
        name="demo",
        num_classes=num_classes,
        size=SIZE,
        backbone=hgnetv2((16, 16), widths, blocks=[1, 1, 1, 1], layers=2, affine=True),
        encoder=EncoderConfig(dim=96, ffn_dim=192, expansion=0.34, depth=0.34),
        decoder=DecoderConfig(dim=96, ffn_dim=192, num_layers=2, num_points=(4, 4, 4), num_queries=40),
    )


def run(out: str | Path, seed: int = 0, console: Console | None = None) -> Path:
    """Generates scenes, trains on them, scores unseen ones; returns the path of the page that shows it.

    `out` gets report.html, pictures, the trained detector and the run's own folder, which a second demo
    replaces.
    """
    with _one_thread():
        return _run(Path(out), seed, console or Console(stderr=True))


@contextmanager
def _one_thread() -> Iterator[None]:
    """So small a model's threads spend their time waiting for each other, worst beside other programs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run(out: Path, seed: int, console: Console) -> Path:
    began = time.perf_counter()
    shutil.rmtree(out / "run", ignore_errors=True)
    sets = {split: SceneDataset(count, seed, split) for split, count in SCENES.items()}
    detector = Detector(small_model(len(CLASS_NAMES)), CLASS_NAMES, seed=seed)
    settings = SETTINGS.updated({"seed": seed})
    console.print(f"{SCENES['train']} scenes of {', '.join(CLASS_NAMES)}; training a small detector on them")
    done = detector.fit(sets["train"], sets["val"], settings, out / "run", console=console)
    detector.save(out / "demo.safetensors")

    found = evaluate(sets["test"], detector.predictor().predict_arrays, batch=32)
    write_evaluation(sets["test"], found, out / "test")
    threshold = found.metrics.best_threshold
    drawn = [
        detections.filter(threshold).plot(sets["test"][i].image)
        for i, detections in enumerate(found.detections[:12])
    ]
    contact_sheet(drawn, columns=4, width=320).save(out / "detections.png")
    shutil.copy(done.folder / "results.png", out / "curves.png")
    minutes = (time.perf_counter() - began) / 60
    page = write_report(
        out,
        "Edgewise demo",
        "A small detector, trained just now on made-up scenes, looks at scenes it has never seen. The bar "
        "across each edge spans one standard deviation of that edge's own distribution to either side: "
        "the less sure it is of an edge, the longer the bar. The bars are raw, not calibrated.",
        {
            "AP50, unseen scenes": f"{found.metrics.ap50:.3f}",
            "AP, unseen scenes": f"{found.metrics.ap:.3f}",
            "scenes trained on": str(SCENES["train"]),
            "minutes in all": f"{minutes:.1f}",
        },
        [
            (out / "detections.png", f"Detections with a score of at least {threshold:.2f} in unseen scenes"),
            (out / "curves.png", "Losses and validation AP during the run"),
            (out / "test/precision_recall.png", "Precision and recall on unseen scenes"),
            (out / "test/worst_images.png", "The scenes with the most errors"),
        ],
    )
    console.print(found.metrics.table())
    console.print(f"AP50 {found.metrics.ap50:.3f} on unseen scenes after {minutes:.1f} minutes; see {page}")
    return page
