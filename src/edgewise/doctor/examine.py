"""All checks of a data set in one go, and what came of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from edgewise.config import DecoderConfig
from edgewise.data.open import read_splits
from edgewise.data.problems import find_problems
from edgewise.data.records import Problem, RawSplit, Severity
from edgewise.doctor import checks
from edgewise.doctor.scan import Scan, scan_images
from edgewise.doctor.statistics import Advice, Statistics, advice, statistics
from edgewise.recipe import input_size
from edgewise.sizes import check_size

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
SIDE = 640
QUERIES = DecoderConfig().num_queries


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found in a data set, for training at `size` (height, width) with `queries` queries.

    problems    errors first, then warnings, then infos; those of a kind together, in the order of the files
    statistics  of each split
    advice      on training settings
    """

    data: Path
    size: tuple[int, int]
    queries: int
    splits: Mapping[str, RawSplit]
    scans: Mapping[Path, Scan]
    problems: tuple[Problem, ...]
    statistics: Mapping[str, Statistics]
    advice: tuple[Advice, ...]

    @property
    def counts(self) -> dict[Severity, int]:
        """Problems of each severity, the worst first."""
        found = Counter(one.severity for one in self.problems)
        return {severity: found[severity] for severity in SEVERITIES}

    @property
    def by_kind(self) -> list[tuple[Severity, str, list[Problem]]]:
        """Problems of a severity and kind together, in their order."""
        groups = groupby(self.problems, lambda one: (one.severity, one.kind))
        return [(severity, kind, list(problems)) for (severity, kind), problems in groups]

    def to_dict(self) -> dict[str, Any]:
        return {
            "data": str(self.data),
            "size": list(self.size),
            "queries": self.queries,
            "counts": self.counts,
            "problems": [asdict(one) for one in self.problems],
            "splits": {
                name: {"format": self.splits[name].format, **one.to_dict()}
                for name, one in self.statistics.items()
            },
            "advice": [asdict(one) for one in self.advice],
        }


def examine(
    data: str | Path,
    size: int | tuple[int, int] = SIDE,
    queries: int = QUERIES,
    console: Console | None = None,
) -> Diagnosis:
    """Reads every annotation and every image of a data set and says what is wrong with them.

    `size` and `queries` are those of the training to come: a size is (height, width), or one side that, as
    in training, bounds the longer side of the images' own shape. A progress bar is on `console`. Raises
    FileNotFoundError where there is no data set, ValueError for settings that cannot be.
    """
    check_size((size, size) if isinstance(size, int) else size)
    if queries < 1:
        raise ValueError(f"queries {queries}: expected at least 1")
    data = Path(data)
    splits = read_splits(data)
    scans = scan_images((one.path for split in splits.values() for one in split.images), console)
    counts = {name: statistics(split) for name, split in splits.items()}
    if isinstance(size, int):
        train = counts.get("train")
        known = train is not None and len(train.image_sizes) > 0
        size = input_size(train.facts, size)[0] if train and known else (size, size)
    found: list[Problem] = []
    for note in dict.fromkeys(note for split in splits.values() for note in split.notes):
        found.append(checks.problem("note", data.name or str(data), note))
    for name, split in splits.items():
        read = find_problems(split)
        found += [one for one in read if one.kind != "image-unreadable"]  # decoding them all finds more
        found += checks.image_problems(split, scans)
        found += checks.setting_problems(split, counts[name], size, queries)
    if "train" in splits:
        found += checks.balance_problems(splits["train"], counts["train"])
        if counts["train"].boxes:
            found += checks.untaught_problems(counts)
    found += checks.likeness_problems(splits, scans)
    found = list(dict.fromkeys(found))  # what splits share is wrong once
    kinds = list(dict.fromkeys(one.kind for one in found))
    return Diagnosis(
        data,
        size,
        queries,
        splits,
        scans,
        tuple(sorted(found, key=lambda one: (SEVERITIES.index(one.severity), kinds.index(one.kind)))),
        counts,
        advice(counts["train"], size, queries) if "train" in counts else (),
    )
