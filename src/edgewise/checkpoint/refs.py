"""From a reference (file, folder, hub name) to a Checkpoint, whatever wrote it."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgewise import classes as known
from edgewise.checkpoint import own, published, transformers
from edgewise.checkpoint.contents import Checkpoint, check_classes, check_fit, skeleton
from edgewise.spelling import unknown

SUFFIXES = (".safetensors", ".pth", ".pt")
SCENES = "dfine-n-scenes"  # comes with the package: no network


def load(ref: str | Path, classes: Sequence[str] | None = None) -> Checkpoint:
    """The detector that `ref` names, its weights compared tensor by tensor with the model they claim.

    `ref` is a file of ours or a published one (.safetensors, .pth, .pt), a folder or model.safetensors
    of transformers, "dfine-n-scenes", which comes with the package, a hub name such as "dfine-s-coco", or a
    hub repository "owner/name". `classes` names the rows anew; without it a file without names gets those of
    COCO for 80 rows, of Objects365 for 366, and class_0, class_1, … with a warning for any other number.
    Nothing in a file is executed. Raises FileNotFoundError, ConnectionError or ValueError.
    """
    path = Path(ref).expanduser()
    if path.is_dir():
        return _of_folder(path, classes)
    if path.is_file():
        return _of_file(path, classes)
    if (
        isinstance(ref, Path)
        or path.suffix in SUFFIXES
        or ref.startswith((".", "/", "~"))
        or ref.count("/") > 1
    ):
        raise FileNotFoundError(
            f"{ref}: no such file or folder (looked in {Path.cwd()}); "
            f"expected a checkpoint, a folder, or a hub name such as dfine-s-coco"
        )
    if ref == SCENES:
        with as_file(files("edgewise.checkpoint") / "scenes.safetensors") as shipped:
            return _of_file(shipped, classes)
    from edgewise.checkpoint import hub  # only a hub name needs huggingface_hub

    if "/" in ref:
        return _of_folder(hub.fetch(ref), classes)
    if ref not in hub.REPOSITORIES:
        raise ValueError(
            f"{ref}: neither a file, a folder nor a hub repository owner/name; "
            + unknown(ref, [SCENES, *hub.REPOSITORIES], "checkpoint")
        )
    released = known.OBJECTS365 if ref.endswith("-obj365") else known.COCO
    return _of_folder(hub.fetch(hub.REPOSITORIES[ref]), released if classes is None else classes)


def _of_folder(folder: Path, classes: Sequence[str] | None) -> Checkpoint:
    weights = folder / transformers.WEIGHTS
    if not weights.is_file():
        found = sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES)
        raise FileNotFoundError(
            f"{folder}: no {transformers.WEIGHTS} in this folder; give the path of one checkpoint file"
            + (f", such as {folder / found[0]}" if found else "")
        )
    return _of_file(weights, classes)


def _of_file(path: Path, classes: Sequence[str] | None) -> Checkpoint:
    header, weights = _safetensors(path) if path.suffix == ".safetensors" else (None, published.read(path))
    try:
        if header is None:
            checkpoint = _released(path, weights, classes)
        else:
            checkpoint = own.read(header, weights)
            if classes is not None:
                checkpoint = replace(checkpoint, class_names=check_classes(classes))
        check_fit(skeleton(checkpoint.config), checkpoint.weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return checkpoint


def _safetensors(path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """Our header, None where the file is not ours, and the tensors."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get(own.KEY), {
                key: file.get_tensor(key) for key in file.offset_keys()
            }
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}); it is cut off or damaged "
            f"({path.stat().st_size} bytes): download or copy it again"
        ) from None


def _released(path: Path, weights: dict[str, Tensor], classes: Sequence[str] | None) -> Checkpoint:
    """The checkpoint of the authors' weights, under their names or those of transformers."""
    names = None
    if transformers.is_theirs(weights):
        config, weights, names = transformers.read(weights, path.parent)
    else:
        config = published.config_of(weights)
    if classes is not None:
        names = check_classes(classes)
    if names is None:
        names = known.PUBLISHED.get(config.num_classes)
    if names is None:
        names = tuple(f"class_{row}" for row in range(config.num_classes))
        warnings.warn(
            f"{path}: the file does not name its {config.num_classes} classes; they are called class_0, "
            "class_1, …; give classes=[…] to name them",
            stacklevel=4,
        )
    return Checkpoint(config, weights, names, known.category_ids(names))
