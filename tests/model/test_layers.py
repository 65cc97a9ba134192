import pytest
import torch
from torch import nn

from edgewise.device import at_least_float32
from edgewise.model.layers import MLP, Affine, ConvNorm, Convolution, FrozenBatchNorm, inverse_sigmoid


def test_inverse_sigmoid_equals_the_recording(functions: dict[str, torch.Tensor]) -> None:
    given, expected = functions["inverse_sigmoid/in"], functions["inverse_sigmoid/out"]
    torch.testing.assert_close(inverse_sigmoid(given), expected, rtol=1e-6, atol=1e-6)


def test_inverse_sigmoid_undoes_sigmoid(generator: torch.Generator) -> None:
    x = torch.randn(50, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(inverse_sigmoid(x.sigmoid()), x)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_precision_never_falls_below_float32(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert at_least_float32(torch.zeros(2, dtype=dtype)).dtype == expected


def test_affine_begins_as_the_identity(generator: torch.Generator) -> None:
    x = torch.randn(1, 2, 3, 3, generator=generator)
    assert torch.equal(Affine()(x), x)


def test_frozen_norm_equals_batch_norm_in_evaluation(generator: torch.Generator) -> None:
    live, frozen = nn.BatchNorm2d(3), FrozenBatchNorm(3)
    live(torch.randn(8, 3, 4, 4, generator=generator) * 2 + 1)  # moves the statistics
    live.weight.data.uniform_(0.5, 1.5, generator=generator)
    frozen.load_state_dict(live.state_dict())  # which counts batches; the frozen norm does not
    x = torch.randn(2, 3, 4, 4, generator=generator)
    torch.testing.assert_close(frozen.train()(x), live.eval()(x))
    assert not list(frozen.parameters())
    assert torch.equal(frozen.running_mean, live.running_mean)  # training did not move it


def test_odd_kernels_keep_the_size() -> None:
    x = torch.zeros(2, 3, 8, 6)
    assert ConvNorm(3, 4, 1)(x).shape == (2, 4, 8, 6)
    assert ConvNorm(3, 4, 3)(x).shape == (2, 4, 8, 6)
    assert ConvNorm(3, 3, 3, stride=2, groups=3)(x).shape == (2, 3, 4, 3)


def test_a_depthwise_convolution_trains_in_float32_under_autocast(generator: torch.Generator) -> None:
    conv = Convolution(4, 4, 3, stride=2, groups=4)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        trained, evaluated = conv.train()(x), conv.eval()(x)
    assert trained.dtype == evaluated.dtype == torch.bfloat16
    assert torch.equal(trained, conv(x).bfloat16())  # rounded once, at the end
    trained.sum().backward()
    assert conv.weight.grad is not None


def test_mlp_has_no_activation_at_the_end(generator: torch.Generator) -> None:
    mlp = MLP(3, 5, 2)
    x = torch.randn(7, 3, generator=generator)
    expected = mlp.layers[1](mlp.layers[0](x).relu())
    assert torch.equal(mlp(x), expected)
