"""What importing costs: `import edgewise` next to nothing, the half without torch no torch."""

import subprocess
import sys

import pytest

import edgewise

HEAVY = ("torch", "numpy", "PIL", "pydantic", "yaml", "jaxtyping", "rich", "scipy", "matplotlib")


def python(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_edgewise_imports_nothing_else() -> None:
    loaded = python("import sys, edgewise; print(*sys.modules)").split()
    assert "edgewise" in loaded
    assert not [name for name in loaded if name.partition(".")[0] in HEAVY]
    assert [name for name in loaded if name.startswith("edgewise")] == ["edgewise"]


def test_importing_edgewise_reads_no_file_but_code() -> None:
    program = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import edgewise
print(*(path for path in opened if not path.endswith((".py", ".pyc"))))
"""
    assert python(program) == ""


@pytest.mark.parametrize(
    "module", ["detections", "decode", "bins", "images", "preprocess", "config", "classes"]
)
def test_the_half_without_torch(module: str) -> None:
    assert python(f"import sys, edgewise.{module}; print('torch' in sys.modules)") == "False"


def test_detections_come_without_torch_and_the_detector_with_it() -> None:
    program = """
import sys, edgewise
edgewise.Detections
print("torch" in sys.modules)
"""
    assert python(program) == "False"


def test_torch_is_not_asked_for_extras() -> None:
    """The public face imports neither the training half nor an extra."""
    loaded = python("import sys; from edgewise import Detector; print(*sys.modules)").split()
    extras = ("scipy", "hotcoco", "tensorboard", "matplotlib", "supervision", "transformers")
    assert not [name for name in extras if name in loaded]
    assert not [name for name in loaded if name.startswith(("edgewise.train", "edgewise.evaluation"))]


def test_the_public_names() -> None:
    from edgewise.api import Detector
    from edgewise.detections import Detections

    assert edgewise.Detector is Detector
    assert edgewise.Detections is Detections
    assert dir(edgewise) == ["Detections", "Detector", "__version__"]
    assert edgewise.__version__.count(".") == 2


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(AttributeError) as caught:
        edgewise.Detektor  # noqa: B018
    assert str(caught.value) == (
        "module 'edgewise' has no attribute 'Detektor'; it has Detections, Detector, __version__"
    )
