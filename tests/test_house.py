"""One direction of imports: each folder may import those above it in ARCHITECTURE.md, never below."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "secondsight"
ORDER = ["lang", "scenario", "search", "linux", "devices", "world", "contract", "kernels", "conform", "agree", "cases", "report", "machine", "testing", "pytest_plugin", "cli"]
"""From the foundation up. `search` knows `lang` alone; `report` renders results and traces of anything above it."""

ALSO_FORBIDDEN = {("linux", "search"), ("kernels", "contract"), ("kernels", "world"), ("linux", "scenario"), ("search", "scenario")}


def imports(path: Path) -> set[str]:
    """The parts of secondsight that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith("secondsight.")}
    return found


def test_nobody_imports_what_is_built_on_it() -> None:
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room not in ORDER:
            continue
        for other in imports(path):
            if other in ORDER and (ORDER.index(other) > ORDER.index(room) or (room, other) in ALSO_FORBIDDEN):
                wrong.append(f"{path.relative_to(SOURCE)} imports {other}")
    assert not wrong


def test_every_room_is_in_the_order() -> None:
    rooms = {p.name for p in SOURCE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert rooms <= set(ORDER)
