"""The scenarios that ship: files that can be named without a path."""

from __future__ import annotations

import functools
from pathlib import Path

from secondsight.scenario.data import Scenario
from secondsight.scenario.ops import ScenarioError
from secondsight.scenario.recorder import load_scenarios

__all__ = ["scenarios_of", "shipped", "shipped_file"]


@functools.cache
def shipped_file(name: str) -> Path:
    """The shipped file of that name, without `.py`. Raises `ScenarioError` that lists the names there are."""
    package = Path(__file__).parents[1]  # as it is installed, or in the repository that it is run from
    folder = next(path for path in (package / "scenarios", package.parents[1] / "scenarios") if path.is_dir())
    files = {path.stem: path for path in sorted(folder.glob("*.py"))}
    if name not in files:
        raise ScenarioError(f"no scenario that ships is called {name}", f"there are the files {', '.join(files)}; secondsight list scenarios")
    return files[name]


@functools.cache
def shipped() -> dict[Path, list[Scenario]]:
    """Every file that ships, with its scenarios."""
    folder = shipped_file("two_devices").parent
    return {path: load_scenarios(path) for path in sorted(folder.glob("*.py"))}


def scenarios_of(name: str) -> tuple[Path, list[Scenario]]:
    """What a user names: a file of scenarios, a file that ships by its name, or a scenario that ships by its own."""
    path = Path(name)
    if path.suffix == ".py" or path.exists() or len(path.parts) != 1:
        return path, load_scenarios(path)
    for file, scenarios in shipped().items():
        if name == file.stem:
            return file, scenarios
        if mine := [one for one in scenarios if one.name == name]:
            return file, mine
    return path, load_scenarios(shipped_file(name))  # which says that there is none
