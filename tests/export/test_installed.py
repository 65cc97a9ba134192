"""The runtime as a user installs it: pip, an environment of its own, and a file that was exported."""

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from edgewise.api import Detector

ROOT = Path(__file__).resolve().parents[2]
PREDICT = """
import sys
import numpy as np
from edgewise import Detector
found = Detector.from_pretrained(sys.argv[1]).predict(np.load(sys.argv[2]), 0.0)[:5]
inner, outer = found.joint_interval(0.9)
np.savez(sys.argv[3], found.boxes_xyxy, found.scores, found.labels, found.edge_std, inner, outer)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_installed_without_torch_it_answers_like_the_detector_it_was_made_from(
    detector: Detector, images: list[np.ndarray], tmp_path: Path
) -> None:
    detector.export("onnx", tmp_path / "model.onnx", head="raw", images=images)
    found = detector.predict(images[0], 0.0)[:5]
    wanted = (found.boxes_xyxy, found.scores, found.labels, found.edge_std, *found.joint_interval(0.9))
    assert len(found) == 5

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*pip, f"{ROOT / 'runtime'}[onnx]"], check=True)
    for name in ("torch", "pydantic"):
        gone = subprocess.run([python, "-c", f"import {name}"], capture_output=True, text=True)
        assert f"No module named '{name}'" in gone.stderr

    np.save(tmp_path / "image.npy", images[0])
    files = [tmp_path / name for name in ("model.onnx", "image.npy", "found.npz")]
    done = subprocess.run([python, "-c", PREDICT, *files], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as there:
        for name, expected in zip(there.files, wanted, strict=True):
            np.testing.assert_allclose(there[name], expected, rtol=1e-4, atol=1e-3)
