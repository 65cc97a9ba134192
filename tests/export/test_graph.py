import numpy as np
import pytest
import torch

from edgewise.api import Detector
from edgewise.artifact import Artifact
from edgewise.decode import decode
from edgewise.detections import Geometry
from edgewise.export.describe import describe
from edgewise.export.graph import Curve, Finish, Graph, inference_form
from tests.export.conftest import calibration


@pytest.fixture(scope="module")
def artifact(detector: Detector) -> Artifact:
    return describe(detector.checkpoint(), max_detections=15)


@pytest.mark.parametrize("calibrated", [True, False])
def test_finish_is_decode(
    calibrated: bool, detector: Detector, artifact: Artifact, generator: torch.Generator
) -> None:
    """On images that are not square, where an error bar's floor depends on the shape; sides below 0 are 0."""
    plain = detector.uncalibrated()
    if not calibrated:
        artifact = describe(plain.checkpoint(), max_detections=15)
    raw = (
        torch.randn(2, 20, 3, generator=generator),
        torch.rand(2, 20, 4, generator=generator) - 0.1,
        3 * torch.randn(2, 20, 4, 33, generator=generator),
        torch.rand(2, 20, 4, generator=generator) - 0.1,
    )
    shapes = [(50, 400), (333, 77)]
    found = Finish(artifact)(*raw, torch.tensor(shapes))
    for row, shape in enumerate(shapes):
        expected = decode(
            *(one[row].numpy() for one in raw),
            Geometry(shape, (96, 128)),
            values=artifact.values,
            class_names=artifact.class_names,
            max_detections=15,
            calibration=artifact.calibration,
        )
        np.testing.assert_array_equal(found["labels"][row], expected.labels)
        for name, own in (("boxes", "boxes_xyxy"), ("scores", "scores"), ("edge_std", "edge_std")):
            np.testing.assert_allclose(found[name][row], getattr(expected, own), rtol=2e-5, atol=1e-4)


def test_curve_is_score_calibration() -> None:
    score = calibration().score
    assert score is not None
    values = np.linspace(0, 1, 101, dtype=np.float32)
    found = Curve(score)(torch.tensor(values)[None])[0]
    np.testing.assert_allclose(found, score.apply(values), atol=1e-6)


def test_both_samplers_give_one_graph(detector: Detector, generator: torch.Generator) -> None:
    """In float64, where nothing hides behind rounding."""
    images = torch.rand(2, 3, 96, 128, generator=generator).double()
    outputs = []
    for sampler in ("gather", "native"):
        artifact = describe(detector.checkpoint(), sampler=sampler, head="raw")  # type: ignore[arg-type]
        outputs.append(Graph(inference_form(detector.model, artifact).double(), artifact)(images))
    assert list(outputs[0]) == list(outputs[1])
    for name, own in outputs[0].items():
        torch.testing.assert_close(own, outputs[1][name], rtol=1e-9, atol=1e-11, msg=name)


def test_parts_come_in_order_of_computation(detector: Detector, artifact: Artifact) -> None:
    names = list(Graph(detector.model, artifact)(torch.rand(1, 3, 96, 128), torch.tensor([[96, 128]])))
    assert names[:2] == ["backbone.stem", "backbone.stages.0"]
    assert names[-4:] == ["boxes", "scores", "labels", "edge_std"]
    place = names.index
    assert place("encoder.fpn_blocks.0") < place("decoder.enc_score_head") < place("decoder.picks")
    assert place("decoder.picks") < place("decoder.decoder.layers.0") < place("decoder.logits")
    assert not any(module._forward_hooks for module in detector.model.modules())
