"""The scripts that turn runs into tables."""

import json
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FINETUNE = runpy.run_path(str(BENCHMARKS / "finetune.py"))
ABLATION = runpy.run_path(str(BENCHMARKS / "ablation.py"))


def result(ap: float, **changes: Any) -> dict[str, Any]:
    facts = {"commit": None, "torch": "2", "cores": 2, "processor": "x86_64"}
    run = {
        "split": "test",
        "minutes": 20.0,
        "epochs": 5,
        "size": [320, 416],
        "start": "dfine-n-scenes",
        "command": "edgewise train bccd",
    }
    return {"ap": ap, "ap50": ap, **run, **facts, **changes}


def finished(folder: Path, ap: float, **changes: Any) -> Path:
    """The files of a run that the summary reads."""
    (folder / "test").mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result(ap, **changes)))
    (folder / "test/metrics.json").write_text(json.dumps({"ap": ap, "ap50": ap, "num_images": 72}))
    (folder / "settings.yaml").write_text(yaml.safe_dump({"schedule": {"epochs": 5}, "size": [320, 416]}))
    (folder / "metrics.jsonl").write_text("{}\n")
    for name in ("results.png", *(f"test/{one}" for one in FINETUNE["PICTURES"])):
        Image.new("RGB", (2400, 1000)).save(folder / name)
    return folder


def test_runs_become_a_table_and_small_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        finished(tmp_path / "bccd", 0.612),
        finished(tmp_path / "pcb", 0.5, start="s"),
    ]
    FINETUNE["summarise"](*runs, out=tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    assert "| [bccd](bccd/result.json) | dfine-n-scenes | 320 x 416 | 5 |" in text
    assert "| 72, test | **0.612** | 0.612 | 20 |" in text
    assert "| s |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    with Image.open(tmp_path / "out/bccd/confusion.jpg") as picture:
        assert picture.size == (1200, 500)
    assert {"result.json", "settings.yaml", "metrics.jsonl", "metrics.json", "results.png"} <= {
        path.name for path in (tmp_path / "out/pcb").iterdir()
    }


def test_a_run_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", 0.6, epochs=50)
    with pytest.raises(ValueError, match="epochs is 50, but the run's other files say 5"):
        FINETUNE["checked"](run)
    with pytest.raises(FileNotFoundError, match=r"no result.json; the run is not finished"):
        FINETUNE["checked"](tmp_path)


PLAN = {
    "command": "train 'my data' --model n",
    "seeds": [0, 1],
    "variants": {"full": None, "no mal": {"loss.classification": "vfl", "size": [64, 96]}},
}


def test_the_words_of_a_run(tmp_path: Path) -> None:
    words = ABLATION["command"](PLAN, "no mal", 1, tmp_path)
    assert shlex.join(words).startswith("train 'my data' --model n --seed 1 --out ")
    assert words[-4:] == ["--set", 'loss.classification="vfl"', "--set", "size=[64, 96]"]
    (tmp_path / "last.state").touch()
    assert ABLATION["command"](PLAN, "full", 0, tmp_path)[-1] == "--resume"


def test_finished_runs_are_not_repeated_and_compared(tmp_path: Path) -> None:
    for variant, aps in {"full": (0.60, 0.62), "no_mal": (0.55, 0.57)}.items():
        for seed, ap in enumerate(aps):
            (tmp_path / f"{variant}_s{seed}").mkdir()
            (tmp_path / f"{variant}_s{seed}/result.json").write_text(json.dumps(result(ap)))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    ABLATION["ablate"](tmp_path / "plan.yaml", out=tmp_path)
    full, other = (tmp_path / "table.md").read_text().splitlines()[2:]
    assert full == "| full | 0.6100 ± 0.0141 | 0.6100 ± 0.0141 | 20 |  |"
    assert other == "| no mal | 0.5600 ± 0.0141 | 0.5600 ± 0.0141 | 20 | -0.0500 ± 0.0141 |"
    with Image.open(tmp_path / "ablation.png") as picture:
        assert min(picture.size) > 100


def test_a_plan_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("command: train\nvariant: {}\n")
    with pytest.raises(ValueError, match="has command, variant; expected command, seeds, variants"):
        ABLATION["read"](tmp_path / "plan.yaml")
