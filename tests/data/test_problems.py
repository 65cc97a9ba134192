from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.data.open import open_dataset
from edgewise.data.problems import FAULTS, STOPS, box_faults, clip, find_problems, mended, problem, refuse
from edgewise.data.records import Problem, RawImage, RawSplit, Severity

NAN, INF = float("nan"), float("inf")


def image(
    folder: Path,
    name: str,
    boxes: list[tuple[float, float, float, float]],
    *,
    labels: list[int] | None = None,
    crowd: list[bool] | None = None,
    declared: bool = True,
    lines: list[int] | None = None,
    file: str = "boxes.csv",
) -> RawImage:
    (folder / name).touch()
    count = len(boxes)
    return RawImage(
        path=folder / name,
        image_id=int(name[0]),
        size=(30, 40),
        boxes_xyxy=np.array(boxes, np.float64).reshape(-1, 4),
        category_ids=np.array(labels or [1] * count, np.int64),
        crowd=np.array(crowd or [False] * count, bool),
        area=np.full(count, np.nan),
        file=file,
        lines=np.array(lines or range(1, count + 1), np.int64),
        declared=declared,
    )


def split(
    folder: Path,
    *images: RawImage,
    categories: dict[int, str] | None = None,
    name: str = "train",
    problems: tuple[Problem, ...] = (),
    format: str = "CSV",
) -> RawSplit:
    return RawSplit(
        name, format, folder / "boxes.csv", categories or {1: "dog"}, images, problems, data=folder
    )


GOOD = (1.0, 2.0, 3.0, 4.0)


def test_nothing_is_wrong(tmp_path: Path) -> None:
    found = split(tmp_path, image(tmp_path, "1.png", [GOOD, (0, 0, 40, 30)]), image(tmp_path, "2.png", []))
    assert find_problems(found) == []
    refuse(found, [])
    assert mended([]) == []


@pytest.mark.parametrize(
    ("box", "kind", "severity", "message"),
    [
        (
            (1, 2, NAN, 4),
            "box-not-finite",
            "error",
            "[1, 2, nan, 4] in an image of 30x40 (height x width); expected finite numbers",
        ),
        ((1, -INF, 3, 4), "box-not-finite", "error", "[1, -inf, 3, 4]"),
        (
            (3, 2, 1, 4),
            "box-negative",
            "error",
            "[3, 2, 1, 4] in an image of 30x40 (height x width); expected x1 <= x2 and y1 <= y2",
        ),
        ((40, 2, 44, 4), "box-outside", "error", "expected a box that touches the image"),
        ((1, -9, 4, -5), "box-outside", "error", "expected a box that touches the image"),
        ((1, 2, 1, 4), "box-empty", "warning", "it has no area"),
        ((50, 2, 50, 4), "box-empty", "warning", "it has no area"),
        ((-1, 2, 5, 4), "box-over-border", "warning", "it reaches over the border"),
        ((1, 2, 5, 31), "box-over-border", "warning", "it reaches over the border"),
        (GOOD, "box-duplicate", "warning", "it is there already, with the same class"),
    ],
)
def test_a_box_has_one_fault(
    tmp_path: Path, box: tuple[float, float, float, float], kind: str, severity: Severity, message: str
) -> None:
    (found,) = find_problems(split(tmp_path, image(tmp_path, "1.png", [GOOD, box], lines=[7, 9])))
    assert (found.kind, found.severity, found.where) == (kind, severity, "boxes.csv:9")
    assert message in found.message
    assert found.treatment == FAULTS[kind].treatment
    assert str(found) == f"boxes.csv:9: {found.message} ({found.treatment})"


def test_what_is_no_fault(tmp_path: Path) -> None:
    """Rounding over the border; the same box of another class, another image, a crowd."""
    one = image(
        tmp_path,
        "1.png",
        [(30, 20, 40.4, 30.9), GOOD, GOOD, GOOD],
        labels=[1, 1, 2, 1],
        crowd=[False] * 3 + [True],
    )
    assert (
        find_problems(split(tmp_path, one, image(tmp_path, "2.png", [GOOD]), categories={1: "a", 2: "b"}))
        == []
    )


def test_duplicates_among_many(tmp_path: Path) -> None:
    boxes = [(1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 4), (0, 2, 3, 4), (1, 2, 3, 4)]
    table = split(tmp_path, image(tmp_path, "1.png", boxes)).table  # type: ignore[arg-type]
    assert box_faults(table)["box-duplicate"].tolist() == [False, False, True, False, True]


def test_clip(tmp_path: Path) -> None:
    table = split(tmp_path, image(tmp_path, "1.png", [(-3, -2, 50, 60)])).table
    assert clip(table).tolist() == [[0, 0, 40, 30]]


def test_classes(tmp_path: Path) -> None:
    one = image(tmp_path, "1.png", [GOOD, GOOD], labels=[1, 5])
    found = find_problems(split(tmp_path, one, categories={1: "dog", 2: "dog", 3: "cat"}))
    assert [(one.kind, one.severity) for one in found] == [
        ("category-name-twice", "error"),
        ("class-absent", "info"),
        ("category-unknown", "error"),
    ]
    assert found[0].message == "category name 'dog' is there 2 times; expected each once"
    assert found[1].message == "1 of 3 classes has no box in the train split: cat"
    assert found[2].where == "boxes.csv:2"
    assert "category 5 is not among the categories (1 to 3)" in found[2].message


@pytest.mark.parametrize(
    ("name", "kinds"), [("train", ["split-without-boxes"]), ("val", ["split-without-boxes"]), ("test", [])]
)
def test_a_split_of_negatives(name: str, kinds: list[str], tmp_path: Path) -> None:
    found = split(tmp_path, image(tmp_path, "1.png", []), name=name)
    assert [one.kind for one in find_problems(found)] == kinds
    if kinds:
        with pytest.raises(ValueError, match=f"none of the 1 images of the {name} split has a box"):
            refuse(found, find_problems(found))


def test_a_split_without_images(tmp_path: Path) -> None:
    (found,) = find_problems(split(tmp_path))
    assert found.kind == "split-empty"
    assert found.message == "no images in the train split; expected at least one"
    broken = problem("file-unreadable", "boxes.csv", "not CSV")
    assert find_problems(split(tmp_path, problems=(broken,))) == [broken]  # which is why


def test_images(tmp_path: Path) -> None:
    one, two = image(tmp_path, "1.png", [GOOD]), image(tmp_path, "2.png", [], declared=False)
    three = image(tmp_path, "3.png", [GOOD], file="a.json")
    (tmp_path / "3.png").unlink()
    found = find_problems(split(tmp_path, one, two, three, one))
    assert [(one.kind, one.where, one.severity) for one in found] == [
        ("image-undeclared", "boxes.csv", "warning"),
        ("image-missing", "a.json: image 3", "error"),
        ("image-twice", "boxes.csv", "warning"),
    ]


def corner_faults(folder: Path, *boxes: tuple[float, float, float, float], format: str = "COCO") -> set[str]:
    """What is wrong with boxes in an image of 30x40 that were read as left, top, width, height."""
    read = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    return {one.kind for one in find_problems(split(folder, image(folder, "1.png", read), format=format))}


def test_corners_in_place_of_sides_are_one_problem(tmp_path: Path) -> None:
    corners = [(1, 2, 9, 8), (20, 2, 30, 9), (2, 15, 9, 25), (3, 4, 8, 9), (30, 20, 40.4, 30)]
    assert corner_faults(tmp_path, *corners) == {"box-corners"}
    assert "box-corners" not in corner_faults(tmp_path, *corners[:4])  # too few to tell
    assert "box-corners" not in corner_faults(tmp_path, *corners, format="CSV")
    assert "box-corners" not in corner_faults(tmp_path, *corners, (20, 2, 10, 9))  # one cannot be corners
    assert "box-corners" not in corner_faults(tmp_path, *corners, (20, 2, 42, 9))
    assert "box-corners" not in corner_faults(tmp_path, *corners, (20, 2, NAN, 9))
    assert corner_faults(tmp_path, *[(1, 1, 40 - i, 30) for i in range(6)]) == {
        "box-over-border"
    }  # by a pixel


def test_annotation_ids_are_coco_s(tmp_path: Path) -> None:
    one = image(tmp_path, "1.png", [GOOD, (5, 5, 9, 9)], lines=[4, 4], file="a.json")
    assert find_problems(split(tmp_path, one)) == []
    (found,) = find_problems(split(tmp_path, one, format="COCO"))
    assert (found.kind, found.where) == ("annotation-id-twice", "a.json: annotation 4")


def test_the_first_error_with_its_number_and_the_way_out(tmp_path: Path) -> None:
    boxes = [(1, 2, 1, 4), (3, 2, 1, 4), GOOD, (9, 2, 1, 4), (1, 2, NAN, 4)]
    data = split(tmp_path, image(tmp_path, "1.png", boxes))  # type: ignore[arg-type]
    with pytest.raises(ValueError) as error:
        refuse(data, find_problems(data))
    assert str(error.value) == (
        f"{tmp_path}/boxes.csv:5: box [x1, y1, x2, y2] is [1, 2, nan, 4] in an image of 30x40 "
        f"(height x width); expected finite numbers. To see all: edgewise doctor {tmp_path}"
    )
    data = split(tmp_path, image(tmp_path, "1.png", boxes[:4]))  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"boxes\.csv:2: .* expected x1 <= x2 and y1 <= y2 \(2 such\)\. To see"
    ):
        refuse(data, find_problems(data))


def test_no_command_shows_all_of_a_list(tmp_path: Path) -> None:
    """A list in Python has no folder that `edgewise doctor` could be given."""
    records = [{"image": tmp_path / "1.png", "boxes": [(9, 2, 1, 4)], "labels": ["dog"]}]
    image(tmp_path, "1.png", [])
    Image.new("RGB", (40, 30)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"^records:0: box .* expected x1 <= x2 and y1 <= y2$"):
        open_dataset(records, "train")


def test_names_that_differ_only_in_case(tmp_path: Path) -> None:
    one = image(tmp_path, "1.png", [GOOD] * 4, labels=[1, 2, 3, 4])
    data = split(tmp_path, one, categories={1: "cat", 2: "dog", 3: "Cat", 4: "CAT"})
    (found,) = find_problems(data)
    assert (found.kind, found.severity, found.where) == ("category-name-case", "warning", "boxes.csv")
    assert found.message == (
        "'cat' and 'Cat' and 'CAT' differ only in case; give them one name if they are the same"
    )
    assert mended([found]) == ["class names that differ only in case: 1 (they are two classes)"]


def test_what_was_mended_is_said_by_kind(tmp_path: Path) -> None:
    boxes = [(1, 2, 1, 4), (-1, 2, 3, 4), (-1, 5, 3, 9), GOOD]
    data = split(tmp_path, image(tmp_path, "1.png", boxes))  # type: ignore[arg-type]
    assert mended(find_problems(data)) == [
        "boxes without area: 1 (left out)",
        "boxes that reach over the border of their image: 2 (clipped)",
    ]


def test_every_warning_can_be_counted_and_every_error_stops() -> None:
    assert all(fault.many for fault in FAULTS.values() if fault.severity == "warning")
    assert all(fault.treatment == STOPS for fault in FAULTS.values() if fault.severity == "error")
