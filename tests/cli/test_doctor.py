"""`edgewise doctor`: OK or what is wrong, exit codes, JSON, report, cleaned copy."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Edgewise
from tests.doctor.folders import Coco, Yolo


@pytest.mark.parametrize("layout", [Coco, Yolo])
def test_a_clean_set_prints_nothing_but_ok(
    layout: type[Coco] | type[Yolo], edgewise: Edgewise, tmp_path: Path
) -> None:
    layout(tmp_path / "data")
    assert edgewise("doctor", tmp_path / "data") == (0, "OK")
    assert edgewise("doctor", tmp_path / "data", "--strict") == (0, "OK")


def test_exit_codes(edgewise: Edgewise, tmp_path: Path) -> None:
    """An error is 1; a warning is 0, and 1 with --strict; an info is 0."""
    coco = Coco(tmp_path)
    coco.edit("val", lambda content: [one.update(category_id=1) for one in content["annotations"]])
    assert edgewise("doctor", tmp_path, "--strict")[0] == 0
    coco.box("train", 0, [80, 5, 30, 9])
    code, text = edgewise("doctor", tmp_path)
    assert code == 0
    assert text.endswith("0 errors, 1 warning, 1 info; images: train 4, val 2")
    assert edgewise("doctor", tmp_path, "--strict")[0] == 1
    coco.image("train", 0).write_text("[bold]no image")
    code, text = edgewise("doctor", tmp_path)
    assert code == 1
    assert "error image-unreadable train/0.jpg: not an image" in text


def test_five_places_of_a_kind_and_their_number(edgewise: Edgewise, tmp_path: Path) -> None:
    coco = Coco(tmp_path)
    for index in range(7):
        coco.box("train", index, [80, 5, 30, 9])
    _, text = edgewise("doctor", tmp_path)
    assert (
        "warning box-over-border · 7 train/_annotations.coco.json: annotation 1: box [x1, y1, x2, y2]" in text
    )
    assert text.count(": annotation ") == 5
    assert "… and 2 more → clipped" in text


def test_json_has_everything(edgewise: Edgewise, tmp_path: Path) -> None:
    coco = Coco(tmp_path)
    for index in range(7):
        coco.box("train", index, [80, 5, 30, 9])
    code, text = edgewise("doctor", tmp_path, "--json", "--size", "64x96", "--queries", "20")
    found = json.loads(text)
    assert code == 0
    assert (found["size"], found["queries"]) == ([64, 96], 20)
    assert found["counts"] == {"error": 0, "warning": 7, "info": 0}
    assert [one["kind"] for one in found["problems"]] == ["box-over-border"] * 7
    assert found["problems"][0]["where"] == "train/_annotations.coco.json: annotation 1"
    assert set(found["problems"][0]) == {"severity", "kind", "where", "message", "treatment"}
    assert found["splits"]["val"]["images"] == 2
    assert [one["subject"] for one in found["advice"]] == ["input size", "queries", "tiles", "sampling"]


def test_a_report_and_a_cleaned_copy(edgewise: Edgewise, tmp_path: Path) -> None:
    coco = Coco(tmp_path / "data")
    coco.box("train", 0, [200, 5, 9, 9])
    words = [
        "doctor",
        tmp_path / "data",
        "--out",
        tmp_path / "report",
        "--fix",
        tmp_path / "copy",
        "--strict",
    ]
    code, text = edgewise(*words)
    assert code == 0
    assert "OK" in text
    assert f"1 change; the cleaned copy and changes.md are in {tmp_path / 'copy'}" in text
    assert f"the report is {tmp_path / 'report/report.html'}" in text
    assert "box-outside" in (tmp_path / "report/report.html").read_text()  # of the original
    assert edgewise(*words)[1].endswith("copy: is not empty; name a new folder")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/where"], "error: no/where: no such data set folder or annotation file"),
        (["data", "--size", "100"], "100 is not a positive multiple of 32"),
        (["data", "--queries", "0"], "error: queries 0: expected at least 1"),
    ],
)
def test_what_a_user_can_mend_is_one_line(words: list[str], message: str, edgewise: Edgewise) -> None:
    code, text = edgewise("doctor", *words)
    assert code == 1
    assert message in text
