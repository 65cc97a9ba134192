"""--fix: a copy without faults, a line a change, and an original that nobody touched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgewise.data.open import open_dataset
from edgewise.doctor.examine import Diagnosis, examine
from edgewise.doctor.mend import DONE, mend
from edgewise.images import orientation, read_image
from tests.doctor.folders import SIZE, Coco, Yolo, photo, turned
from tests.doctor.test_faults import CASES


def diagnosed(folder: Path) -> Diagnosis:
    return examine(folder, (64, 64), queries=30)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


SETTINGS = {"more boxes than queries", "box below a pixel"}
# only these would help
OTHER_IMAGES = {"empty training split", "validation of negatives only", "class that only validation has"}


@pytest.mark.parametrize("name", [name for name in CASES if name not in SETTINGS | OTHER_IMAGES])
def test_the_copy_is_clean_and_the_original_as_it_was(name: str, tmp_path: Path) -> None:
    data, case = tmp_path / "data", CASES[name]
    case.plant(data)
    before = contents(data)
    changes = mend(diagnosed(data), tmp_path / "copy")
    assert contents(data) == before
    left = diagnosed(tmp_path / "copy")
    assert left.counts["error"] == 0
    assert {one.kind for one in left.problems if one.severity == "warning"} <= {"boxes-above-queries"}
    if case.severity != "info":
        assert [one.kind for one in changes] == [case.kind] * len(changes) != []
        assert changes[0].where == case.where
    lines = (tmp_path / "copy/changes.jsonl").read_text().splitlines()
    assert [json.loads(line)["where"] for line in lines] == [one.where for one in changes]
    page = (tmp_path / "copy/changes.md").read_text()
    assert all(f"- {one.where}: {one.kind}: " in page and one.done in page for one in changes)


@pytest.mark.parametrize("layout", [Coco, Yolo])
def test_a_clean_set_is_copied_as_it_is(layout: type[Coco] | type[Yolo], tmp_path: Path) -> None:
    data = layout(tmp_path / "data")
    assert mend(diagnosed(data.folder), tmp_path / "copy") == []
    for split, count in (("train", 4), ("val", 2)):
        first, second = open_dataset(data.folder, split), open_dataset(tmp_path / "copy", split)
        assert first.class_names == second.class_names == ("cat", "dog")
        for i in range(count):
            assert second.paths[i].read_bytes() == data.image(split, i).read_bytes()
            np.testing.assert_allclose(first[i].boxes_xyxy, second[i].boxes_xyxy, atol=1e-4)
            assert first[i].labels.tolist() == second[i].labels.tolist()


def test_corners_in_place_of_sides_are_read_as_corners(tmp_path: Path) -> None:
    CASES["corners in place of sides"].plant(tmp_path / "data")
    mend(diagnosed(tmp_path / "data"), tmp_path / "copy")
    sample = open_dataset(tmp_path / "copy", "train")[0]
    assert sample.boxes_xyxy.tolist() == [[44, 26, 74, 50], [44, 32, 84, 56]]


@pytest.mark.parametrize("turn", range(5, 9))
def test_boxes_drawn_before_exif_turned_the_image_turn_with_it(turn: int, tmp_path: Path) -> None:
    """A white rectangle on the stored image is still in its box on the upright one."""
    coco = Coco(tmp_path / "data")
    picture = Image.new("RGB", SIZE[::-1])
    picture.paste("white", (8, 16, 40, 32))
    coco.image("train", 0).write_bytes(turned(picture, turn))
    coco.box("train", 0, [8, 16, 32, 16])
    (change, *_) = mend(diagnosed(coco.folder), tmp_path / "copy")
    assert change.done == "its boxes are turned with it, which is stored upright"
    sample = open_dataset(tmp_path / "copy", "train")[0]
    assert orientation(tmp_path / "copy/train/0.jpg") == 1
    assert sample.image.shape[:2] == SIZE[::-1]
    x1, y1, x2, y2 = sample.boxes_xyxy[0].astype(int).tolist()
    inside = np.zeros(sample.image.shape[:2], bool)
    inside[y1:y2, x1:x2] = True
    white = sample.image.mean(2) > 128
    assert (white == inside).mean() > 0.99


def test_an_image_turned_upright_keeps_its_pixels_and_boxes(tmp_path: Path) -> None:
    coco = Coco(tmp_path / "data")
    coco.image("train", 0).write_bytes(turned(photo(0), 3))
    mend(diagnosed(coco.folder), tmp_path / "copy")
    before, after = read_image(coco.image("train", 0)), read_image(tmp_path / "copy/train/0.jpg")
    assert np.abs(before.astype(int) - after).mean() < 3
    boxes = [open_dataset(folder, "train")[0].boxes_xyxy for folder in (coco.folder, tmp_path / "copy")]
    np.testing.assert_array_equal(*boxes)


@pytest.mark.parametrize(
    ("annotated", "box", "done", "expected"),
    [
        ((128, 192), [20, 20, 40, 40], "its boxes are scaled from 128x192 to 64x96", [10, 10, 30, 30]),
        (
            (100, 96),
            [20, 20, 40, 40],
            "all its boxes lie within it: its own size is written",
            [20, 20, 60, 60],
        ),
        ((100, 96), [20, 20, 40, 60], "the image is left out", None),
    ],
)
def test_another_size_than_annotated(
    annotated: tuple[int, int], box: list[float], done: str, expected: list[float] | None, tmp_path: Path
) -> None:
    coco = Coco(tmp_path / "data")

    def change(content: dict[str, list[dict[str, Any]]]) -> None:
        content["images"][0].update(height=annotated[0], width=annotated[1])
        content["annotations"][0].update(bbox=box)
        del content["annotations"][1]

    coco.edit("train", change)
    (only,) = mend(diagnosed(coco.folder), tmp_path / "copy")
    assert only.done == done
    copy = open_dataset(tmp_path / "copy", "train")
    assert len(copy) == (3 if expected is None else 4)
    if expected is not None:
        assert copy[0].boxes_xyxy.tolist() == [expected]


def test_entries_of_one_file_become_one(tmp_path: Path) -> None:
    coco = Coco(tmp_path / "data")

    def change(content: dict[str, list[dict[str, Any]]]) -> None:
        content["images"].append(content["images"][0] | {"id": 50})
        content["annotations"].append(coco.annotation(50, 50, 1, [40, 30, 20, 20]))

    coco.edit("train", change)
    assert [one.kind for one in mend(diagnosed(coco.folder), tmp_path / "copy")] == ["image-twice"]
    copy = open_dataset(tmp_path / "copy", "train")
    assert [len(copy[i].labels) for i in range(len(copy))] == [3, 2, 2, 2]


def test_images_of_one_name_are_numbered(tmp_path: Path) -> None:
    coco = Coco(tmp_path / "data")
    (coco.folder / "train/more").mkdir()
    coco.image("train", 1).rename(coco.folder / "train/more/0.jpg")
    coco.edit("train", lambda content: content["images"][1].update(file_name="more/0.jpg"))
    mend(diagnosed(coco.folder), tmp_path / "copy")
    names = [path.name for path in open_dataset(tmp_path / "copy", "train").paths]
    assert names == ["0.jpg", "0_2.jpg", "2.jpg", "3.jpg"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            lambda data: data.parent / "full",
            "full: is not empty; name a new folder",
        ),
        (
            lambda data: data / "clean",
            "clean: lies within .*data, which is not written to; name a folder elsewhere",
        ),
    ],
)
def test_where_a_copy_cannot_go(place: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    coco = Coco(tmp_path / "data")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=message):
        mend(diagnosed(coco.folder), place(coco.folder))
    assert contents(tmp_path) == before


def test_what_is_done_has_a_text_for_known_kinds_only() -> None:
    from edgewise.data import problems
    from edgewise.doctor import checks

    assert set(DONE) <= {**problems.FAULTS, **checks.FAULTS}.keys()
