"""What other programs take: the results of an exported detector in their forms."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from transformers import ObjectDetectionPipeline

from edgewise.api import Detector
from tests.runtime import toy

PICTURE = toy.picture(5, 120, 160)
PAGE = Path(__file__).resolve().parents[2] / "docs/runtime.md"


@pytest.mark.filterwarnings("ignore:OpenCV")
@pytest.mark.parametrize("name", ["raw.onnx", "finished.xml"])
def test_supervision_draws_and_filters_them(artifacts: Path, name: str) -> None:
    supervision = pytest.importorskip("supervision", exc_type=ImportError)
    found = Detector.from_pretrained(artifacts / name).predict(PICTURE, 0.0)
    theirs = found.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    np.testing.assert_array_equal(theirs.xyxy, found.boxes_xyxy)
    assert theirs.data["class_name"].tolist() == found.names.tolist()
    best = theirs[theirs.confidence >= found.scores[0]]
    np.testing.assert_array_equal(best.data["edge_std"], found.edge_std[: len(best)])
    drawn = supervision.BoxAnnotator().annotate(PICTURE.copy(), theirs)
    assert (drawn != PICTURE).any()


def test_transformers_pipeline_gives_the_same_form(artifacts: Path, tmp_path: Path) -> None:
    """The lines of docs/runtime.md, beside what that pipeline makes of the same boxes."""
    PIL.Image.fromarray(PICTURE).save(tmp_path / "photo.png")
    (code,) = re.findall(r"```python\n((?:(?!```).)*answers.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    for name, path in {
        "model.onnx": artifacts / "finished.onnx",
        "photo.jpg": tmp_path / "photo.png",
    }.items():
        code = code.replace(name, str(path))
    names: dict[str, Any] = {}
    exec(code, names)
    pipeline = ObjectDetectionPipeline.__new__(ObjectDetectionPipeline)
    theirs = [
        {
            "score": one.score,
            "label": one.name,
            "box": pipeline._get_bounding_box(torch.tensor(one.box_xyxy)),
        }
        for one in names["found"]
    ]
    assert theirs
    assert names["answers"] == theirs
