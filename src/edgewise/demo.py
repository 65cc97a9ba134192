"""`edgewise demo`: error bars held against the truth, and a minute of training; needs no file, no network."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console

from edgewise.api import Detector
from edgewise.config import AugmentConfig, DenoisingConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from edgewise.data.scenes import SceneDataset
from edgewise.draw import contact_sheet
from edgewise.evaluation.calibration.pairs import Collector
from edgewise.evaluation.calibration.report import in_words
from edgewise.evaluation.calibration.run import measured
from edgewise.evaluation.run import evaluate
from edgewise.report import Picture, Table, write_report
from edgewise.sample import Sample
from edgewise.uses.ambiguity import Ambiguity

REF = "dfine-n-scenes"
UNSEEN, TRAIN, VAL = 120, 240, 40  # scenes
SETTINGS = TrainConfig(
    schedule=ScheduleConfig(
        epochs=3, warmup_steps=10, flat=0.4, plain_epochs=0, ema_decay=0.97, ema_warmup_steps=20
    ),
    optimizer=OptimizerConfig(lr=4e-4, backbone_lr=4e-4),
    denoising=DenoisingConfig(queries=30),
    augment=AugmentConfig(zoom_out=0, crop=0, photometric=0, multi_scale=0),  # scenes vary enough
    batch=8,
)


class InfraredScenes(SceneDataset):
    """Scenes as another camera sees them: one channel, negative, dim and grainy. Some objects hardly show."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, image=infrared(sample.image, self.image_ids[index]))


def infrared(image: UInt8[np.ndarray, "H W 3"], seed: int) -> UInt8[np.ndarray, "H W 3"]:
    grain = np.random.default_rng(seed).normal(0, 8, image.shape[:2])
    shade = 235 - 0.8 * (image @ np.array([0.5, 0.4, 0.1])) + grain
    return np.repeat(shade.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


@dataclass(frozen=True)
class Part:
    """A part of the page."""

    summary: dict[str, str]
    pictures: list[Picture]
    tables: list[Table]


def run(out: str | Path, seed: int = 0, console: Console | None = None) -> Path:
    """Shows the detector that comes along on unseen scenes, then trains it; returns the page's path.

    `out` gets report.html after the first of both and again after the second, pictures, the trained detector
    and the run's own folder, which a second demo replaces.
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
    out.mkdir(parents=True, exist_ok=True)
    detector = Detector.from_pretrained(REF)
    first = _unseen(detector, SceneDataset(UNSEEN, seed, "test"), out, console)
    page = _page(out, first)
    console.print(f"error bars and how true they are, after {time.perf_counter() - began:.0f} s: {page}")
    second = _trained(detector, seed, out, console)
    _page(out, first, second)
    minutes = (time.perf_counter() - began) / 60
    console.print(f"the same page shows the training too, after {minutes:.1f} minutes: {page}")
    return page


def _page(out: Path, *parts: Part) -> Path:
    return write_report(
        out,
        "Edgewise demo",
        "A detector that comes with Edgewise looks at made-up scenes that it has never seen. Every edge of a "
        "box has its own error bar, meant to hold the annotated edge nine times in ten. The edges of these "
        "shapes are blurred by a known amount, and their annotations scatter by as much: the scenes know how "
        "long every error bar ought to be.",
        {name: value for part in parts for name, value in part.summary.items()},
        [picture for part in parts for picture in part.pictures],
        [table for part in parts for table in part.tables],
    )


def _unseen(detector: Detector, scenes: SceneDataset, out: Path, console: Console) -> Part:
    """Error bars in scenes, and whether they are as long as they ought to be."""
    watch = Collector(scenes, detector.enough(scenes))
    predict = partial(detector.predictor().predict_arrays, edges=True)
    found = evaluate(scenes, predict, batch=32, watch=watch.add)
    outcome = watch.outcome()
    honesty = measured(outcome, {}, detector.calibration, scenes.class_names)
    assert honesty is not None
    truth = Ambiguity.of(outcome.pairs, scenes)
    truth.plot(out / "ambiguity.png")
    correlations = truth.correlations()
    _draw(detector, scenes, out / "detections.png")
    console.print(found.metrics.table(), in_words(honesty.numbers))
    joint, each = honesty.numbers["joint"], honesty.numbers["edges"]["all"]
    return Part(
        {
            "AP, unseen scenes": f"{found.metrics.ap:.3f}",
            "true edges in their 90 % interval": f"{each['coverage']['90']['value']:.1%}",
            "boxes with all four in theirs": f"{joint['coverage']['90']['value']:.1%}",
            "ρ of predicted with true spread": " · ".join(
                f"{one['predicted']:.2f}" for one in correlations.values()
            ),
        },
        [
            (out / "detections.png", "Scenes it has never seen; the band at an edge is its 90 % interval"),
            (out / "ambiguity.png", "Is it unsure where it should be? Each point is an edge"),
        ],
        [
            Table(
                "Rank correlation of spreads with the true spread, by size of the box",
                ("boxes of", *next(iter(correlations.values()))),
                [
                    (group, str(one["edges"]), *(f"{one[name]:.2f}" for name in list(one)[1:]))
                    for group, one in correlations.items()
                ],
            )
        ],
    )


def _trained(detector: Detector, seed: int, out: Path, console: Console) -> Part:
    """The same detector before an infrared camera, and after a minute of training on its images."""
    train, val, test = (
        InfraredScenes(count, seed, split)
        for split, count in (("train", TRAIN), ("val", VAL), ("test", UNSEEN))
    )
    before = evaluate(test, detector.predictor().predict_arrays, batch=32)
    _draw(detector, test, out / "before.png")
    console.print(f"before an infrared camera: AP {before.metrics.ap:.3f}; training on {TRAIN} of its images")
    shutil.rmtree(out / "run", ignore_errors=True)
    settings = SETTINGS.updated({"seed": seed, "size": detector.config.size})
    done = detector.fit(train, val, settings, out / "run", console=console)
    detector.save(out / "demo.safetensors")
    after = evaluate(test, detector.predictor().predict_arrays, batch=32)
    _draw(detector, test, out / "after.png")
    shutil.copy(done.folder / "results.png", out / "curves.png")
    console.print(f"AP {after.metrics.ap:.3f} after {done.minutes:.1f} minutes of training")
    return Part(
        {
            "AP, infrared": f"{before.metrics.ap:.3f} → {after.metrics.ap:.3f}",
            "minutes of training": f"{done.minutes:.1f}",
        },
        [
            (
                out / "before.png",
                "The same scenes before an infrared camera, of which it has never seen an image",
            ),
            (
                out / "after.png",
                f"After training on {TRAIN} infrared scenes; one σ now, until it is calibrated anew",
            ),
            (out / "curves.png", "Losses and validation AP of the training"),
        ],
        [],
    )


def _draw(detector: Detector, scenes: SceneDataset, path: Path) -> None:
    """The first twelve scenes with what is found in them, enlarged so that labels leave room to see."""
    larger = [
        Image.fromarray(scenes[index].image).resize((480, 480), Image.Resampling.BICUBIC)
        for index in range(min(12, len(scenes)))
    ]
    found = detector.predict(larger, "auto" if detector.thresholds else 0.5)
    drawn = [one.plot(np.asarray(image)) for one, image in zip(found, larger, strict=True)]
    contact_sheet(drawn, columns=4, width=400).save(path)
