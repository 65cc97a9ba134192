import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgewise.boxes import xyxy_to_cxcywh
from edgewise.config import AugmentConfig, DenseConfig, TrainConfig
from edgewise.data.loader import Job, TrainLoader, batch_size, build_batch
from edgewise.data.open import open_dataset
from edgewise.preprocess import preprocess
from edgewise.processes import Processes
from edgewise.recipe import unaugmented
from edgewise.sample import Sample
from edgewise.structures import Batch
from tests.data.folders import fill
from tests.process_groups import ends

CONFIG = TrainConfig(batch=3, workers=0, size=(64, 64), seed=4)


def samples(count: int = 10) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(
            rng.integers(0, 256, (40, 60, 3), np.uint8),
            np.array([[5, 5, 30, 30]] * (i % 3), np.float32).reshape(-1, 4),
            np.zeros(i % 3, np.int64),
            image_id=i,
        )
        for i in range(count)
    ]


class Broken(list[Sample]):
    """Image 0 cannot be read."""

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        if index == 0:
            raise ValueError("0.png: cannot be decoded")
        return super().__getitem__(index)


def assert_same(ours: list[Batch], others: list[Batch]) -> None:
    assert len(ours) == len(others)
    for one, other in zip(ours, others, strict=True):
        assert one.image_ids == other.image_ids
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets.boxes, other.targets.boxes)
        assert torch.equal(one.targets.labels, other.targets.labels)


def test_an_epoch_is_each_image_once_but_the_last_few() -> None:
    loader = TrainLoader(samples(), CONFIG)
    assert loader.steps_per_epoch == 3
    batches = list(loader.batches(0))
    ids = [image_id for batch in batches for image_id in batch.image_ids]
    assert len(ids) == len(set(ids)) == 9
    assert all(len(batch.images) == 3 for batch in batches)


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    (batch,) = TrainLoader(samples(2), CONFIG).batches(0)
    assert sorted(batch.image_ids) == [0, 1]


def test_no_images() -> None:
    with pytest.raises(ValueError, match="no images to train on; expected at least one"):
        TrainLoader([], CONFIG)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    loader = TrainLoader(samples(), CONFIG)
    first, second = list(loader.batches(0)), list(loader.batches(1))
    assert [one.image_ids for one in first] != [one.image_ids for one in second]
    assert_same(first, list(loader.batches(0)))
    other = list(TrainLoader(samples(), CONFIG.model_copy(update={"seed": 5})).batches(0))
    assert [one.image_ids for one in first] != [one.image_ids for one in other]


def test_resuming_in_an_epoch_gives_the_same_rest() -> None:
    loader = TrainLoader(samples(), CONFIG)
    assert_same(list(loader.batches(2))[1:], list(loader.batches(2, start_step=1)))


def test_workers_do_not_change_the_batches() -> None:
    """Also when an epoch was left early and the same workers begin another."""
    alone = TrainLoader(samples(), CONFIG)
    helped = TrainLoader(samples(), CONFIG.model_copy(update={"workers": 2}))
    next(helped.batches(0))
    for epoch in (0, 1):
        assert_same(list(alone.batches(epoch)), list(helped.batches(epoch)))
    assert_same(list(alone.batches(3, 1, False)), list(helped.batches(3, 1, False)))


def test_strong_batches_vary_in_size_and_plain_ones_do_not() -> None:
    jobs = [Job(epoch, step, True) for epoch in range(5) for step in range(20)]
    sizes = {batch_size(CONFIG.model_copy(update={"size": (640, 640)}), job) for job in jobs}
    assert len(sizes) > 8
    assert all(480 <= side <= 800 for size in sizes for side in size)
    assert {batch_size(CONFIG, job._replace(strong=False)) for job in jobs} == {(64, 64)}


def test_plain_batches_are_at_most_flipped() -> None:
    config = CONFIG.model_copy(update={"augment": AugmentConfig(flip=0.0)})
    dataset = samples()
    batch = build_batch(Job(0, 0, strong=False), dataset, config).batch()
    for i, image_id in enumerate(batch.image_ids):
        np.testing.assert_allclose(
            batch.images[i].mean().item(), dataset[image_id].image.mean() / 255, atol=0.01
        )
    assert batch.targets.counts == tuple(image_id % 3 for image_id in batch.image_ids)


DENSE = CONFIG.model_copy(update={"dense": DenseConfig(mosaic=0.5, mixup=0.5, copy_blend=1.0)})


def test_dense_batches_do_not_depend_on_workers_or_resumption() -> None:
    alone = TrainLoader(samples(), DENSE)
    helped = TrainLoader(samples(), DENSE.model_copy(update={"workers": 2}))
    batches = list(alone.batches(1, dense=True))
    assert_same(batches, list(helped.batches(1, dense=True)))
    assert_same(batches[2:], list(alone.batches(1, 2, dense=True)))
    sparse = list(alone.batches(1))
    assert [one.image_ids for one in batches] == [one.image_ids for one in sparse]
    assert not torch.equal(batches[0].images, sparse[0].images)


@pytest.mark.parametrize(("kind", "boxes"), [("mosaic", None), ("mixup", 12), ("copy_blend", None)])
def test_each_dense_kind_alone(kind: str, boxes: int | None) -> None:
    """Two boxes an image; mixup has those of both, the others at least sometimes more than two."""
    config = CONFIG.model_copy(update={"dense": DenseConfig(**{kind: 1.0}), "augment": AugmentConfig(crop=0)})
    two = [one for one in samples(30) if len(one.labels) == 2]
    counts = np.concatenate([one.targets.counts for one in TrainLoader(two, config).batches(0, dense=True)])
    assert counts.max() > 2
    if boxes:
        assert counts.sum() == 2 * 2 * 9
    again = np.concatenate([one.targets.counts for one in TrainLoader(two, CONFIG).batches(0, dense=True)])
    assert again.max() <= 2  # all chances are 0


def test_a_lone_image_is_not_blended_with_itself() -> None:
    config = DENSE.model_copy(update={"dense": DenseConfig(mixup=1.0)})
    (batch,) = TrainLoader(samples(3)[2:], config).batches(0, dense=True)
    assert max(batch.targets.counts) <= 2


def test_unaugmented_batches_are_the_images_as_prediction_sees_them() -> None:
    config, dataset = unaugmented(DENSE), samples()
    for batch in TrainLoader(dataset, config).batches(0, strong=True, dense=True):
        images, targets = zip(
            *(plain(dataset[image_id], config.size) for image_id in batch.image_ids), strict=True
        )
        np.testing.assert_array_equal(batch.images.numpy(), images)
        np.testing.assert_allclose(batch.targets.boxes.numpy(), np.concatenate(targets), rtol=1e-6)


def plain(sample: Sample, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The model input that `preprocess` makes, and the boxes in it."""
    image, geometry = preprocess(sample.image, size)
    return image, xyxy_to_cxcywh(torch.from_numpy(sample.boxes_xyxy / geometry.scale)).numpy()


def with_rare(count: int = 20) -> list[Sample]:
    """Class 0 in every image, class 1 in the last one too."""
    image, box = np.zeros((40, 40, 3), np.uint8), np.array([[5, 5, 30, 30]], np.float32)
    last = Sample(image, box.repeat(2, 0), np.array([0, 1]), image_id=count - 1)
    return [Sample(image, box, np.array([0]), image_id=i) for i in range(count - 1)] + [last]


def test_images_of_rare_classes_come_more_often_and_every_time_otherwise() -> None:
    config = CONFIG.model_copy(update={"repeat_factor": 0.45})  # √(0.45 / 0.05) = 3
    loader = TrainLoader(with_rare(), config)
    assert loader.steps_per_epoch == 22 // 3
    for epoch in range(3):
        batches = list(loader.batches(epoch))
        assert len(batches) == 7
        assert all(len(one.images) == 3 for one in batches)
        ids = [image_id for one in batches for image_id in one.image_ids]
        assert ids.count(19) >= 2
        boxes = {
            tuple(one.targets.boxes[one.targets.image == place].flatten().tolist())
            for one in batches
            for place, image_id in enumerate(one.image_ids)
            if image_id == 19
        }
        assert len(boxes) == ids.count(19)  # each with an augmentation of its own


def test_repeated_images_do_not_depend_on_workers() -> None:
    config = DENSE.model_copy(update={"repeat_factor": 0.45})
    alone = TrainLoader(with_rare(), config)
    helped = TrainLoader(with_rare(), config.model_copy(update={"workers": 2}))
    assert_same(list(alone.batches(1, dense=True)), list(helped.batches(1, dense=True)))


def test_a_transform_of_the_users_comes_first() -> None:
    batches = list(TrainLoader(samples(), unaugmented(CONFIG), blackened).batches(0))
    assert all(one.images.max() == 0 for one in batches)
    assert sum(sum(one.targets.counts) for one in batches) > 0


@pytest.mark.parametrize("dense", [False, True])
def test_what_a_transform_draws_does_not_depend_on_workers(dense: bool) -> None:
    alone = TrainLoader(samples(), DENSE, speckled)
    helped = TrainLoader(samples(), DENSE.model_copy(update={"workers": 2}), speckled)
    assert_same(list(alone.batches(1, dense=dense)), list(helped.batches(1, dense=dense)))


def test_a_transform_that_workers_cannot_have() -> None:
    config = CONFIG.model_copy(update={"workers": 1})
    with pytest.raises(ValueError, match=r"<lambda> cannot be given to worker .* workers=0$"):
        TrainLoader(samples(), config, lambda image, boxes, labels: (image, boxes, labels))


def blackened(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros_like(image), boxes, labels


def speckled(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.random.randint(0, 256, image.shape, np.uint8), boxes, labels  # noqa: NPY002


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_stops_with_its_own_message(workers: int) -> None:
    loader = TrainLoader(Broken(samples(3)), CONFIG.model_copy(update={"workers": workers}))
    with pytest.raises(ValueError, match=r"^0\.png: cannot be decoded$"):
        list(loader.batches(0))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("workers", [0, 1])
def test_processes_see_their_share_of_what_one_would(count: int, workers: int) -> None:
    config = CONFIG.updated({"batch": 5, "dense.mixup": 0.5, "repeat_factor": 0.5})
    whole = list(TrainLoader(samples(), config).batches(1, dense=True))
    config = config.updated({"workers": workers})
    shares = [
        list(TrainLoader(samples(), config, processes=Processes(rank, count)).batches(1, dense=True))
        for rank in range(count)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert [part.first for part in parts] == [len(batch.images) * rank // count for rank in range(count)]
        assert torch.equal(torch.cat([part.images for part in parts]), batch.images)  # so one size, too
        assert torch.equal(torch.cat([part.targets.boxes for part in parts]), batch.targets.boxes)
        assert sum((part.image_ids for part in parts), ()) == batch.image_ids


@pytest.mark.parametrize(("batch", "images", "accumulate"), [(2, 9, 1), (9, 2, 1), (5, 9, 2)])
def test_a_process_without_an_image_is_refused(batch: int, images: int, accumulate: int) -> None:
    config = CONFIG.updated({"batch": batch, "accumulate": accumulate})
    with pytest.raises(ValueError, match=f"^a batch of {batch} from {images} images for 3 processes in acc"):
        TrainLoader(samples(images), config, processes=Processes(1, 3))


@pytest.mark.parametrize("strong", [False, True])
def test_a_data_set_of_files_gives_what_its_samples_give(strong: bool, tmp_path: Path) -> None:
    """Though its JPEGs are read at less than their size: smooth ones look alike, and boxes lie alike."""
    y, x = np.mgrid[0:301, 0:407]
    smooth = np.stack([x / 2, y / 2, 128 + 60 * np.sin(y / 50)], -1).astype(np.uint8)
    fill(tmp_path, {"train.csv": "path,x1,y1,x2,y2,label\n" + "a.jpg,41,52,230,240,dog\n"})
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    dataset = open_dataset(tmp_path, "train")
    config = CONFIG.updated({"batch": 1, "augment.multi_scale": 0.0, "augment.crop": 0.3})
    for epoch in range(10):
        ours, whole = (
            build_batch(Job(epoch, 0, strong), data, config).batch() for data in (dataset, [dataset[0]])
        )
        torch.testing.assert_close(ours.targets.boxes, whole.targets.boxes, atol=1.5 / 64, rtol=0)
        assert (ours.images - whole.images).abs().mean() < 0.03


def test_bccd_one_epoch(shared: Path) -> None:
    config = TrainConfig(batch=16, workers=0, size=(96, 128))
    loader = TrainLoader(open_dataset(shared / "data/bccd", "train"), config)
    assert loader.steps_per_epoch == 12
    batch = next(loader.batches(0))
    assert len(batch.images) == 16
    assert 0 <= batch.images.min() < batch.images.max() <= 1
    assert set(batch.targets.labels.tolist()) <= {0, 1, 2}
    assert ((batch.targets.boxes > 0) & (batch.targets.boxes <= 1)).all()


def test_interrupted_by_the_keyboard_leaves_no_worker_and_one_traceback(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import signal
        import time
        import numpy as np
        from edgewise.config import TrainConfig
        from edgewise.data.loader import TrainLoader
        from edgewise.sample import Sample

        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)  # the background ignores it
            image = np.zeros((40, 40, 3), np.uint8)
            sample = Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
            loader = TrainLoader([sample] * 64, TrainConfig(batch=2, workers=2, size=(64, 64)))
            for batch in loader.batches(0):
                print("ready", flush=True)
                time.sleep(60)
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert errors.count("KeyboardInterrupt") == 1, errors
    assert errors.count("Traceback") == 1, errors
    assert ends(process.pid)
