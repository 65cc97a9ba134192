"""The picture of a batch: where its tensors say, there the boxes are."""

from dataclasses import replace

import numpy as np
import torch

from edgewise.draw import LIGHT, colour
from edgewise.structures import Batch, Targets
from edgewise.train.batch_picture import WIDTH, batch_picture


def batch(boxes: list[list[float]], images: int = 1) -> Batch:
    targets = Targets(
        torch.arange(len(boxes)), torch.tensor(boxes).view(-1, 4), (len(boxes), *[0] * (images - 1))
    )
    return Batch(torch.zeros(images, 3, 32, 64), targets, tuple(range(images)))


def painted(pixels: np.ndarray, label: int) -> tuple[int, int, int, int]:
    """left, top, right and bottom of what has the colour of a class."""
    rows, columns = np.nonzero((pixels == colour(label)).all(-1))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_boxes_are_drawn_as_shares_of_the_image() -> None:
    pixels = np.asarray(batch_picture(batch([[0.5, 0.5, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]]), ("a", "b")))
    gap = max(2, WIDTH // 60)
    left, _, right, bottom = painted(pixels, 0)
    assert (left - gap, right - gap) == (WIDTH // 4, WIDTH * 3 // 4)
    assert bottom - gap == WIDTH // 2 * 3 // 4
    assert painted(pixels, 1)[2] - gap == WIDTH - 1  # at the right border


def test_boxes_in_pixels_are_out_of_the_picture() -> None:
    pixels = np.asarray(batch_picture(batch([[32.0, 16.0, 10.0, 10.0]]), ("a",)))
    rows = np.nonzero((pixels == colour(0)).all(-1))[0]
    assert not len(rows) or np.ptp(rows) < 20  # at most the name


def test_images_are_called_by_their_files() -> None:
    by_id = batch([])
    by_file = replace(by_id, paths=("photos/dog.jpg",))
    named, numbered = (np.asarray(batch_picture(one, ("a",))) for one in (by_file, by_id))
    assert (named != numbered).any()


def test_sixteen_images_in_rows_of_four() -> None:
    picture = batch_picture(batch([], images=20), ("a",))
    assert picture.width // WIDTH == 4
    assert picture.getpixel((1, 1)) == LIGHT
