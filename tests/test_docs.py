"""What the documents say exists: commands and their options, calls, files, settings, and the house."""

import ast
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edgewise import Detections, Detector
from edgewise.cli.app import app
from edgewise.config import ModelConfig, StageConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(page, text) of every block of code in that language."""
    for page in PAGES:
        for text in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            yield page.name, text


def commands() -> Iterator[list[str]]:
    """The words of every command shown: lines of bash blocks, and what a table shows in `backticks`."""
    lines = [line for _, block in blocks("bash") for line in block.splitlines()]
    for page in PAGES:
        lines += re.findall(r"`((?:pytest|edgewise) [^`]*)`", page.read_text(encoding="utf-8"))
    for line in lines:
        for command in line.split("&&"):
            yield shlex.split(command, comments=True)


EDGEWISE = [words[1:] for words in commands() if words[:1] == ["edgewise"]]
OTHERS = [words for words in commands() if words[:1] != ["edgewise"]]


@pytest.mark.parametrize("words", EDGEWISE, ids=" ".join)
def test_commands_are_understood(words: list[str]) -> None:
    if len(words) == 1:  # named, not shown with its arguments
        assert words[0] in app
    else:
        _, _, unused = app.parse_args(words, exit_on_error=False, print_error=False)
        assert not unused


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_files_in_commands_exist(words: list[str]) -> None:
    for word in words:
        if word.startswith(("tests/", "scripts/", "benchmarks/", "examples/", "constraints")):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page if not name else page.parent / name
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as the hosts of Markdown make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# ── Python ─────────────────────────────────────────────────────────────────────────────────────────

DETECTOR = Detector.__new__(Detector)  # its methods are bound, and that is all that is asked of it
MEMBERS = {"detector": {*dir(Detector)}, "detections": {*dir(Detections), *Detections.__annotations__}}


@pytest.mark.parametrize(("page", "code"), [*blocks("python")])
def test_python_is_called_as_it_wants_to_be(page: str, code: str) -> None:
    tree, names = ast.parse(code), {"Detector": Detector}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            exec(ast.unparse(node), names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.attr in MEMBERS.get(node.value.id, {node.attr}), f"{page}: {ast.unparse(node)}"
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = (
            names.get(call.func.id)
            if isinstance(call.func, ast.Name)
            else getattr(DETECTOR, call.func.attr, None)
        )
        if function is not None:
            inspect.signature(function).bind(*call.args, **{one.arg: one.value for one in call.keywords})


# ── settings and the house ─────────────────────────────────────────────────────────────────────────


def settings(kind: type[BaseModel], section: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its default, sections by dots."""
    for name, field in kind.model_fields.items():
        inner = StageConfig if name == "stages" else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings(inner, f"{section}{name}.")
        else:
            default = field.default
            yield f"{section}{name}", list(default) if isinstance(default, tuple) else default


def test_the_page_of_settings_is_the_code() -> None:
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    training, model = page.split("## Settings")[1].split("The model's own settings")
    shown = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*) \|", training, re.M))
    assert shown == {name: str(default) for name, default in settings(TrainConfig)}
    assert re.findall(r"^\| `([\w.]+)` \|", model, re.M) == [name for name, _ in settings(ModelConfig)]


def contract(name: str) -> dict[str, Any]:
    return next(one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["name"] == name)


def test_the_house_has_the_rows_of_the_contract() -> None:
    page = (ROOT / "docs/house.md").read_text(encoding="utf-8").split("## Rooms")[1].split("## Without")[0]
    rows: dict[int, set[str]] = {}
    for number, rooms in re.findall(r"^\| (\d+) \| ([^|]*) \|", page, re.M):
        rows.setdefault(int(number), set()).update(re.findall(r"`(\w+)(?:\.py|/)`", rooms))
    layers = contract("Imports point one way, and every module has its place")["layers"]
    assert list(rows.values()) == [set(re.findall(r"\w+", layer)) for layer in layers]


def test_every_dependency_is_pinned() -> None:
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = {
        re.split(r"[><=\[]", one)[0]
        for group in (PROJECT["project"]["dependencies"], *extras)
        for one in group
    }
    pins = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert wanted - {"edgewise"} == set(pins)
