"""Engines: the same arrays whatever executes the file, and plain words about files that are none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewise.runtime.engines import OnnxEngine, OpenVinoEngine, is_exported, load_engine
from tests.process_groups import interrupted_without
from tests.runtime import toy

IMAGES = np.random.default_rng(0).random((3, 3, 64, 96), np.float32)
SIZES = np.array([[40, 60], [100, 50], [33, 33]])


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_an_engine_gives_what_the_file_says(artifacts: Path, suffix: str) -> None:
    raw = load_engine(artifacts / f"raw{suffix}", device="cpu", threads=1)
    found = raw({"images": IMAGES})
    assert tuple(found) == raw.artifact.outputs
    for name, expected in toy.raw_outputs(IMAGES).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)
    finished = load_engine(artifacts / f"finished{suffix}", threads=1)
    found = finished({"images": IMAGES, "sizes": SIZES})
    for name, expected in toy.finished_outputs(IMAGES, SIZES).items():
        assert found[name].dtype == (np.int64 if name == "labels" else np.float32)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)
    assert replace(finished.artifact, target="onnx") == toy.FINISHED
    assert finished.device == "cpu"
    assert finished.name.startswith({".onnx": "onnxruntime 1.", ".xml": "openvino 20"}[suffix])


def test_answers_stay_when_the_engine_runs_again(artifacts: Path) -> None:
    for suffix in (".onnx", ".xml"):
        engine = load_engine(artifacts / f"raw{suffix}")
        first = engine({"images": IMAGES[:1]})["logits"]
        kept = first.copy()
        engine({"images": IMAGES[1:2]})
        np.testing.assert_array_equal(first, kept)


def test_the_weights_beside_a_file_count(artifacts: Path) -> None:
    files = [artifacts / "raw.xml", artifacts / "raw.bin"]
    assert load_engine(files[0]).bytes == sum(one.stat().st_size for one in files)
    assert load_engine(artifacts / "raw.onnx").bytes == (artifacts / "raw.onnx").stat().st_size


def test_files_that_no_engine_takes(artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    (tmp_path / "noise.xml").write_text("<noise/>")
    toy.write(tmp_path / "theirs.onnx", None)
    for path, error, message in (
        (tmp_path / "none.onnx", FileNotFoundError, r"none\.onnx: no such file; expected one that"),
        (tmp_path / "none.xml", FileNotFoundError, r"none\.xml: no such file"),
        (
            tmp_path / "noise.onnx",
            ValueError,
            r"noise\.onnx: onnxruntime cannot load it: .+ copy it again; else export anew",
        ),
        (
            tmp_path / "noise.xml",
            ValueError,
            r"noise\.xml: openvino cannot load it: .+ copy it again; else export anew",
        ),
        (tmp_path / "theirs.onnx", ValueError, r"theirs\.onnx: no edgewise metadata"),
        (
            tmp_path / "a.tflite",
            ValueError,
            r"a\.tflite: no exported detector; expected \.onnx, \.xml or \.eng",
        ),
    ):
        with pytest.raises(error, match=message) as caught:
            load_engine(path)
        assert "\n" not in str(caught.value)


def test_what_cannot_be_set(artifacts: Path) -> None:
    with pytest.raises(ValueError, match="threads 0: expected at least one"):
        load_engine(artifacts / "raw.onnx", threads=0)
    with pytest.raises(ValueError, match="device 'tpu': this onnxruntime has cpu; for cuda: pip ins"):
        OnnxEngine(artifacts / "raw.onnx", device="tpu")
    with pytest.raises(ValueError, match=r"device 'tpu': this openvino has .*cpu"):
        OpenVinoEngine(artifacts / "raw.xml", device="tpu")


def test_endings() -> None:
    assert is_exported("a/b.ONNX")
    assert is_exported(Path("b.xml"))
    assert not is_exported("b.safetensors")
    assert not is_exported("owner/onnx")


ENGINES = """
from edgewise.runtime.engines import load_engine
engines = [load_engine(path) for path in sys.argv[1:]]
"""


def test_ctrl_c_after_several_engines_is_an_interrupt(artifacts: Path) -> None:
    """Where each had a Core of its own, it was a segmentation fault."""
    files = [str(artifacts / f"{name}.xml") for name in ("raw", "finished")]
    run = interrupted_without(ENGINES, *files)
    assert (run.returncode, run.stdout) == (0, "interrupted\n"), run.stderr
