import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import save_file

from edgewise import classes
from edgewise.checkpoint import Checkpoint, hub, load, save, save_transformers
from edgewise.presets import preset
from tests.checkpoint.conftest import drawn


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which is out of reach."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(cache: Path, repository: str, folder: Path) -> None:
    """Stores the folder as the hub's client would have."""
    home = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, home / "snapshots/0123abcd")
    (home / "refs").mkdir()
    (home / "refs/main").write_text("0123abcd")


def test_short_names_are_the_published_repositories():
    assert len(hub.REPOSITORIES) == 13
    assert hub.REPOSITORIES["dfine-n-coco"] == "ustc-community/dfine-nano-coco"
    assert hub.REPOSITORIES["dfine-x-obj365"] == "ustc-community/dfine-xlarge-obj365"
    assert hub.REPOSITORIES["dfine-s-obj2coco"] == "ustc-community/dfine-small-obj2coco"
    assert hub.REPOSITORIES["dfine-l-obj2coco"] == "ustc-community/dfine-large-obj2coco-e25"
    assert "dfine-n-obj365" not in hub.REPOSITORIES


def test_a_short_name_loads_from_the_cache_with_the_published_names(cache: Path, tmp_path: Path):
    config = preset("n", 80)
    labels = tuple(f"theirs {row}" for row in range(80))
    released = Checkpoint(config, drawn(config).state_dict(), labels)
    save_transformers(released, tmp_path / "folder")
    put(cache, "ustc-community/dfine-nano-coco", tmp_path / "folder")
    loaded = load("dfine-n-coco")
    assert loaded.class_names == classes.COCO
    assert loaded.category_ids == classes.COCO_IDS
    assert all(torch.equal(tensor, loaded.weights[key]) for key, tensor in released.weights.items())
    assert load("ustc-community/dfine-nano-coco").class_names == labels


def test_a_repository_may_hold_our_file(cache: Path, saved: Checkpoint, tmp_path: Path):
    save(tmp_path / "folder/model.safetensors", saved)
    put(cache, "me/pets", tmp_path / "folder")
    assert load("me/pets").class_names == saved.class_names


def test_without_network_the_message_has_the_ways_out(cache: Path):
    with pytest.raises(ConnectionError) as caught:
        load("dfine-s-coco")
    text = str(caught.value)
    assert text.startswith(f"ustc-community/dfine-small-coco: no folder here, not in the cache {cache}, and")
    assert "HF_HUB_OFFLINE forbids to download it" in text
    assert "hf download ustc-community/dfine-small-coco --local-dir FOLDER" in text


@pytest.mark.parametrize(
    ("answer", "raised", "text"),
    [
        (
            RepositoryNotFoundError,
            FileNotFoundError,
            "no such repository on the hub or a private one; check the",
        ),
        (GatedRepoError, PermissionError, "agree there, then run hf auth login"),
        (
            LocalEntryNotFoundError,
            ConnectionError,
            r"the hub cannot be reached \(.*\); connect, or run hf down",
        ),
    ],
)
def test_what_the_hub_answers_is_said_plainly(
    answer: type[Exception], raised: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*args: object, **kwargs: object) -> None:
        raise answer.__new__(answer)  # they are made from responses

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(raised, match=f"me/pets: .*{text}"):
        load("me/pets")


def test_a_repository_without_weights_says_so(cache: Path, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/README.md").write_text("hello")
    put(cache, "me/empty", tmp_path / "folder")
    with pytest.raises(FileNotFoundError, match=r"me/empty: no model.safetensors in .*0123abcd"):
        load("me/empty")


def test_an_unknown_short_name_suggests_the_nearest():
    with pytest.raises(
        ValueError, match=r"dfine-z-coco: neither a file, a folder .* did you mean dfine-x-coco"
    ):
        load("dfine-z-coco")
    with pytest.raises(ValueError, match=r"-/--: not a hub name; expected owner/name"):
        load("-/--")


@pytest.mark.parametrize(
    "ref", ["gone.pth", "gone.safetensors", "./gone", "runs/1/gone", "~/gone", Path("gone")]
)
def test_a_missing_file_says_where_it_was_looked_for(
    ref: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load(ref)
    assert f"{ref}: no such file or folder (looked in {tmp_path})" in str(caught.value)
    assert "or a hub name such as dfine-s-coco" in str(caught.value)


def test_a_run_folder_names_a_file_to_give(saved: Checkpoint, tmp_path: Path):
    save(tmp_path / "best.safetensors", saved)
    with pytest.raises(
        FileNotFoundError, match=r"give the path of one checkpoint file, such as .*best.safetensors"
    ):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_cut_off_safetensors_file_says_so(saved: Checkpoint, tmp_path: Path, share: float):
    save(tmp_path / "whole.safetensors", saved)
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r"a.safetensors: not a whole safetensors file .* copy it again"):
        load(tmp_path / "a.safetensors")


def test_a_safetensors_file_of_another_program_says_what_was_found(tmp_path: Path):
    save_file({"layer.0.weight": torch.zeros(2)}, tmp_path / "a.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"a.safetensors: not weights of D-FINE: .* among layer.0.weight"):
        load(tmp_path / "a.safetensors")


def test_loading_leaves_the_random_stream_alone(saved: Checkpoint, tmp_path: Path):
    save(tmp_path / "a.safetensors", replace(saved))
    state = torch.get_rng_state()
    load(tmp_path / "a.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
