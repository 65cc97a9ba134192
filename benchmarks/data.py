"""Images a second that one core makes ready for training, against the same steps one by one in Pillow.

    python benchmarks/data.py ../shared/data/photos --size 640
    python benchmarks/data.py ../shared/data/bccd --size 640 --images 64 --repeats 3 --out runs/data.json

From the file to float32 [3, H, W]: decode, distort colours, zoom out, crop, flip, resize, each by the chances
of the default settings. Pillow's side does each on a whole picture, as one would write it; its windows are of
the same sides, but it looks for none that holds a box, which is time it saves. Both go over the same files
in turns, other ones every turn.
"""

from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from speed import RESULTS, Clock, alternated, facts, medians, stacked_bars, write

from edgewise.config import AugmentConfig, TrainConfig
from edgewise.data.loader import Job, build_batch
from edgewise.data.open import open_dataset
from edgewise.data.sampling import epoch_order

ONE_BY_ONE, OURS = "Pillow, one by one", "edgewise"


def one_by_one(
    path: Path, size: tuple[int, int], config: AugmentConfig, rng: np.random.Generator
) -> np.ndarray:
    """Every step on its own, on a Pillow picture of full size."""
    picture = Image.open(path).convert("RGB")
    brightness, contrast, saturation, hue, permute = rng.random(5) < config.photometric
    if brightness:
        picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.875, 1.125))
    if contrast:
        picture = ImageEnhance.Contrast(picture).enhance(rng.uniform(0.5, 1.5))
    if saturation:
        picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.5, 1.5))
    if hue:
        bands = list(picture.convert("HSV").split())
        turn = int(rng.uniform(-0.05, 0.05) * 255)
        bands[0] = bands[0].point([(level + turn) % 256 for level in range(256)])
        picture = Image.merge("HSV", bands).convert("RGB")
    if permute:
        picture = Image.merge("RGB", [picture.split()[band] for band in rng.permutation(3)])
    if rng.random() < config.zoom_out:
        zoom, place = rng.uniform(1, config.max_zoom), rng.random(2)
        room = [int(side * zoom) - side for side in picture.size]
        left, top = (int(one * share) for one, share in zip(room, place, strict=True))
        picture = ImageOps.expand(picture, (left, top, room[0] - left, room[1] - top))
    if rng.random() < config.crop * 6 / 7:  # one overlap of seven keeps all
        picture = picture.crop(window(picture.size, rng))
    if rng.random() < config.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1), dtype=np.float32) / 255


def window(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Sides of 0.3 to 1 of the picture's, an aspect of 0.5 to 2, anywhere."""
    while True:
        width, height = (int(side * share) for side, share in zip(size, rng.uniform(0.3, 1, 2), strict=True))
        if height <= 2 * width and width <= 2 * height:
            left, top = (int(one) for one in rng.random(2) * (size[0] - width, size[1] - height))
            return left, top, left + width, top + height


def main(
    data: str,
    *,
    split: str = "train",
    size: int = 640,
    images: int = 100,
    repeats: int = 5,
    out: Path = RESULTS / "data.json",
) -> None:
    """DATA as `edgewise train` takes it; IMAGES are those of a turn."""
    torch.set_num_threads(1)
    dataset = open_dataset(data, split)
    images = min(images, len(dataset))
    config = TrainConfig().updated(
        {"size": (size, size), "batch": 1, "augment.multi_scale": 0.0, "workers": 0}
    )
    turns = {ONE_BY_ONE: 0, OURS: 0}

    def pillow(clock: Clock) -> None:
        turns[ONE_BY_ONE] += 1
        rng = np.random.default_rng(turns[ONE_BY_ONE])
        for index in epoch_order(len(dataset), config.seed, turns[ONE_BY_ONE])[:images]:
            one_by_one(Path(dataset.paths[index]), config.size, config.augment, rng)
        clock.lap("images")

    def ours(clock: Clock) -> None:
        turns[OURS] += 1
        for step in range(images):
            build_batch(Job(turns[OURS], step, strong=True), dataset, config).batch()
        clock.lap("images")

    times = alternated({ONE_BY_ONE: pillow, OURS: ours}, repeats)
    seconds = {name: medians(one)["cpu_s"] / images for name, one in times.items()}
    result: dict[str, Any] = {
        "facts": facts(),
        "data": Path(data).name,
        "size": size,
        "images": images,
        "parts": times,
        "images_per_core_second": {name: 1 / one for name, one in seconds.items()},
        "times_faster": seconds[ONE_BY_ONE] / seconds[OURS],
    }
    print(result["images_per_core_second"], f"{result['times_faster']:.2f} times")
    write(result, out)
    bars = {name: {"an image": 1e3 * one} for name, one in seconds.items()}
    title = f"From file to input of {size}x{size}, augmented, on one core"
    stacked_bars(bars, title, "milliseconds, medians", out.with_suffix(".png"))


if __name__ == "__main__":
    cyclopts.run(main)
