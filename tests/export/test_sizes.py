"""Every size with the recorded weights, and the trained BCCD detector, in both heads and samplers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from edgewise.api import Detector
from edgewise.artifact import Head, Precision, Sampler
from edgewise.classes import COCO
from edgewise.data.open import open_dataset
from edgewise.model import DFine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.usefixtures("unchecked")]

KINDS = [(head, sampler) for head in get_args(Head) for sampler in get_args(Sampler)]


@pytest.mark.parametrize("size", ["n", "s", "m", "l", "x"])
@pytest.mark.parametrize(("head", "sampler"), KINDS)
def test_recorded_weights(
    size: str, head: Head, sampler: Sampler, recorded_model: Callable[[str], DFine], tmp_path: Path
) -> None:
    model = recorded_model(size)
    detector = Detector(model.config, COCO, device="cpu")
    detector.model.load_state_dict(model.state_dict())
    proof = detector.export(
        "onnx",
        tmp_path / "a.onnx",
        head=head,
        sampler=sampler,
        size=(256, 320),
        dynamic_size=head == "raw",
    )
    assert proof.passed
    assert max(one.box_px for one in proof.checks) <= 0.05


@pytest.mark.parametrize(("head", "sampler"), KINDS)
@pytest.mark.parametrize("resize_inside", [False, True])
def test_trained(head: Head, sampler: Sampler, resize_inside: bool, shared: Path, tmp_path: Path) -> None:
    wishes = {"head": head, "sampler": sampler, "resize_inside": resize_inside}
    assert abs(lost_ap("onnx", tmp_path / "a.onnx", shared, **wishes)) <= 5e-4


@pytest.mark.parametrize("precision", get_args(Precision))
@pytest.mark.parametrize(("head", "sampler"), [("raw", "native"), ("detections", "gather")])
def test_trained_in_openvino(
    precision: Precision, head: Head, sampler: Sampler, shared: Path, tmp_path: Path
) -> None:
    wishes = {"head": head, "sampler": sampler, "precision": precision}
    assert abs(lost_ap("openvino", tmp_path / "a.xml", shared, **wishes)) <= 2e-3


def lost_ap(target: Any, path: Path, shared: Path, **wishes: Any) -> float:
    """The checkpoint's AP on the validation images less the artifact's."""
    weights = Path(__file__).parents[2] / "benchmarks/results/bccd/best.safetensors"
    detector = Detector.from_pretrained(weights, device="cpu")
    proof = detector.export(target, path, data=open_dataset(shared / "data/bccd", "val"), **wishes)
    assert proof.table is not None
    return proof.table["checkpoint"]["AP"] - proof.table["artifact"]["AP"]
