import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.calibration import LEVELS, Calibration, Source
from edgewise.detections import Detection, Detections, Geometry
from edgewise.edges import EdgeDistributions


def three(**changes: object) -> Detections:
    found = Detections(
        boxes_xyxy=np.array([[10, 20, 30, 60], [0.5, 1, 8, 9], [40, 5, 60, 45]], np.float32),
        scores=np.array([0.9, 0.8, 0.3], np.float32),
        labels=np.array([1, 0, 1]),
        edge_std=np.array([[1, 2, 3, 4], [0.5, 0.5, 0.5, 0.5], [2, 2, 2, 2]], np.float32),
        size=(80, 100),
        class_names=("cat", "dog", "owl"),
    )
    return replace(found, **changes)


def promise(**changes: object) -> Calibration:
    """Margins that grow with the level: an edge's by its place, and half as much again for all four."""
    by_edge = tuple(tuple(edge * level for level in LEVELS) for edge in (1.0, 2.0, 3.0, 4.0))
    source = Source(data="abc", split="val", date="2026-01-31", images=9, pairs=99, threshold=0.3)
    calibration = Calibration(
        temperature=(1.0,) * 4,
        scale=(1.0,) * 4,
        floor=(0.0,) * 4,
        margins=by_edge,
        joint=tuple(1.5 * level for level in LEVELS),
        source=source,
    )
    return calibration.model_copy(update=changes)


def test_as_a_sequence() -> None:
    found = three()
    assert len(found) == 3
    score = float(np.float32(0.8))
    assert found[1] == Detection((0.5, 1.0, 8.0, 9.0), score, 0, "cat", (0.5, 0.5, 0.5, 0.5))
    assert [one.name for one in found] == ["dog", "cat", "dog"]
    assert found[-1].box_xyxy == (40, 5, 60, 45)
    with pytest.raises(IndexError):
        found[3]


def test_parts_keep_everything_else() -> None:
    found = three(category_ids=(5, 7, 9), calibration=promise(), source="a.jpg")
    for part in (found[found.labels == 1], found[::2], found[[0, 2]], found[np.array([0, 2])]):
        assert part.names.tolist() == ["dog", "dog"]
        np.testing.assert_array_equal(part.edge_std, [[1, 2, 3, 4], [2, 2, 2, 2]])
        assert (part.size, part.category_ids, part.source) == ((80, 100), (5, 7, 9), "a.jpg")
        assert part.calibrated
    assert len(found[3:]) == len(found[[]]) == 0


def test_filter_keeps_the_threshold_itself() -> None:
    found = three(scores=np.array([0.9, 0.5, 0.3]))
    assert found.filter(0.5).scores.tolist() == [0.9, 0.5]


def test_filter_takes_one_threshold_a_class() -> None:
    found = three(scores=np.array([0.9, 0.5, 0.3]))
    least = np.full(len(found.class_names), 0.2)
    least[found.labels[1]] = 0.6
    kept = [
        score for score, label in zip([0.9, 0.5, 0.3], found.labels, strict=True) if score >= least[label]
    ]
    assert found.filter(least).scores.tolist() == kept
    assert 0.5 not in kept


def test_names_are_an_array_of_str() -> None:
    assert three().names.dtype.kind == "U"
    assert three()[:0].names.shape == (0,)


def test_summary() -> None:
    assert str(three()) == "3 objects in 100x80: 2 dog, 1 cat (edges ±2.0 px median, uncalibrated)"
    assert str(three(calibration=promise())[:1]) == "1 object in 100x80: 1 dog (edges ±2.5 px median)"
    assert str(three()[:0]) == "no objects in 100x80"
    assert repr(three()[:0]) == "<Detections: no objects in 100x80>"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array([1, 0])}, r"labels is int64 \[2\]; expected integer \[3\] for 3 scores"),
        ({"labels": np.array([1.0, 0, 1])}, r"labels is float64 \[3\]; expected integer \[3\]"),
        ({"boxes_xyxy": np.zeros((3, 5))}, r"boxes_xyxy is float64 \[3, 5\]; expected floating \[3, 4\]"),
        ({"edge_std": np.zeros((2, 4))}, r"edge_std is float64 \[2, 4\]; expected floating \[3, 4\]"),
        ({"scores": np.array([0.9, np.nan, 0.1])}, "scores holds a value that is not finite"),
        (
            {"labels": np.array([1, 0, 3])},
            "labels from 0 to 3; expected 0 to 2, one for each of 3 class_names",
        ),
        ({"category_ids": (1, 2)}, "2 category_ids for 3 class_names; expected one each"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], message: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        three(**changes)


def test_to_dict_says_its_units_and_reads_back() -> None:
    found = three(source=Path("photos") / "a.jpg")
    again = json.loads(json.dumps(found.to_dict()))
    assert again == found.to_dict()
    assert (again["width"], again["height"], again["edge_std_calibrated"]) == (100, 80, False)
    assert again["source"] == str(Path("photos") / "a.jpg")
    assert "pixels" in again["box_format"]
    assert "pixels" in again["edge_std_format"]
    assert again["detections"][0] == {
        "label": 1,
        "name": "dog",
        "score": 0.9,
        "box_xyxy": [10, 20, 30, 60],
        "edge_std": [1, 2, 3, 4],
    }
    read = np.array([one["box_xyxy"] for one in again["detections"]], np.float32)
    np.testing.assert_array_equal(read, found.boxes_xyxy)
    assert three(source=np.zeros((80, 100, 3), np.uint8)).to_dict()["source"] is None
    assert three()[:0].to_dict()["detections"] == []


def test_to_coco() -> None:
    first, second, _ = three(category_ids=(5, 7, 9)).to_coco(image_id=42)
    assert first == {
        "image_id": 42,
        "category_id": 7,
        "bbox": [10, 20, 20, 40],
        "score": pytest.approx(0.9),
        "edge_std": [1, 2, 3, 4],
    }
    assert second["bbox"] == [0.5, 1, 7.5, 8]
    assert [one["category_id"] for one in three().to_coco(1)] == [1, 0, 1]
    assert three()[:0].to_coco(1) == []


@pytest.mark.filterwarnings("ignore:OpenCV")
def test_to_supervision() -> None:
    pytest.importorskip("supervision", exc_type=ImportError)
    found = three()
    other = found.to_supervision()
    np.testing.assert_array_equal(other.xyxy, found.boxes_xyxy)
    np.testing.assert_array_equal(other.confidence, found.scores)
    np.testing.assert_array_equal(other.class_id, found.labels)
    assert other.data["class_name"].tolist() == ["dog", "cat", "dog"]
    np.testing.assert_array_equal(other.data["edge_std"], found.edge_std)
    assert len(found[:0].to_supervision()) == 0


def test_to_supervision_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'edgewise\[viz\]'"):
        three().to_supervision()


def test_plot_opens_its_source(tmp_path: Path) -> None:
    pixels = np.full((80, 100, 3), 200, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    drawn = np.asarray(three(source=tmp_path / "a.png").plot())
    assert drawn.shape == (80, 100, 3)
    assert (drawn != pixels).any()
    for same in (
        three(source=pixels).plot(),
        three().plot(pixels),
        three().plot(tmp_path / "a.png"),
        three().plot(Image.fromarray(pixels)),
    ):
        np.testing.assert_array_equal(np.asarray(same), drawn)
    assert (pixels == 200).all()  # drawn on a copy
    with pytest.raises(ValueError, match=r"do not know their image; give it: plot\(image\)"):
        three().plot()


def test_save(tmp_path: Path) -> None:
    found = three(source=np.zeros((80, 100, 3), np.uint8))
    found.save(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == found.to_dict()
    found.save(tmp_path / "a.JPG")
    with Image.open(tmp_path / "a.JPG") as image:
        assert image.size == (100, 80)
    for bad, given in (("a.xyz", r"\.xyz"), ("a", "a name without ending")):
        with pytest.raises(ValueError, match=rf"cannot save as {given}; use \.json, \.jpg or \.png"):
            found.save(tmp_path / bad)


def test_geometry_leads_back_to_pixels() -> None:
    geometry = Geometry(original_size=(100, 200), model_size=(64, 64))
    boxes = geometry.to_pixels(np.array([[0.5, 0.5, 0.1, 0.2], [0.5, 0.5, -1, 0.2]]))
    np.testing.assert_allclose(boxes, [[90, 40, 110, 60], [100, 40, 100, 60]])


def test_needs_no_torch_and_no_pillow() -> None:
    code = (
        "import sys, edgewise.decode, edgewise.detections as d;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
