"""The pictures of the documents are what the project is now."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HOUSE = Path(__file__).parent.parent.parent
SOURCE = HOUSE / "src" / "secondsight"


def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", HOUSE / "site" / "pictures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["steps.svg", "house.svg"])
def test_a_picture_is_as_it_would_be_drawn_now(name: str) -> None:
    made = pictures()
    assert sorted(made.PICTURES) == ["house.svg", "steps.svg"]
    assert (HOUSE / "docs" / "pictures" / name).read_text() == made.PICTURES[name](), "`make docs` draws it"


def test_the_house_has_every_folder_above_those_that_it_uses() -> None:
    sys.path.insert(0, str(HOUSE / "tests"))
    try:
        from test_house import imports
    finally:
        sys.path.pop(0)
    level = {name: number for number, (_, rooms) in enumerate(pictures().ROWS) for name, _ in rooms}
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders <= set(level)
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0]
        for other in imports(path) if room in level else ():
            other = other if other in level else f"{other}.py"
            if other in level and level[other] < level[room]:
                wrong.append(f"{path.relative_to(SOURCE)} imports {other}")
    assert not wrong


def test_the_example_is_the_documents() -> None:
    assert (HOUSE / "examples" / "counts.py").read_text() in (HOUSE / "docs" / "how-it-works.md").read_text()
