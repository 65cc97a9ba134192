"""Puts into the wheel the modules that the import contract of the repository names, and no others."""

import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CONTRACT = "The runtime's distribution: these modules, without torch and pydantic"


class Modules(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        repository = Path(self.root).parent
        for path in modules(repository):
            build_data["force_include"][str(repository / "src" / path)] = path.as_posix()
        build_data["force_include"][str(repository / "LICENSE")] = "edgewise/LICENSE"


def modules(repository: Path) -> list[Path]:
    """Their files, relative to src/: each module, or all of a package, and the `__init__` of those above."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (names,) = (one["source_modules"] for one in contracts if one["name"] == CONTRACT)
    source, found = repository / "src", {Path("edgewise/py.typed")}
    for name in names:
        path = Path(*name.split("."))
        inside = (source / path).rglob("*.py")
        found |= {one.relative_to(source) for one in inside} or {path.with_suffix(".py")}
        found |= {above / "__init__.py" for above in path.parents[:-1]}
    return sorted(found)
