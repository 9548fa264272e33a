"""One direction of imports: each folder may import those above it in ARCHITECTURE.md, never below."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "secondsight"
ORDER = ["lang", "scenario", "search", "linux", "devices", "world", "contract", "kernels", "conform", "agree", "cases", "report", "claims", "machine", "testing", "pytest_plugin", "cli"]
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


TWICE = {
    "Machine": "the state as plain objects (lang), and the whole machine by hand, which a user imports from secondsight",
    "Heading": "a row's or column's name and summary: as report wants it (a Protocol), as cases have it",
    "HmmRange": "struct hmm_range, of 6.12 and of 2019",
    "DeviceMethods": "a device's operations, recorded and by hand: written from one declaration",
    "Result": "what an operation gives (linux), and a search",
    "Kind": "the kinds of analyses that share a base (lang/spread)",
    "Importer": "the handle in a scenario, and the small driver that it is on the model",
}
"""Class names that two modules have, and why."""


def test_a_class_name_means_one_thing() -> None:
    """Names of types too. Private ones, the worlds of conform's targets (each file has its own `World`, `Op`, ...) and texts are left out."""
    where: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name.startswith(("conform/targets/", "cli/templates/")):
            continue
        for node in ast.parse(path.read_text()).body:
            defined = node.name if isinstance(node, ast.ClassDef) else ""
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
            if isinstance(target, ast.Name) and not target.id.isupper():
                defined = target.id
            if defined[:1].isupper():
                where.setdefault(defined, []).append(name)
    several = {name: files for name, files in where.items() if len(files) > 1}
    assert set(several) == set(TWICE), {name: files for name, files in several.items() if name not in TWICE}
