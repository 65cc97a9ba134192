import json
from pathlib import Path

from edgewise import classes


def test_names_and_ids_are_those_of_the_published_rows(shared: Path):
    table = json.loads((shared / "spec/classes.json").read_text(encoding="utf-8"))
    assert list(classes.COCO) == table["coco"]["names"]
    assert list(classes.COCO_IDS) == table["coco"]["category_ids"]
    assert list(classes.OBJECTS365) == table["objects365"]["names"]
    assert list(classes.OBJECTS365_IDS) == table["objects365"]["category_ids"]


def test_names_are_different_and_found_by_their_number():
    assert len(set(classes.COCO)) == 80
    assert len(set(classes.OBJECTS365)) == 366
    assert classes.PUBLISHED == {80: classes.COCO, 366: classes.OBJECTS365}


def test_ids_belong_to_the_very_names():
    assert classes.category_ids(classes.COCO) == classes.COCO_IDS
    assert classes.category_ids(classes.OBJECTS365) == classes.OBJECTS365_IDS
    assert classes.category_ids(classes.COCO[::-1]) is None
