import math

import pytest
import torch
from torch import Tensor

from edgewise.config import ModelConfig
from edgewise.model.encoder import Encoder, position_code

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("key", "size", "dim", "every"),
    [("w20_h20_c128", (20, 20), 128, 13), ("w15_h10_c256", (15, 10), 256, 7)],
)
def test_position_code_equals_the_recording(
    functions: dict[str, Tensor], key: str, size: tuple[int, int], dim: int, every: int
) -> None:
    """Where height and width differ the recorded code numbers the cells as if they were swapped."""
    code = position_code(size, dim, torch.float32, CPU)[0, ::every]
    torch.testing.assert_close(code, functions[f"pos_embed/{key}"], rtol=0, atol=1e-6)


def test_position_code_of_one_cell() -> None:
    """Cell (y, x) = (1, 2) of a map three wide, four channels: ω is 1."""
    code = position_code((2, 3), 4, torch.float64, CPU)[0, 1 * 3 + 2]
    expected = [math.sin(1), math.cos(1), math.sin(2), math.cos(2)]
    torch.testing.assert_close(code, torch.tensor(expected, dtype=torch.float64))


def test_every_map_sees_every_other(tiny_config: ModelConfig, generator: torch.Generator) -> None:
    encoder = Encoder(tiny_config.encoder, (4, 5, 6)).eval()
    shapes = [(1, 4, 8, 12), (1, 5, 4, 6), (1, 6, 2, 3)]
    maps = [torch.rand(shape, generator=generator) for shape in shapes]
    before = encoder(maps)
    assert [x.shape for x in before] == [(1, 32, 8, 12), (1, 32, 4, 6), (1, 32, 2, 3)]
    for changed in range(3):
        moved = [x + 1 if i == changed else x for i, x in enumerate(maps)]
        assert all(not torch.equal(a, b) for a, b in zip(before, encoder(moved), strict=True))
