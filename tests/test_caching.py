import pytest
import torch

from edgewise.caching import cached_constant
from edgewise.distributions import bin_values


def test_made_once_an_argument() -> None:
    made = []

    @cached_constant
    def zeros(n: int) -> torch.Tensor:
        made.append(n)
        return torch.zeros(n)

    assert zeros(2) is zeros(2)
    assert len(zeros(3)) == 3
    assert made == [2, 3]


def test_old_results_are_dropped() -> None:
    made = []
    constant = cached_constant(lambda n: made.append(n))
    for n in [*range(100), 0]:
        constant(n)
    assert made == [*range(100), 0]


def test_tensors_made_in_inference_can_train() -> None:
    ones = cached_constant(lambda n: torch.ones(n))
    with torch.inference_mode():
        constant = ones(3)
    (torch.zeros(3, requires_grad=True) * constant).sum().backward()


class Times(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * bin_values(32, 0.5, 0.21, x.dtype, x.device)  # a curvature nobody else asks for


@pytest.mark.filterwarnings("default")
def test_export_keeps_nothing_unreal() -> None:
    x = torch.ones(33)
    exported = torch.export.export(Times(), (x,)).module()
    torch.testing.assert_close(exported(x), Times()(x))
    assert type(bin_values(32, 0.5, 0.21, x.dtype, x.device)) is torch.Tensor


@pytest.mark.filterwarnings("default")
def test_compiled_graphs_hold_the_constant() -> None:
    x = torch.ones(33)
    compiled = torch.compile(Times(), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), Times()(x))


@cached_constant
def ones(count: int) -> torch.Tensor:
    return torch.ones(count)


@cached_constant
def twos(count: int) -> torch.Tensor:
    return 2 * torch.ones(count)


@pytest.mark.filterwarnings("default")
def test_a_compiled_graph_tells_its_constants_apart() -> None:
    """torch's own compilers ask for that; "eager" does not."""

    def both(x: torch.Tensor) -> torch.Tensor:
        return x * ones(3) + twos(3)

    compiled = torch.compile(both, backend="aot_eager", fullgraph=True)
    assert compiled(torch.ones(3)).tolist() == [3, 3, 3]
