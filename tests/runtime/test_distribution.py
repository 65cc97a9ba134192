"""The second distribution: its wheel, what is in it, and that it runs where there is nothing else."""

import ast
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from edgewise.api import Detector
from tests.runtime import toy

ROOT = Path(__file__).resolve().parents[2]
SMALL = tomllib.loads((ROOT / "runtime/pyproject.toml").read_text(encoding="utf-8"))["project"]
WHOLE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = SMALL["optional-dependencies"]
CONTRACT = WHOLE["tool"]["importlinter"]["contracts"][-1]
PROVIDES = {"pillow": "PIL", "pyyaml": "yaml", "cuda-bindings": "cuda"}  # where names differ

PICTURE = toy.picture(3, 90, 70)
PREDICT = """
import sys
import numpy as np
from edgewise import Detector
found = Detector.from_pretrained(sys.argv[1]).predict(np.load(sys.argv[2]), 0.0)
print(found.to_csv())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, ROOT / "runtime"], check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def modules(wheel: Path) -> dict[str, ast.Module]:
    """The wheel's modules, parsed."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): ast.parse(
                archive.read(name)
            )
            for name in archive.namelist()
            if name.endswith(".py")
        }


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for modules with the wheel and what it asks for with an engine, and nothing else."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in needed([*SMALL["dependencies"], *EXTRAS["onnx"], *EXTRAS["evaluate"]]):
        files = distribution(name).files or []
        tops = {one.parts[0] for one in files if one.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            link = site / top
            if not link.exists():
                link.symlink_to(Path(str(distribution(name).locate_file(top))))
    return site


def needed(requirements: list[str], extra: str = "") -> set[str]:
    """The names of packages that these bring, themselves included."""
    found: set[str] = set()
    for text in requirements:
        one = Requirement(text)
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            found |= {one.name, *needed(distribution(one.name).requires or [])}
    return found


def run_bare(site: Path, program: str, *arguments: object) -> str:
    """What a program prints that sees the standard library and `site` alone."""
    program = f"import sys; sys.path.insert(0, {str(site)!r})\n{program}"
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imports(tree: ast.Module) -> Iterator[str]:
    """The modules that code imports when it runs, also late; not those for annotations alone."""
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "relative"
            yield from (f"{node.module}.{one.name}" for one in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "require":
            yield ast.literal_eval(node.args[0])


# ── what is in it ──────────────────────────────────────────────────────────────────────────────────────


def test_the_wheel_has_the_modules_of_the_contract_and_no_others(modules: dict[str, ast.Module]) -> None:
    listed = CONTRACT["source_modules"]
    assert listed == sorted(listed)
    inside = {name for name in modules for one in listed if name == one or name.startswith(f"{one}.")}
    above = {name.rpartition(".")[0] for name in modules}
    assert set(modules) - inside <= above  # packages that hold them
    assert all(one in modules for one in listed)
    for package in set(modules) - inside:
        body = [node for node in modules[package].body if not isinstance(node, ast.Expr)]
        assert package == "edgewise" or not body, package


def test_a_module_of_the_wheel_imports_what_is_there(modules: dict[str, ast.Module]) -> None:
    allowed = {
        PROVIDES.get(Requirement(one).name, Requirement(one).name)
        for one in chain(SMALL["dependencies"], *EXTRAS.values())
    }
    for name, tree in modules.items():
        for imported in imports(tree):
            top = imported.split(".")[0]
            if top == "edgewise":
                known = imported in modules or imported.rpartition(".")[0] in modules
                assert known or (name, imported) == ("edgewise", "edgewise.api.Detector"), (name, imported)
            else:
                assert top in sys.stdlib_module_names | allowed, (name, imported)
                assert top not in ("torch", "pydantic")


def test_both_distributions_agree() -> None:
    whole = {Requirement(one).name: one for one in WHOLE["project"]["dependencies"]}
    assert all(whole[Requirement(one).name] == one for one in SMALL["dependencies"])
    extras = WHOLE["project"]["optional-dependencies"]
    for name, wanted in EXTRAS.items():
        assert {*wanted} == {*extras[name], *(whole[one] for one in ("pyyaml", "rich") if name == "evaluate")}
    assert SMALL["requires-python"] == WHOLE["project"]["requires-python"]


def test_its_version_is_that_of_the_whole(wheel: Path) -> None:
    assert wheel.name == f"edgewise_runtime-{WHOLE['project']['version']}-py3-none-any.whl"


# ── what it does ───────────────────────────────────────────────────────────────────────────────────────


def test_every_module_imports_in_a_bare_place(bare: Path, modules: dict[str, ast.Module]) -> None:
    program = """
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*(name for name in ("torch", "pydantic", "safetensors", "scipy") if name in sys.modules))
"""
    assert run_bare(bare, program, *modules).split() == []


def test_it_predicts_in_a_bare_place(bare: Path, artifacts: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "picture.npy", PICTURE)
    found = run_bare(bare, PREDICT, artifacts / "raw.onnx", tmp_path / "picture.npy")
    assert found.strip() == csv(artifacts / "raw.onnx")


def csv(path: Path) -> str:
    return str(Detector.from_pretrained(path).predict(PICTURE, 0.0).to_csv().strip())


def test_it_says_what_is_missing(bare: Path, artifacts: Path) -> None:
    program = """
from edgewise import Detector
for name in sys.argv[1:]:
    try:
        Detector.from_pretrained(name)
    except Exception as error:
        print(error)
"""
    assert run_bare(bare, program, artifacts / "raw.xml", "best.safetensors").splitlines() == [
        "openvino is not installed; this needs the extra: pip install 'edgewise-runtime[openvino]'",
        "best.safetensors: without torch only exported detectors are read, .onnx, .xml or .engine; export it "
        "with `edgewise export`, or install what reads weights: pip install edgewise",
    ]


def test_it_evaluates_in_a_bare_place(bare: Path, artifacts: Path, tmp_path: Path) -> None:
    """A data set on disk, numbers and pictures: the same as of the whole."""
    program = """
import json
from edgewise import Detector
detector = Detector.from_pretrained(sys.argv[1])
metrics = detector.evaluate(sys.argv[2], "test", out=sys.argv[3] if len(sys.argv) > 3 else None)
print(json.dumps(metrics.to_dict()))
"""
    for name in ("raw", "finished"):
        path, out = artifacts / f"{name}.onnx", tmp_path / name
        detector = Detector.from_pretrained(path)
        data = dataset(tmp_path / f"{name} data", detector)
        there = json.loads(run_bare(bare, program, path, data, *([out] if name == "finished" else [])))
        assert there == json.loads(json.dumps(detector.evaluate(data, "test").to_dict()))
        assert there["num_images"] == 3
        assert there["ap50"] > 0.3
        assert ("honesty" in there) == (name == "raw")  # what needs distributions
    assert {"metrics.json", "confusion.png"} <= {one.name for one in out.iterdir()}


def dataset(folder: Path, detector: Detector) -> Path:
    """Three pictures in COCO's form; the two best boxes that the detector finds are true."""
    (folder / "test").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for i in range(3):
        picture = toy.picture(i, 60 + i, 80)
        height, width = picture.shape[:2]
        Image.fromarray(picture).save(folder / f"test/{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": width, "height": height})
        found = detector.predict(picture, 0.0)[:2]
        for edges, label in zip(found.boxes_xyxy, found.labels.tolist(), strict=True):
            x1, y1, x2, y2 = edges.clip(0, [width, height] * 2).tolist()
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            boxes.append(
                {"id": len(boxes) + 1, "image_id": i, "category_id": toy.RAW.category_ids[label], **box}
            )
    categories = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
    text = json.dumps({"images": images, "annotations": boxes, "categories": categories})
    (folder / "test/_annotations.coco.json").write_text(text)
    return folder
