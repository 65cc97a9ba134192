import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.data.scenes import SceneDataset
from edgewise.detections import Detections
from edgewise.uses.audit import Audit, Odd, Suspect, audit
from edgewise.uses.audit_page import SEEN, WRONG, draw_odd, draw_suspect, write_audit

SUSPECT = Suspect(
    image=0,
    box=0,
    label=0,
    annotated=(20.0, 20.0, 60.0, 60.0),
    predicted=(20.0, 20.0, 50.0, 60.0),
    spread=(2.0, 2.0, 2.0, 2.0),
    score=0.9,
    probability=1e-4,
    cause="right edge",
    marked=(False, False, True, False),
    tails=(1.0, 1.0, 1e-5, 1.0),
)


def near(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(np.asarray(picture).astype(int) - colour).sum(2) < 30


def test_the_doubted_edge_is_marked() -> None:
    picture = draw_suspect(np.full((100, 100, 3), 90, np.uint8), SUSPECT)
    marked = near(picture, WRONG)
    scale = picture.width / 72  # 40 x 40 boxes with 16 pixels of room: 4 to 76
    columns = np.flatnonzero(marked.any(0))
    assert columns.mean() == pytest.approx((60 - 4) * scale, abs=2)
    assert len(columns) < 8
    assert near(picture, SEEN).any()
    middle = picture.height // 2
    band = np.asarray(picture)[middle, round((51.3 - 4) * scale)].astype(int)
    assert band[2] > 100  # blue over grey, within two pixels of the predicted edge
    assert np.asarray(picture)[middle, round((55 - 4) * scale)].tolist() == [90, 90, 90]


@pytest.mark.parametrize("box", [(0, 0, 100, 100), (0, 0, 1, 1), (99, 99, 100, 100), (-5, -5, 130, 40)])
def test_any_box_can_be_drawn(box: tuple[float, float, float, float]) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    assert max(draw_odd(image, Odd("unseen", 0, 0, 0, tuple(map(float, box)))).size) == 420


def scenes_audited() -> tuple[SceneDataset, Audit]:
    """Three scenes whose detections are the truth, but for one box that is not where it is annotated."""
    dataset = SceneDataset(3, 0, "test")

    def predict(images: list[np.ndarray]) -> list[Detections]:
        answers = []
        for index in range(len(images)):
            boxes = dataset[index].boxes_xyxy.copy()
            boxes[0, 2] += 12 * (index == 1)
            answers.append(
                Detections(
                    boxes_xyxy=boxes,
                    scores=np.full(len(boxes), 0.9, np.float32),
                    labels=(dataset[index].labels + (index == 2)) % len(dataset.class_names),
                    edge_std=np.ones_like(boxes),
                    size=dataset.size,
                    class_names=dataset.class_names,
                )
            )
        return answers

    return dataset, audit(dataset, predict)


def test_the_files_of_an_audit(tmp_path: Path) -> None:
    dataset, found = scenes_audited()
    page = write_audit(found, dataset, tmp_path / "new", k=2)
    assert page == tmp_path / "new/report.html"
    text = page.read_text(encoding="utf-8")
    assert "right edge: drawn 12.0 px left of where it is seen" in text
    assert "not calibrated" in text
    pictures = sorted(one.name for one in (tmp_path / "new/pictures").iterdir())
    assert pictures == ["class_001.png", "suspect_001.png", "suspect_002.png"]
    with (tmp_path / "new/suspects.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.suspects)
    assert (rows[0]["file"], rows[0]["cause"], rows[0]["box"]) == ("000001.png", "right edge", "0")
    values = json.loads((tmp_path / "new/audit.json").read_text(encoding="utf-8"))
    assert values["suspects"][0]["class"] == dataset.class_names[found.suspects[0].label]
    assert values["calibrated"] is False
    assert {one["kind"] for one in values["odd"]} == {"class"}


def test_older_pictures_leave(tmp_path: Path) -> None:
    dataset, found = scenes_audited()
    write_audit(found, dataset, tmp_path, k=3)
    write_audit(found, dataset, tmp_path, k=1)
    assert not (tmp_path / "pictures/suspect_002.png").exists()


def test_an_audit_without_boxes(tmp_path: Path) -> None:
    write_audit(Audit((), (), 0, 0, ("dog",), True), SceneDataset(0), tmp_path)
    assert "rough" not in (tmp_path / "report.html").read_text(encoding="utf-8")
