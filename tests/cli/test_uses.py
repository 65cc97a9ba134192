"""`edgewise audit` and `edgewise select`, from words to files."""

from pathlib import Path

import pytest

from edgewise.api import Detector
from edgewise.data.scenes import CLASS_NAMES, SceneDataset, write_coco
from tests.cli.conftest import Edgewise
from tests.train.tiny import tiny_config


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained checkpoint and a few scenes."""
    folder = tmp_path_factory.mktemp("uses")
    write_coco(folder / "data", [SceneDataset(3, 0, "train"), SceneDataset(2, 0, "test")])
    Detector(tiny_config(len(CLASS_NAMES)), CLASS_NAMES, device="cpu").save(folder / "fresh.safetensors")
    return folder


def test_audit(edgewise: Edgewise, place: Path, tmp_path: Path) -> None:
    words = (
        "audit",
        place / "fresh.safetensors",
        place / "data",
        "--split",
        "all",
        "--out",
        tmp_path / "a",
        "-k",
        3,
    )
    code, text = edgewise(*words)
    assert code == 0
    assert "is not calibrated" in text
    assert "edgewise calibrate" in text
    assert "0 of" in text  # fresh weights find nothing
    assert {one.name for one in (tmp_path / "a").iterdir()} == {
        "audit.json",
        "pictures",
        "report.html",
        "suspects.csv",
    }


def test_audit_refuses(edgewise: Edgewise, place: Path) -> None:
    code, text = edgewise("audit", place / "fresh.safetensors", place / "data", "-k", 0)
    assert code == 1
    assert "-k 0: expected at least one suspect to show" in text
    code, text = edgewise("audit", place / "fresh.safetensors", place / "data", "--split", "exam")
    assert code == 1
    assert "exam" in text


def test_select(edgewise: Edgewise, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/next.txt"
    code, text = edgewise(
        "select",
        place / "fresh.safetensors",
        place / "data/train",
        "-k",
        2,
        "--known",
        place / "data/test",
        "--out",
        out,
    )
    assert code == 0
    assert "2 of 3 images are listed in" in text
    paths = out.read_text(encoding="utf-8").split()
    assert len(set(paths)) == 2
    assert all(Path(one).is_file() for one in paths)
    assert (tmp_path / "new/next_sheet.jpg").is_file()


def test_select_refuses(edgewise: Edgewise, place: Path, tmp_path: Path) -> None:
    words = ("select", place / "fresh.safetensors", place / "data/train")
    code, text = edgewise(*words, "-k", 2, "--out", tmp_path / "next.doc")
    assert code == 1
    assert "expected a list that ends with .txt, .csv or .json" in text
    code, text = edgewise(*words, "-k", 4, "--out", tmp_path / "next.txt")
    assert code == 1
    assert "k=4: expected a number from 1 to 3, the images to select from" in text
