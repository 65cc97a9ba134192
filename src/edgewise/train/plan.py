"""What a run is asked for, and what it decides before it starts: its data, and the settings that follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from edgewise.config import ModelConfig, TrainConfig, read_settings
from edgewise.data.custom import Transform
from edgewise.data.dataset import Dataset
from edgewise.data.facts import data_facts
from edgewise.data.open import Data, Splits, open_to_train
from edgewise.recipe import Recipe, Start, deim, input_size, recommend, unaugmented
from edgewise.train.state import read_state

RecipeName = Literal["auto", "deim"]
AugmentName = Literal["auto", "none"]


@dataclass(frozen=True)
class Wishes:
    """What a person asks of a run; None leaves it to the recipe.

    `size` is (height, width), or bounds the longer side of an input that has the shape of the images.
    `batch` "auto" and `lr` "find" are searched for. `settings` stands in for the recipe; `changes`,
    {"augment.flip": 0.3}, have the last word.
    """

    epochs: int | None = None
    size: int | tuple[int, int] | None = None
    batch: int | Literal["auto"] | None = None
    lr: float | Literal["find"] | None = None
    seed: int | None = None
    device: str | None = None
    recipe: RecipeName = "auto"
    augment: AugmentName = "auto"
    settings: TrainConfig | str | Path | None = None
    changes: Mapping[str, Any] | None = None

    def given(self) -> dict[str, Any]:
        """The settings that are asked for, by key."""
        named = {
            "schedule.epochs": self.epochs,
            "size": self.size if isinstance(self.size, tuple) else None,
            "batch": None if self.batch == "auto" else self.batch,
            "seed": self.seed,
            "device": self.device,
        }
        return {key: value for key, value in named.items() if value is not None} | dict(self.changes or {})


@dataclass(frozen=True)
class Order:
    """All that a training is asked for, as one value that other processes can be given.

    `transform` is the user's own augmentation; without `selfcheck` nothing is checked before the first epoch;
    `resume` goes on with the run in `folder`.
    """

    data: Data | Splits
    folder: Path
    wishes: Wishes
    transform: Transform | None = None
    selfcheck: bool = True
    resume: bool = False

    def check_several(self) -> None:
        """Raises ValueError for what several processes cannot do together."""
        for name, search in (("batch", "auto"), ("lr", "find")):
            if getattr(self.wishes, name) == search:
                raise ValueError(
                    f'{name}="{search}" is found by one process; find it with one, and give several the '
                    "number"
                )


def open_data(data: Data | Splits, console: Console) -> tuple[Dataset, Dataset | None]:
    """The training and, if there is one, the validation split; what is notable about them is printed."""
    splits = data if isinstance(data, Mapping) else open_to_train(data, ("train", "val"))
    if "train" not in splits:
        raise ValueError(
            f"data sets for {', '.join(splits) or 'nothing'}; expected one for train, perhaps val"
        )
    train_set, val_set = splits["train"], splits.get("val")
    for note in dict.fromkeys((*train_set.notes, *(val_set.notes if val_set else ()))):
        console.print(note, markup=False, highlight=False)
    return train_set, val_set


def plan(
    train_set: Dataset, model: ModelConfig, start: Start, wishes: Wishes, resumed: Path | None = None
) -> tuple[TrainConfig, tuple[str, ...]]:
    """The settings of a run, and a sentence for each decision.

    They are those of `wishes.settings`, else of the run in the folder `resumed`, else the recipe's for this
    data. Raises ValueError naming the setting that is wrong.
    """
    given, facts = wishes.given(), data_facts(train_set)
    if wishes.settings is not None or resumed is not None:
        if isinstance(wishes.size, int):
            given["size"], _ = input_size(facts, wishes.size)
        chosen = Recipe(_settings(wishes.settings, resumed), ())
    else:
        chosen = recommend(
            model.name,
            facts,
            start,
            side=wishes.size if isinstance(wishes.size, int) else max(model.size),
            size=given.get("size"),
            epochs=given.get("schedule.epochs"),
            batch=given.get("batch"),
        )
    if wishes.recipe == "deim":
        why = "recipe deim: mosaic, mixup, copy-blend and the matchability-aware loss"
        chosen = chosen.changed(deim(chosen.config), why)
    if wishes.augment == "none":
        chosen = chosen.changed(unaugmented(chosen.config), "no augmentation at all, as given")
    if wishes.lr is not None and wishes.lr != "find":
        share = chosen.config.optimizer.backbone_lr / chosen.config.optimizer.lr
        given = {"optimizer.lr": wishes.lr, "optimizer.backbone_lr": wishes.lr * share} | given
    chosen = chosen.changed(chosen.config.updated(given))
    return chosen.config, tuple(map(str, chosen.reasons))


def _settings(settings: TrainConfig | str | Path | None, resumed: Path | None) -> TrainConfig:
    if isinstance(settings, TrainConfig):
        return settings
    if settings is not None:
        return read_settings(TrainConfig, settings)
    assert resumed is not None
    return TrainConfig.model_validate(read_state(resumed)["config"])
