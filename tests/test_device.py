"""Devices by name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from edgewise.device import cpu_cores, gpu_multiplies_bf16, local_rank, multiplies_bf16, resolve_device


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


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "onednn", "expected"),
    [
        (True, False, True, True),
        (False, True, True, True),
        (False, False, True, False),
        (True, True, False, False),
    ],
)
def test_bf16_counts_where_it_is_multiplied(
    amx: bool, avx512_bf16: bool, onednn: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    assert multiplies_bf16() == expected


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_imitates_bf16_does_not_count(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    @contextmanager
    def current(device: torch.device) -> Iterator[None]:
        asked.append(device)
        yield

    monkeypatch.setattr(torch.cuda, "device", current)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert gpu_multiplies_bf16(torch.device("cuda:1")) == native
    assert asked == [torch.device("cuda:1")]


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


SIBLINGS = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
OWN = {"proc/self/cgroup": "0::/jobs/one\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 4),
        (OWN | {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 4),
        (OWN | {"sys/fs/cgroup/jobs/one/cpu.max": "50000 100000\n"}, 1),  # half a core
        (OWN | {"sys/fs/cgroup/jobs/cpu.max": "250000 100000\n"}, 3),
        (OWN | {"sys/fs/cgroup/cpu.max": "150000 100000", "sys/fs/cgroup/jobs/cpu.max": "max 100000"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        (
            {
                "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/a\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "120000\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        ({SIBLINGS.format(i): f"{i % 2},{i % 2 + 2}" for i in range(4)}, 2),
    ],
)
def test_cores_that_this_process_may_use(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert cpu_cores(machine(tmp_path, files)) == expected


def test_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert cpu_cores(tmp_path) == 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # not Linux
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_cores(tmp_path) == 1
