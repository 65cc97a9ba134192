"""Toy artifacts on disk, written once."""

from pathlib import Path

import pytest

from tests.runtime import toy


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """raw.onnx, finished.onnx, raw.xml, finished.xml."""
    folder = tmp_path_factory.mktemp("artifacts")
    for name, artifact in {"raw": toy.RAW, "finished": toy.FINISHED}.items():
        toy.write_openvino(folder / f"{name}.xml", artifact)  # on the way, the ONNX too
    return folder
