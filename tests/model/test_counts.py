import pytest
import torch

from edgewise.model import DFine
from edgewise.model.counts import flops, parameter_count, published_deploy_parameter_count
from edgewise.presets import preset


@pytest.mark.parametrize(
    ("size", "keys", "training", "deploy", "training_366", "deploy_366", "gflops"),
    [
        ("n", 674, 3_782_693, 3_753_799, 3_966_877, 3_864_195, 7.33),
        ("s", 794, 10_321_877, 10_237_491, 10_689_101, 10_457_711, 25.67),
        ("m", 1053, 19_590_064, 19_248_189, 20_030_790, 19_468_409, 58.36),
        ("l", 1173, 31_244_152, 30_724_195, 31_831_882, 30_944_415, 93.58),
        ("x", 1441, 62_621_560, 61_601_635, 63_209_290, 61_821_855, 207.51),
    ],
)
def test_counts_equal_the_published_ones(
    size: str, keys: int, training: int, deploy: int, training_366: int, deploy_366: int, gflops: float
) -> None:
    with torch.device("meta"):
        coco, objects365 = DFine(preset(size, 80)), DFine(preset(size, 366))
    assert len(coco.state_dict()) == keys
    assert parameter_count(coco) == training
    assert published_deploy_parameter_count(coco) == deploy
    assert parameter_count(objects365) == training_366
    assert published_deploy_parameter_count(objects365) == deploy_366
    # theirs score the last layer alone
    assert flops(coco, (640, 640)) == pytest.approx(gflops, rel=0.003)


def test_flops_grow_with_the_image_and_shrink_when_fused(tiny: DFine) -> None:
    assert flops(tiny, (64, 128)) > flops(tiny, (64, 64)) > flops(tiny.fused(), (64, 64))
    assert next(tiny.parameters()).device.type == "cpu"
