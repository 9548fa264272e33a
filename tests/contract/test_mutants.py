"""Every synchronising statement of the reference mirror is needed: delete one, and some adversary finds it.

The mutants are generated from the mirror's own source: each statement of `fault` and `invalidate` is deleted in turn (a
`with lock:` keeps its body). What survives must be in `NOT_SYNCHRONISING`, each with its reason.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from secondsight.contract import ADVERSARIES, check, load_drivers
from secondsight.devices import mirror
from secondsight.lang import LangError
from secondsight.search import Verdict

NOT_SYNCHRONISING: dict[str, str] = {}
"""Statements whose deletion breaks no rule, and why that is right."""


def tree() -> ast.ClassDef:
    found = ast.parse(inspect.getsource(mirror.Mirror)).body[0]
    assert isinstance(found, ast.ClassDef)
    return found


def bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Every list of statements within `fault` and `invalidate`."""
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.With | ast.If | ast.While):
            yield part.body
            yield getattr(part, "orelse", [])


def places() -> list[tuple[int, int]]:
    """Each statement to delete: which list, and where in it."""
    return [(i, k) for i, body in enumerate(bodies(tree())) for k, s in enumerate(body) if not skipped(s)]


def skipped(stmt: ast.stmt) -> bool:
    """Docstrings, what only says where control goes, and hold points, which are nothing. A test of one statement: that is deleted."""
    if isinstance(stmt, ast.If) and ast.unparse(stmt).startswith("if write:"):
        return True
    return isinstance(stmt, ast.Continue | ast.Return | ast.While | ast.FunctionDef) or (
        isinstance(stmt, ast.Expr) and (isinstance(stmt.value, ast.Constant) or ast.unparse(stmt).startswith("hold_point("))
    )


def name(place: tuple[int, int]) -> str:
    stmt = list(bodies(tree()))[place[0]][place[1]]
    return ast.unparse(stmt).splitlines()[0]


def written(made: ast.ClassDef) -> str:
    """A class as a file of its own, with the imports of the mirror's."""
    made.name = "Mutant"
    module = Path(inspect.getfile(mirror)).read_text()
    imports = [n for n in ast.parse(module).body if isinstance(n, ast.Import | ast.ImportFrom)]
    return "\n".join([*(ast.unparse(n) for n in imports), ast.unparse(ast.fix_missing_locations(made))]) + "\n"


def mutant(place: tuple[int, int]) -> str:
    """The mirror's source without one statement."""
    made = copy.deepcopy(tree())
    body = list(bodies(made))[place[0]]
    stmt = body[place[1]]
    if isinstance(stmt, ast.With):
        body[place[1] : place[1] + 1] = stmt.body
    elif isinstance(stmt, ast.Assign) and "read_begin" in ast.unparse(stmt):
        body[place[1]] = ast.parse("seq = self.notifier.invalidate_seq").body[0]  # the number without the wait
    else:
        body[place[1]] = ast.Pass()
    return written(made)


def is_caught(path: Path) -> bool:
    """Whether the mutant is refused, stopped by an error with its line, or broken by some adversary."""
    driver = load_drivers(path)[0]
    try:
        for adversary in dict.fromkeys(("munmap", "swap", *ADVERSARIES)):  # small ones first
            for checked in check(driver, [adversary]):
                if checked.result.verdict is not Verdict.HOLDS:
                    return True
    except LangError:
        return True
    return False


@pytest.mark.parametrize("place", places(), ids=name)
def test_deleting_a_statement_is_caught_unless_it_does_not_synchronise(place: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "mutant.py"
    path.write_text(mutant(place))
    assert is_caught(path) == (name(place) not in NOT_SYNCHRONISING), path.read_text()


def test_the_mirror_itself_survives_written_out_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "same.py"
    path.write_text(written(tree()))
    driver = load_drivers(path)[0]
    assert all(c.result.verdict is Verdict.HOLDS for c in check(driver, ["munmap", "oom-reaper", "madvise-dontneed"]))


def test_every_synchronising_statement_is_among_the_mutants() -> None:
    names = " ".join(name(p) for p in places())
    for statement in ("read_begin", "with self.lock", "read_retry", "set_seq", "unmap", "rng.blockable", "unlock", "lock.lock"):
        assert statement in names
