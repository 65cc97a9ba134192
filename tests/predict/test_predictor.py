import io
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from edgewise.bins import bin_values
from edgewise.detections import Detections
from edgewise.predict import predictor as module
from edgewise.predict.network import NetworkPredictor
from edgewise.predict.predictor import Raw, Ready
from edgewise.structures import EncoderOutput, InitialOutput, LayerOutput, ModelOutput
from edgewise.thresholds import Thresholds
from tests.test_detections import promise
from tests.train.tiny import tiny_config, tiny_model

QUERIES, CLASSES = 6, 2


class Tiny(nn.Module):
    """Scores and boxes that follow from the colour of each quarter of the image."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(12, QUERIES * (CLASSES + 8 + 4 * 33), generator=generator))
        self.frozen = nn.BatchNorm2d(3).eval()
        self.seen: list[tuple[tuple[int, ...], torch.dtype, bool]] = []

    def forward(self, images: Tensor) -> ModelOutput:
        self.seen.append((tuple(images.shape), images.dtype, self.training or self.frozen.training))
        colours = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)  # [B, 12]
        out = (colours[:, :, None] * self.weight).sum(1).unflatten(1, (QUERIES, -1))
        logits, boxes, initial, edges = out.split([CLASSES, 4, 4, 4 * 33], -1)
        layer = LayerOutput(logits, boxes.sigmoid(), edges.unflatten(-1, (4, 33)))
        index = torch.zeros(images.shape[0], QUERIES, dtype=torch.int64)
        return ModelOutput(
            (layer,), InitialOutput(None, initial.sigmoid()), EncoderOutput(logits, boxes.sigmoid(), index)
        )


def tiny(model: nn.Module | None = None, size: tuple[int, int] = (64, 96)) -> NetworkPredictor:
    return NetworkPredictor(
        Tiny() if model is None else model,
        size=size,
        class_names=("cat", "dog"),
        category_ids=(17, 18),
        values=bin_values(32),
    )


def picture(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def same(a: Detections, b: Detections) -> None:
    for name in ("boxes_xyxy", "scores", "labels", "edge_std"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-5, atol=1e-5)
    assert a.size == b.size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        Image.fromarray(picture(i)).save(tmp_path / f"{i}.png")
    return tmp_path


def one(found: object) -> Detections:
    assert isinstance(found, Detections)
    return found


def many(found: object) -> list[Detections]:
    assert isinstance(found, list)
    return found


def test_one_in_one_out_and_list_in_list_out(folder: Path) -> None:
    predictor, pixels = tiny(), picture(0)
    expected = one(predictor.predict(folder / "0.png", threshold=0.0))
    assert expected.size == (40, 60)
    assert len(expected) == QUERIES * CLASSES
    assert (expected.class_names, expected.category_ids) == (("cat", "dog"), (17, 18))
    assert not expected.calibrated
    tensor = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    for source in (str(folder / "0.png"), pixels, Image.fromarray(pixels), tensor):
        same(one(predictor.predict(source, threshold=0.0)), expected)
        same(many(predictor.predict([source], threshold=0.0))[0], expected)
    for source in (folder, f"{folder}/*.png", [folder], [folder / "0.png", picture(1), folder / "2.png"]):
        found = many(predictor.predict(source, threshold=0.0))
        assert len(found) == 3
        same(found[0], expected)
    stream = predictor.predict(pixels, threshold=0.0, stream=True)
    assert isinstance(stream, Iterator)
    same(next(stream), expected)
    assert not list(stream)


def test_source_is_the_path_or_the_image(folder: Path) -> None:
    pixels = picture(1)
    found = many(tiny().predict([folder / "0.png", pixels, str(folder / "2.png")]))
    assert found[0].source == folder / "0.png"
    assert found[1].source is pixels
    assert found[2].source == folder / "2.png"
    found[2].plot()


def test_one_image_equals_the_same_in_a_batch() -> None:
    predictor, pictures = tiny(), [picture(i, 30 + 7 * i, 50 - 3 * i) for i in range(5)]
    alone = [one(predictor.predict(one_picture, threshold=0.0)) for one_picture in pictures]
    for batch in (1, 2, 5, 8):
        for a, b in zip(many(predictor.predict(pictures, 0.0, batch=batch)), alone, strict=True):
            same(a, b)


def bars(found: Detections) -> tuple[np.ndarray, ...]:
    assert found.edges is not None
    return (
        found.edge_std,
        found.edge_interval(0.8),
        *found.joint_interval(0.9),
        found.edges.probs,
        found.edges.mean,
        found.edges.quantile(0.3),
    )


def test_error_bars_are_the_same_alone_and_in_a_batch() -> None:
    """For images of several shapes, by every way in."""
    predictor = tiny()
    predictor.calibration = promise(temperature=(0.5, 1.0, 2.0, 3.0), floor=(0.1, 0.0, 0.2, 0.0))
    pictures = [picture(0, 40, 60), picture(1, 200, 31), picture(2, 17, 300), picture(3, 96, 96)]
    alone = [one(predictor.predict(pixels, 0.0, edges=True)) for pixels in pictures]
    batch = many(predictor.predict(pictures, 0.0, batch=3, edges=True))
    stream = predictor.predict(pictures, 0.0, batch=2, stream=True, edges=True)
    arrays = predictor.predict_arrays(pictures, edges=True)
    assert isinstance(stream, Iterator)
    for expected, *others in zip(alone, batch, stream, arrays, strict=True):
        assert expected.calibrated
        for other in others:
            for a, b in zip(bars(expected), bars(other), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert one(predictor.predict(pictures[0], 0.0)).edges is None


def test_layers_are_raw_up_to_the_last() -> None:
    model = tiny_model(config=tiny_config(2)).eval()
    predictor, pictures = tiny(model), [picture(0, 40, 60), picture(1, 96, 31)]
    predictor.calibration = promise(temperature=(0.5, 1.0, 2.0, 3.0), floor=(0.1, 0.0, 0.2, 0.0))
    found = predictor.predict_layers(pictures)
    assert [len(layers) for layers in found] == [model.config.decoder.num_layers] * 2
    for layers, expected in zip(found, predictor.predict_arrays(pictures, edges=True), strict=True):
        assert [one.calibrated for one in layers] == [False] * (len(layers) - 1) + [True]
        for a, b in zip(bars(layers[-1]), bars(expected), strict=True):
            np.testing.assert_array_equal(a, b)
    predictor.calibration = None
    predictor.model = model.at(layers=1)
    for layers, expected in zip(found, predictor.predict_arrays(pictures, edges=True), strict=True):
        same(layers[0], expected)
    assert predictor.predict_layers([]) == []


def test_threshold() -> None:
    predictor, pixels = tiny(), picture(0)
    everything = one(predictor.predict(pixels, threshold=0.0))
    same(one(predictor.predict(pixels)), everything.filter(0.5))
    assert len(one(predictor.predict(pixels, 0.0, max_detections=3))) == 3


def test_thresholds_by_class() -> None:
    predictor, pixels = tiny(), picture(0)
    everything, least = one(predictor.predict(pixels, threshold=0.0)), np.array([0.7, 0.3])
    assert set(everything.labels.tolist()) == {0, 1}
    same(one(predictor.predict(pixels, threshold=least)), everything.filter(least))
    predictor.thresholds = Thresholds(split="val", shared=0.3, by_class=(0.7, None), counts=(5, 0))
    same(one(predictor.predict(pixels, threshold="auto")), everything.filter(least))


@pytest.mark.parametrize(
    ("threshold", "text"),
    [
        (
            "auto",
            "threshold 'auto': the checkpoint has no stored thresholds: it was not validated, or found",
        ),
        ("high", r"threshold 'high': expected a score in \[0, 1\] or 'auto'"),
        (1.5, r"threshold 1.5: expected a score in \[0, 1\]"),
        (float("nan"), r"threshold nan: expected a score in \[0, 1\]"),
        (np.zeros(3), r"threshold of shape \[3\]: expected one score, or one for each of 2 classes"),
    ],
)
def test_what_is_no_threshold(threshold: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        tiny().predict(picture(0), threshold=threshold)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1", "I;16"])
def test_every_kind_of_pixel(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray(picture(0)[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(picture(0)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    found = one(tiny().predict(path, threshold=0.0))
    assert found.size == (40, 60)
    same(one(tiny().predict(image, threshold=0.0)), found)


def test_boxes_are_in_the_frame_of_the_upright_image(tmp_path: Path) -> None:
    pixels, exif = picture(0), Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "a.png", exif=exif)
    found = one(tiny().predict(tmp_path / "a.png", threshold=0.0))
    same(found, one(tiny().predict(pixels, threshold=0.0)))


# ── the model ────────────────────────────────────────────────────────────────────────────────────────


def test_model_input_and_batches() -> None:
    model = Tiny()
    tiny(model).predict([picture(i) for i in range(5)], batch=2)
    assert [shape for shape, _, _ in model.seen] == [(2, 3, 64, 96), (2, 3, 64, 96), (1, 3, 64, 96)]
    tiny(model, (32, 128)).predict(picture(0))
    assert model.seen[-1][0] == (1, 3, 32, 128)


def test_model_is_left_in_the_mode_it_was_in() -> None:
    model = Tiny().train()
    model.frozen.eval()
    tiny(model).predict(picture(0))
    assert not model.seen[0][2]
    assert model.training
    assert not model.frozen.training

    class Broken(Tiny):
        def forward(self, images: Tensor) -> ModelOutput:
            raise RuntimeError("out of memory")

    broken = Broken().train()
    with pytest.raises(RuntimeError, match="out of memory"):
        tiny(broken).predict(picture(0))
    assert broken.training
    assert broken.frozen.training


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float32, np.float32), (torch.float64, np.float64), (torch.bfloat16, np.float32)],
)
def test_precision_is_that_of_the_model(dtype: torch.dtype, expected: type) -> None:
    model = Tiny().to(dtype)
    found = one(tiny(model).predict(picture(0), threshold=0.0))
    assert model.seen[0][1] == dtype
    assert found.boxes_xyxy.dtype == found.scores.dtype == found.edge_std.dtype == expected


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────


def test_stream_equals_the_list_and_is_lazy(folder: Path) -> None:
    model = Tiny()
    stream = tiny(model).predict(folder, 0.0, batch=2, stream=True)
    assert isinstance(stream, Iterator)
    assert not model.seen
    first = next(stream)
    assert len(model.seen) == 1
    assert not torch.is_inference_mode_enabled()
    for a, b in zip([first, *stream], many(tiny().predict(folder, 0.0)), strict=True):
        same(a, b)


def _most_alive(
    monkeypatch: pytest.MonkeyPatch, predictor: NetworkPredictor, folder: Path, batch: int
) -> int:
    """How many of 40 images were there at once while they were predicted."""
    alive, most = set(), 0

    def tracked(image: object) -> tuple[np.ndarray, np.ndarray]:
        nonlocal most
        pixels = picture(0)
        key = id(pixels)
        alive.add(key)
        weakref.finalize(pixels, alive.discard, key)
        most = max(most, len(alive))
        return pixels, pixels

    monkeypatch.setattr(module, "load", tracked)
    for found in predictor.predict([folder / "0.png"] * 40, 0.0, batch=batch, stream=True):
        assert one(found).size == (40, 60)
    return most


def test_stream_holds_one_batch_at_most(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert _most_alive(monkeypatch, tiny(), folder, batch=4) <= 4 + 1  # and the one the loop still looks at


def test_a_bad_file_fails_in_its_turn(folder: Path) -> None:
    (folder / "1.png").write_bytes(b"no image")
    stream = tiny().predict(folder, batch=1, stream=True)
    assert isinstance(stream, Iterator)
    assert next(stream).source == folder / "0.png"
    with pytest.raises(ValueError, match=r"1\.png: not an image"):
        next(stream)


class Ahead(NetworkPredictor):
    """As if its model were not on the CPU; reading counts in `read`, and computing waits for the next one."""

    reads_ahead = True

    def __init__(self, images: int, batch: int, **settings: Any) -> None:
        super().__init__(Tiny(), size=(64, 96), class_names=("cat", "dog"), values=bin_values(32), **settings)
        self.read, self.more = threading.Semaphore(0), -(-images // batch) - 1
        self.overlapped: list[bool] = []

    def _read(self, images: Any) -> list[Ready]:
        ready = super()._read(images)
        self.read.release()
        return ready

    def forward(self, ready: Any) -> list[Raw]:
        if not self.overlapped:
            assert self.read.acquire(timeout=60)  # this batch itself
        if len(self.overlapped) < self.more:
            self.overlapped.append(self.read.acquire(timeout=60))
        return super().forward(ready)


def test_the_next_batch_is_read_while_this_one_is_computed(folder: Path) -> None:
    predictor = Ahead(3, 1)
    threads = set(threading.enumerate())
    stream = predictor.predict(folder, 0.0, batch=1, stream=True)
    assert isinstance(stream, Iterator)
    assert set(threading.enumerate()) == threads  # as lazy as any
    for found, expected in zip(stream, many(tiny().predict(folder, 0.0)), strict=True):
        same(found, expected)
        assert found.source == expected.source
    assert predictor.overlapped == [True, True]
    assert set(threading.enumerate()) == threads


def test_reading_ahead_holds_two_batches(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    most = _most_alive(monkeypatch, Ahead(40, 4), folder, batch=4)
    assert 4 + 1 < most <= 2 * 4 + 1


def test_reading_ahead_ends_with_the_stream(folder: Path) -> None:
    threads = set(threading.enumerate())
    stream: Any = Ahead(3, 1).predict(folder, batch=1, stream=True)
    next(stream)
    stream.close()
    assert set(threading.enumerate()) == threads
    (folder / "1.png").write_bytes(b"no image")
    stream = Ahead(1, 1).predict(folder, batch=1, stream=True)
    assert next(stream).source == folder / "0.png"
    with pytest.raises(ValueError, match=r"1\.png: not an image"):
        next(stream)
    assert set(threading.enumerate()) == threads


@pytest.mark.parametrize(("device", "expected"), [("cpu", False), ("meta", True)])
def test_who_reads_ahead(device: str, expected: bool) -> None:
    assert tiny(Tiny().to(device)).reads_ahead == expected


# ── arguments ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 50.0}, r"threshold 50.0: expected a score in \[0, 1\]"),
        ({"batch": 0}, "batch 0: expected at least one image"),
        ({"source": []}, "empty list; expected at least one image"),
        ({"source": "lost.jpg"}, r"lost\.jpg: no such file or folder"),
    ],
)
def test_bad_arguments_fail_at_the_call(arguments: dict[str, object], message: str, stream: bool) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tiny().predict(**{"source": picture(0), "stream": stream, **arguments})


def test_size_is_checked_when_made() -> None:
    text = r"size 100x64 \(height x width\): 100 is not a positive multiple of 32; use 96 or 128"
    with pytest.raises(ValueError, match=text):
        tiny(size=(100, 64))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_long_lists_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stderr, count, shown in ((Terminal(), 5, True), (Terminal(), 4, False), (io.StringIO(), 5, False)):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert len(many(tiny().predict([picture(0)] * count, batch=4))) == count
        assert ("predict" in stderr.getvalue()) == shown


# ── arrays, as evaluation gives them ─────────────────────────────────────────────────────────────────


def test_arrays_in_one_pass() -> None:
    model, pictures = Tiny(), [picture(0), picture(1, 20, 90)]
    found = tiny(model).predict_arrays(pictures)
    assert len(model.seen) == 1
    for a, b in zip(found, many(tiny().predict(pictures, 0.0)), strict=True):
        same(a, b)
        assert a.source is None
    assert tiny().predict_arrays([]) == []
    assert [len(a) for a in tiny().predict_arrays(pictures, 0.0, 2)] == [2, 2]
    with pytest.raises(ValueError, match=r"array float64 \[4, 4, 3\]"):
        tiny().predict_arrays([np.zeros((4, 4, 3))])
