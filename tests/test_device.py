"""Devices by name."""

import pytest
import torch

from edgewise.device import local_rank, resolve_device


def test_a_device_by_its_name() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_best_there_is(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "cpu0", "xpu"])
def test_what_is_not_at_hand_lists_what_is(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        resolve_device(name)
    assert str(caught.value).startswith(f"device {name!r} is not at hand; expected auto or one of cpu")


def test_each_process_on_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_rank() is None
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    assert local_rank() is None  # another program's
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert local_rank() == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda:3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device 'cuda:3' is not at hand"):
        resolve_device("cuda")
