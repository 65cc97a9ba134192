"""Optional dependencies: found, or missing with a message that says what to install."""

import json
import sys

import pytest

from edgewise.extras import MissingExtra, require


def test_what_is_installed_is_imported() -> None:
    assert require("json", "train") is json
    assert require("os.path", "train") is sys.modules["os.path"]


@pytest.mark.parametrize("module", ["not_installed", "not_installed.inner"])
def test_what_is_missing_names_its_extra(module: str) -> None:
    with pytest.raises(MissingExtra) as caught:
        require(module, "viz")
    assert str(caught.value) == (
        "not_installed is not installed; this needs the extra: pip install 'edgewise[viz]'"
    )
    assert caught.value.name == "not_installed"


def test_a_broken_installation_speaks_for_itself() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'json.not_there'$") as caught:
        require("json.not_there", "train")
    assert not isinstance(caught.value, MissingExtra)
