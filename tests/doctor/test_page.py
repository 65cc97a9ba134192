"""The report: pictures, statistics, every problem, advice."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from edgewise.doctor.examine import examine
from edgewise.doctor.page import write_page
from tests.doctor.folders import Coco


def test_a_page_with_all_there_is_to_say(tmp_path: Path) -> None:
    coco = Coco(tmp_path / "data")
    coco.box("train", 0, [80, 5, 30, 9])
    coco.box("train", 2, [5, float("nan"), 9, 9])
    coco.image("train", 3).write_text("no image")
    found = examine(coco.folder)
    page = write_page(found, tmp_path / "report")
    assert page == tmp_path / "report/report.html"
    text = page.read_text(encoding="utf-8")
    for one in found.problems:
        assert one.where in text
        assert one.treatment in text
    for one in found.advice:
        assert one.subject in text
    names = {"worst.jpg", "samples.jpg", "classes.png", "sizes.png", "boxes_per_image.png"}
    assert {path.name for path in page.parent.iterdir()} == names | {"report.html", "doctor.json"}
    assert all(f'src="{name}"' in text for name in names)
    values = json.loads((page.parent / "doctor.json").read_text(encoding="utf-8"))
    assert values == json.loads(json.dumps(found.to_dict()))
    assert values["counts"] == {"error": 2, "warning": 1, "info": 0}
    assert values["splits"]["train"]["boxes"] == 7


def test_faulty_boxes_are_red(tmp_path: Path) -> None:
    coco = Coco(tmp_path / "data")
    coco.box("train", 0, [60, 30, 60, 20])
    write_page(examine(coco.folder), tmp_path / "report")
    red = np.asarray(Image.open(tmp_path / "report/worst.jpg")).astype(int)
    assert ((red[..., 0] > 180) & (red[..., 1:] < 90).all(2)).sum() > 500


def test_a_clean_set_has_no_worst_images_and_an_empty_one_no_pictures(tmp_path: Path) -> None:
    coco = Coco(tmp_path / "data")
    page = write_page(examine(coco.folder), tmp_path / "clean")
    assert "Nothing wrong was found" in page.read_text(encoding="utf-8")
    assert not (page.parent / "worst.jpg").exists()
    for split in ("train", "val"):
        coco.edit(split, lambda content: content.update(annotations=[]))
    page = write_page(examine(coco.folder), tmp_path / "empty")
    assert "split-without-boxes" in page.read_text(encoding="utf-8")
    assert not list(page.parent.glob("*.png"))
