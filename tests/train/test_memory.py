"""Memory: the fullest batch, the batch that fits, and running out of it in words."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from edgewise.train import memory
from edgewise.train.memory import (
    auto_batch,
    check_memory,
    explained,
    fitting,
    fullest_batch,
    images_a_pass,
    is_out_of_memory,
    largest_size,
    measure,
)
from edgewise.train.probe import Probe
from tests.train.tiny import Patches, settings, tiny_model

CPU = torch.device("cpu")
GB = 10**9


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`taking(bytes, free)`: what one update of any number of images takes, and what there is."""

    def pretend(image_bytes: int | None, free: int | None) -> None:
        monkeypatch.setattr(
            memory, "measure", lambda *given: (given[-1], image_bytes and image_bytes * given[-1])
        )
        monkeypatch.setattr(memory, "available", lambda device: free)

    return pretend


def test_the_fullest_images_come_at_the_largest_size() -> None:
    config = settings(size=(128, 128), augment__multi_scale=0.25)
    batch = fullest_batch(Patches(6), config, 3)
    assert largest_size(config) == (160, 160) == tuple(batch.images.shape[2:])
    assert batch.targets.counts == (2, 2, 2)  # every other image has two
    assert fullest_batch(Patches(6), config.updated({"dense.mixup": 0.5}), 1).targets.counts == (4,)
    assert fullest_batch(Patches(6), config.updated({"dense.mosaic": 0.5}), 1).targets.counts == (8,)


def test_a_run_without_multi_scale_is_probed_at_its_size() -> None:
    config = settings(size=(128, 64), schedule__plain_epochs=2)
    assert largest_size(config) == (128, 64)


def test_a_pass_is_what_goes_through_one_model_at_once() -> None:
    assert images_a_pass(settings(batch=16)) == 16
    assert images_a_pass(settings(batch=16, accumulate=3)) == 6
    assert images_a_pass(settings(batch=16, accumulate=2), processes=4) == 2


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="resident memory is read as Linux tells it"
)
def test_an_update_is_measured() -> None:
    images, took = measure(tiny_model(), Patches(6), settings(), CPU, 2)
    assert images == 2
    assert took is not None
    assert 0 <= took < GB
    found = check_memory(tiny_model(), Patches(6), settings(), CPU)
    assert found.text.startswith("2 images at 64x64 with the fullest images take ")


def test_an_update_within_what_is_held_takes_nothing(taking: Any) -> None:
    taking(0, 5 * GB)
    found = check_memory(tiny_model(), Patches(6), settings(batch=4), CPU)
    assert found.text == (
        "4 images at 64x64 with the fullest images take no more than is held already; 5.0 GB of cpu free"
    )


def test_what_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def step(self: Any, batch: Any) -> dict[str, float]:
        tried.append(len(batch.images))
        if len(batch.images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return {}

    monkeypatch.setattr(Probe, "step", step)
    assert measure(tiny_model(), Patches(6), settings(), CPU, 4)[0] == 1
    assert tried == [4, 2, 1]


def test_not_one_image_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_fits", lambda *given: False)
    with pytest.raises(
        ValueError, match="not one image fits at 64x64 on cpu; take --set recompute=true or a smal"
    ):
        measure(tiny_model(), Patches(6), settings(), CPU, 4)


def test_other_errors_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: Any, batch: Any) -> dict[str, float]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Probe, "step", step)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        measure(tiny_model(), Patches(6), settings(), CPU, 4)


def test_too_much_stops_and_names_the_batch_that_fits(taking: Any) -> None:
    taking(GB, 5 * GB)
    with pytest.raises(
        ValueError, match=r"8 images at 64x64 .* take 8\.00 GB \(reckoned from 4\); 5\.0 GB of cpu"
    ) as e:
        check_memory(tiny_model(), Patches(20), settings(batch=8), CPU)
    assert (
        "take --batch 4, --set accumulate=2 (the same batch in more passes), --set recompute=true or"
        in str(e.value)
    )


def test_nearly_too_much_is_a_warning_and_the_unknown_is_skipped(taking: Any) -> None:
    taking(GB, 9 * GB)
    assert check_memory(tiny_model(), Patches(20), settings(batch=8), CPU).verdict == "warning"
    taking(None, 9 * GB)
    assert check_memory(tiny_model(), Patches(20), settings(batch=8), CPU).verdict == "skipped"


@pytest.mark.parametrize(
    ("image_gb", "free_gb", "batch"),
    [(1, 100, 80), (1, 21, 16), (1, 19, 8), (1, 10, 8), (9, 10, 1), (1, 24, 16)],
)
def test_the_batch_that_fits(image_gb: int, free_gb: int, batch: int) -> None:
    assert fitting(float(image_gb * GB), free_gb * GB) == batch


@pytest.mark.parametrize(
    ("images", "image_bytes", "device", "batch", "why"),
    [
        (
            205,
            GB // 10,
            "cpu",
            8,
            "batch 8: 25 steps an epoch of 205 images; 10.0 GB of cpu free hold 80 at 64x64",
        ),
        (5000, GB // 10, "cpu", 16, "batch 16: at most 16;"),
        (5000, GB // 10, "mps", 64, "batch 64: at most 64;"),
        (5000, GB, "mps", 8, "batch 8: at most 64; 10.0 GB of mps free hold 8 at 64x64"),
        (60, GB // 10, "cpu", 4, "batch 4: 25 steps an epoch of 60 images"),
        (3, GB // 10, "cpu", 3, "batch 3: "),
        (205, None, "cpu", 8, "batch 8: 25 steps an epoch of 205 images\n"),
    ],
)
def test_batch_auto(images: int, image_bytes: Any, device: str, batch: int, why: str, taking: Any) -> None:
    taking(image_bytes, 10 * GB)
    out = io.StringIO()
    console = Console(file=out, width=200)
    found = auto_batch(tiny_model(), Patches(images), settings(), torch.device(device), console)
    assert found == batch
    assert out.getvalue().startswith(why)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …\nmore"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        MemoryError(),
    ],
)
def test_running_out_is_said_in_words(error: Exception) -> None:
    assert is_out_of_memory(error)
    with (
        pytest.raises(MemoryError, match="out of memory with batch 8 at 64x64") as told,
        explained(settings(batch=8)),
    ):
        raise error
    assert "take --batch 4, --set accumulate=2" in str(told.value)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explained(settings()):
        raise RuntimeError("shapes")
