import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewise.bins import bin_values
from edgewise.calibration import LEVELS, Calibration, Source
from edgewise.detections import Detection, Detections, Geometry
from edgewise.edges import EDGES, EdgeDistributions


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
    return replace(calibration, **changes)


def distributions(rows: int = 3) -> EdgeDistributions:
    logits = np.random.default_rng(0).standard_normal((rows, 4, 33)).astype(np.float32)
    side = np.ones((rows, 4), np.float32)
    return EdgeDistributions.of(logits, bin_values(32), 10 * side, 5 * side)


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
        ({"edges": distributions(2)}, "edges of 2 boxes for 3 scores"),
        ({"category_ids": (1, 2)}, "2 category_ids for 3 class_names; expected one each"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], message: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        three(**changes)


# ── error bars ─────────────────────────────────────────────────────────────────────────────────────


def test_edge_intervals_worked_by_hand() -> None:
    found = three(calibration=promise())
    interval = found.edge_interval(0.5)  # half a spread for left edges, one for top, and so on
    assert interval.shape == (3, 4, 2)
    np.testing.assert_allclose(interval[0], [[9.5, 10.5], [18, 22], [25.5, 34.5], [52, 68]])
    np.testing.assert_array_equal(found.edge_interval(), found.edge_interval(0.9))
    assert interval.dtype == np.float32


def test_joint_intervals_worked_by_hand() -> None:
    inner, outer = three(calibration=promise()).joint_interval(0.8)  # 1.2 spreads
    np.testing.assert_allclose(outer[0], [8.8, 17.6, 33.6, 64.8], rtol=1e-6)
    np.testing.assert_allclose(inner[0], [11.2, 22.4, 26.4, 55.2], rtol=1e-6)
    assert inner.dtype == outer.dtype == np.float32


def test_an_inner_box_is_never_inside_out() -> None:
    wide = three(calibration=promise(), edge_std=np.array([[30, 1, 10, 1]] * 3, np.float32))
    inner, outer = wide.joint_interval(0.8)
    assert (inner[:, :2] <= inner[:, 2:]).all()
    np.testing.assert_allclose(inner[0], [32, 21.2, 32, 58.8])  # x: the middle of 46 and 18
    np.testing.assert_allclose(outer[0], [-26, 18.8, 42, 61.2])


def test_wider_the_higher_the_level() -> None:
    found = three(calibration=promise())
    widths = [np.diff(found.edge_interval(level)).min() for level in (0.1, 0.5, 0.9, 0.99)]
    assert widths == sorted(widths)


@pytest.mark.parametrize("level", [0.0, 1.0, 90.0, -0.5, float("nan")])
def test_a_level_is_between_0_and_1(level: float) -> None:
    for ask in (three(calibration=promise()).edge_interval, three(calibration=promise()).joint_interval):
        with pytest.raises(ValueError, match=r"level .*: expected a number between 0 and 1, such as 0\.9"):
            ask(level)


def test_without_a_calibration_nothing_is_promised() -> None:
    assert not three().calibrated
    assert three(calibration=promise()).calibrated
    for ask in (three().edge_interval, three().joint_interval):
        with pytest.raises(ValueError, match=r"not calibrated.*run: edgewise calibrate CHECKPOINT DATA"):
            ask(0.9)


def test_parts_keep_their_distributions() -> None:
    found = three(edges=distributions(), calibration=promise())
    part = found.filter(0.5)[[1]]
    assert part.edges is not None
    np.testing.assert_array_equal(part.edges.probs, found.edges.probs[[1]])
    np.testing.assert_array_equal(part.edge_probs, found.edge_probs[[1]])
    np.testing.assert_array_equal(part.joint_interval(0.9)[0], found.joint_interval(0.9)[0][[1]])
    assert three().edge_probs is None


# ── forms ──────────────────────────────────────────────────────────────────────────────────────────


def test_forms_carry_the_joint_interval_once_calibrated() -> None:
    found = three(calibration=promise())
    inner, outer = found.joint_interval(0.9)
    again = json.loads(json.dumps(found.to_dict()))
    assert "probability 0.9" in again["joint_90_format"]
    for rows in (again["detections"], found.to_coco(1)):
        np.testing.assert_allclose([row["joint_90_inner"] for row in rows], inner)
        np.testing.assert_allclose([row["joint_90_outer"] for row in rows], outer)
    assert not any("joint" in key for key in (*three().to_dict(), *three().to_coco(1)[0]))


def test_to_csv() -> None:
    text = three(source="a, b.jpg", category_ids=(5, 7, 9), calibration=promise()).to_csv()
    first = next(csv.DictReader(text.splitlines()))
    assert first["source"] == "a, b.jpg"
    assert (first["name"], first["category_id"], first["score"]) == ("dog", "7", "0.9")
    assert [first[edge] for edge in EDGES] == ["10.0", "20.0", "30.0", "60.0"]
    assert [first[f"{edge}_std"] for edge in EDGES] == ["1.0", "2.0", "3.0", "4.0"]
    outer = three(calibration=promise()).joint_interval(0.9)[1]
    np.testing.assert_allclose([float(first[f"{edge}_joint_90_outer"]) for edge in EDGES], outer[0])
    plain = three().to_csv().splitlines()
    assert len(plain) == 4
    assert plain[0] == ("source,label,name,score,left,top,right,bottom,left_std,top_std,right_std,bottom_std")
    assert three()[:0].to_csv().splitlines() == plain[:1]


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
    calibrated = three(calibration=promise())
    data = calibrated.to_supervision().data
    np.testing.assert_array_equal(data["joint_90_inner"], calibrated.joint_interval(0.9)[0])
    np.testing.assert_array_equal(data["joint_90_outer"], calibrated.joint_interval(0.9)[1])


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
    found.save(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == found.to_csv()
    found.save(tmp_path / "a.JPG")
    with Image.open(tmp_path / "a.JPG") as image:
        assert image.size == (100, 80)
    for bad, given in (("a.xyz", r"\.xyz"), ("a", "a name without ending")):
        with pytest.raises(ValueError, match=rf"cannot save as {given}; use \.json, \.csv, \.jpg or \.png"):
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
