import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from edgewise.evaluation.calibration.baselines import NAIVE, RAW
from edgewise.evaluation.calibration.crossfit import OURS
from edgewise.evaluation.calibration.honesty import width_at
from edgewise.evaluation.calibration.pairs import Outcome
from edgewise.evaluation.calibration.plots import DIAGRAMS
from edgewise.evaluation.calibration.report import Honesty, in_words, markdown
from edgewise.evaluation.calibration.run import compared, measured
from tests.evaluation.calibration.outcomes import outcome
from tests.test_calibration import SOURCE


@cache
def found() -> Honesty:
    return compared(outcome(300, 60), outcome(500, 50, seed=1), {}, SOURCE, ("dog", "cat"))


def leaves(value: Any) -> list[Any]:
    return [leaf for one in value.values() for leaf in leaves(one)] if isinstance(value, dict) else [value]


def test_the_numbers_are_plain_and_complete() -> None:
    numbers = found().to_dict()
    assert json.loads(json.dumps(numbers)) == numbers
    assert {type(leaf) for leaf in leaves(numbers)} <= {int, float, str, type(None)}
    assert list(numbers["edges"]) == ["left", "top", "right", "bottom", "all"]
    assert set(numbers["classes"]) == {"dog", "cat"}
    assert sum(one["pairs"] for one in numbers["sizes"].values()) == numbers["pairs"] == 500
    assert (numbers["unmatched_detections"], numbers["missed_boxes"]) == (7, 9)


def test_the_numbers_say_what_was_drawn() -> None:
    numbers = found().numbers
    for one in numbers["edges"].values():
        assert one["nll"] < one["nll_raw"]  # errors are twice what was said
        assert one["crps"] < one["crps_raw"]
        assert one["ence"] < 0.5 * one["ence_raw"]
        assert one["spearman"] > 0.3
        for level, held in one["coverage"].items():
            assert held["low"] <= held["value"] <= held["high"]
            assert held["value"] == pytest.approx(float(level) / 100, abs=0.06)
    assert numbers["scores"]["d_ece"] < numbers["scores"]["d_ece_raw"]
    ours = numbers["methods"][OURS]
    assert ours["narrower"]["low"] > 0.1
    assert ours["best_naive"] in ("fixed width", "share of the side", "share of √area")


def test_the_width_at_a_coverage_lies_between_those_claimed() -> None:
    coverage, width = np.linspace(0.5, 0.98, 12), np.linspace(10, 34, 12)
    assert width_at(0.74, coverage, width) == pytest.approx(22)
    assert np.isnan(width_at(0.99, coverage, width))


def test_in_words_and_tables() -> None:
    text = str(found())
    assert "fitted on 300 pairs of val: 500 matched detections in 50 images: 90 % intervals hold" in text
    numbers = found().numbers
    page = markdown(numbers)
    assert "500 matched detections in 50 images; beside them 7 detections that found nothing, 9 boxes" in page
    assert "| **all four at once** |" in page
    for rows in (["left", "all"], numbers["sizes"], numbers["classes"]):
        assert all(f"\n| {name} | " in page for name in rows)
    held = numbers["classes"]["dog"]["joint"]["coverage"]["90"]["value"]
    assert f"| {100 * held:.1f} (" in next(line for line in page.splitlines() if line.startswith("| dog |"))
    columns = [line.count("|") for line in page.splitlines() if line.startswith("|")]
    assert len(set(columns)) == 4  # coverage, distributions, methods, layers
    assert "% narrower" in page
    assert "nan" not in page + text
    with (console := Console(width=80)).capture() as captured:
        console.print(found().table())
    shown = captured.get()
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "joint" in shown
    assert in_words(found().numbers) in text


def test_a_raw_detector_has_one_column_a_number_and_says_that_it_is_raw() -> None:
    whole = outcome(500, 50)
    raw = measured(whole, {"1": whole}, None, ("dog", "cat"))
    assert raw is not None
    assert "Honesty, not calibrated: 500 matched detections in 50 images: raw 90 % intervals" in str(raw)
    page = markdown(raw.numbers)
    assert "|  | pairs | NLL | CRPS | ENCE | spread | RMSE | ρ | edges at 90% | all four at 90% |" in page
    assert f"| **{RAW}** |" in page
    assert all(f"| {name} |" in page for name in NAIVE)
    assert "than the best naive ones" in page
    assert "calibrated" not in page


def test_every_layer_has_a_row_of_all_its_numbers() -> None:
    first, last = outcome(300, 50, scale=3.0), outcome(500, 50)
    raw = measured(last, {"1": first}, None, ("dog", "cat"))
    assert raw is not None
    layers = raw.numbers["layers"]
    assert list(layers) == ["1", "last"]
    assert layers["1"]["pairs"] == 300
    assert layers["1"]["nll_raw"] > layers["last"]["nll_raw"] == raw.numbers["edges"]["all"]["nll_raw"]
    for key in ("crps_raw", "ence_raw", "sharpness", "rmse", "spearman", "coverage", "width"):
        assert layers["last"][key] == raw.numbers["edges"]["all"][key]
    assert layers["last"]["joint"] == raw.numbers["joint"]
    assert layers["last"]["scores"] == raw.numbers["scores"]
    rows = [line for line in markdown(raw.numbers).splitlines() if line.startswith(("| 1 ", "| last "))]
    assert len(rows) == 2


def test_what_is_undefined_is_none_and_a_dash() -> None:
    few = outcome(400, 40)
    one = compared(few, Outcome(few.pairs[np.array([0])], few.verdicts), {}, SOURCE, ("dog", "cat"))
    assert one.numbers["edges"]["left"]["spearman"] is None
    assert "–" in markdown(one.numbers)


def test_files_are_written(tmp_path: Path) -> None:
    raw = measured(outcome(300, 50), {}, None, ("dog", "cat"))
    assert raw is not None
    for one in (found(), raw):
        folder = tmp_path / one.numbers["own"]
        one.write(folder)
        assert {path.name for path in folder.iterdir()} == {"honesty.json", "honesty.md", *DIAGRAMS}
        for name in DIAGRAMS:
            with Image.open(folder / name) as picture:
                assert picture.width > 600
