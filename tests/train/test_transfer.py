"""Weights into a model with other classes, row by row."""

import pytest
import torch
from torch import Tensor

from edgewise.model import DFine
from edgewise.train.transfer import CLASS_TENSORS, transfer
from tests.train.tiny import tiny_config, tiny_model


def class_rows(model: DFine) -> dict[str, Tensor]:
    return {
        key: value for key, value in model.state_dict().items() if any(name in key for name in CLASS_TENSORS)
    }


def scattered(model: DFine, seed: int) -> DFine:
    """No two rows alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def test_shared_classes_keep_their_rows_and_new_ones_stay_fresh() -> None:
    old, new = ["cat", "dog", "bird"], ["fish", "bird", "cat", "cow"]
    source = scattered(tiny_model(0, tiny_config(3)), 1)
    target = scattered(tiny_model(1, tiny_config(4)), 2)
    begun = {key: value.clone() for key, value in target.state_dict().items()}

    assert transfer(source, target, old, new) == ("bird", "cat")

    rows, known = class_rows(target), class_rows(source)
    assert len(rows) == 1 + 2 * (1 + 2)  # embedding, and matrix and bias of the three heads
    for key, value in rows.items():
        assert torch.equal(value[1], known[key][2])
        assert torch.equal(value[2], known[key][0])
        for fresh in (0, 3, *range(4, len(value))):  # the embedding's last row is its padding
            assert torch.equal(value[fresh], begun[key][fresh])
    for key, value in target.state_dict().items():
        if key not in rows:
            assert torch.equal(value, source.state_dict()[key]), key


def test_no_shared_class_still_moves_everything_else() -> None:
    source, target = scattered(tiny_model(0), 1), tiny_model(1, tiny_config(2))
    begun = {key: value.clone() for key, value in class_rows(target).items()}
    assert transfer(source, target, ["a", "b", "c"], ["d", "e"]) == ()
    assert all(torch.equal(value, begun[key]) for key, value in class_rows(target).items())
    stem = "backbone.stem.stem1.conv.weight"
    assert torch.equal(target.state_dict()[stem], source.state_dict()[stem])


def test_the_same_classes_in_another_order_predict_the_same() -> None:
    source, target = scattered(tiny_model(0), 1).eval(), tiny_model(1).eval()
    assert transfer(source, target, ["a", "b", "c"], ["c", "a", "b"]) == ("c", "a", "b")
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(target(images).logits, source(images).logits[..., [2, 0, 1]])


def test_another_size_is_refused() -> None:
    other = tiny_config().updated({"decoder.ffn_dim": 64})
    with pytest.raises(RuntimeError, match="size mismatch"):
        transfer(tiny_model(), tiny_model(0, other), ["a", "b", "c"], ["a", "b", "c"])
