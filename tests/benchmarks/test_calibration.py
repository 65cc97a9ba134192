"""How the benchmark of calibration joins several checkpoints."""

import json
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.evaluation.calibration.run import compared
from tests.evaluation.calibration.outcomes import outcome
from tests.test_calibration import SOURCE

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks/calibration.py"))


@cache
def summary(seeds: int) -> dict[str, Any]:
    """Of detectors that were drawn, each with errors of its own."""
    found = [
        SCRIPT["Found"](
            ap=0.5 + seed / 10,
            fitting_pairs=300,
            honesty=compared(
                outcome(300, 60, seed=seed), outcome(300, 40, seed=10 + seed), {}, SOURCE, ("dog", "cat")
            ),
        )
        for seed in range(seeds)
    ]
    numbers: dict[str, Any] = SCRIPT["summary"](found)
    return numbers


def test_the_mean_over_checkpoints_is_surer_than_each() -> None:
    numbers = summary(2)
    assert json.loads(json.dumps(numbers)) == numbers
    assert len(numbers["coverage"]) == 5 * 4
    widths = []
    for one in (*numbers["coverage"].values(), *numbers["narrower"].values()):
        mean, seeds = one["mean"], one["seeds"]
        assert mean["value"] == pytest.approx(np.mean([seed["value"] for seed in seeds]))
        assert mean["low"] <= mean["value"] <= mean["high"]
        widths.append([each["high"] - each["low"] for each in (mean, *seeds)])
    mean, *seeds = np.mean(widths, 0)
    assert mean < min(seeds)  # their errors are independent here


def test_the_page_has_each_checkpoint_and_the_mean_and_says_what_is_missed() -> None:
    numbers = summary(2)
    text = "\n".join(SCRIPT["page"]("drawn", numbers, ("val", "test")))
    for level in ("50%", "80%", "90%", "95%"):
        assert [f"| {level} | {name} |" in text for name in ("seed 0", "seed 1", "**mean**")] == [True] * 3
    counted = {k: one["mean"]["within"] for k, one in numbers["coverage"].items() if "all four" not in k}
    counted["all four 90%"] = numbers["coverage"]["all four 90%"]["mean"]["within"]
    assert f"for {sum(counted.values())} of 17" in text
    beside = ", ".join(name for name, within in counted.items() if not within)
    assert (f"; not for {beside}." in text) == bool(beside)
    assert "AP 0.500, 0.600" in text
    assert "(seed_1/honesty.md)" in text
    raw = next(line for line in text.splitlines() if line.startswith("| raw distribution |"))
    assert raw.endswith("| – |")  # errors are twice what it says: it never holds 90 %
    alone = "\n".join(SCRIPT["page"]("drawn", summary(1), ("val", "test")))
    assert "**mean**" not in alone
    assert "| 90% | seed 0 |" in alone
