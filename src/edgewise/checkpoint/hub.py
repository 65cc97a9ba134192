"""Names on the Hugging Face hub, and their files through its cache."""

from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from edgewise.checkpoint.transformers import CONFIG, PROCESSOR, WEIGHTS

WORDS = {"n": "nano", "s": "small", "m": "medium", "l": "large", "x": "xlarge"}

REPOSITORIES = {
    f"dfine-{size}-{data}": f"ustc-community/dfine-{word}-{data}"
    for data in ("coco", "obj365", "obj2coco")
    for size, word in WORDS.items()
    if data == "coco" or size != "n"
} | {"dfine-l-obj2coco": "ustc-community/dfine-large-obj2coco-e25"}
"""Short name → repository of released weights."""


def fetch(repository: str) -> Path:
    """The folder of the repository's files in the hub's cache, downloaded if need be.

    Honours HF_HOME, HF_HUB_OFFLINE and the other settings of huggingface_hub. Raises ConnectionError
    where the hub cannot be reached and the cache has nothing, FileNotFoundError where there is no such
    repository or no weights in it.
    """
    try:
        folder = Path(snapshot_download(repository, allow_patterns=[CONFIG, WEIGHTS, PROCESSOR]))
    except HFValidationError:
        raise ValueError(f"{repository}: not a hub name; expected owner/name") from None
    except GatedRepoError:
        raise PermissionError(
            f"{repository}: its owner asks for agreement at https://huggingface.co/{repository}; "
            "agree there, then run hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise FileNotFoundError(
            f"{repository}: no folder here, and no such repository on the hub or a private one; "
            "check the name, or run hf auth login"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        raise ConnectionError(
            f"{repository}: no folder here, not in the cache {constants.HF_HUB_CACHE}, and {_reason(error)}; "
            f"connect, or run hf download {repository} --local-dir FOLDER elsewhere and give FOLDER instead"
        ) from None
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{repository}: no {WEIGHTS} in {folder}; the repository has none, or its download was "
            f"interrupted: run hf download {repository}"
        )
    return folder


def _reason(error: Exception) -> str:
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids to download it"
    return f"the hub cannot be reached ({str(error).strip().partition(chr(10))[0]})"
