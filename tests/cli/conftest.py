"""Running a command line in this process."""

import sys
from collections.abc import Callable

import pytest

from edgewise.cli import main
from edgewise.cli.app import console

Edgewise = Callable[..., tuple[int, str]]


@pytest.fixture
def edgewise(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Edgewise:
    """Runs the command with these words: exit code, and what it printed on both streams."""
    monkeypatch.setattr(console, "_width", 400)

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["edgewise", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        code = left.value.code
        return code if isinstance(code, int) else 0, " ".join((out + err).split())

    return run
