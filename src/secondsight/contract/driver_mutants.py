"""Mutants of a driver, made by rule: what the adversaries do not notice is not needed, or not tried.

One change each, in a method of the driver's own class: a statement dropped, swapped with its neighbour, moved out of the lock that
it is under; a lock not taken; a test negated. `try_mutant` says what comes of one: refused by the language, broken by an adversary, idle (no
access of its device succeeds any more, with any adversary; or a rule that is asked of its promise alone does not come to look, in
interleavings of which it does with the driver as it is), or surviving all of them.
"""

from __future__ import annotations

import ast
import copy
import inspect
import linecache
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from secondsight.contract.adversaries import adversaries_for
from secondsight.contract.check import RULES, check, check_scenario, driver_program, load_drivers, rules_for
from secondsight.contract.runs import Seen, watch
from secondsight.devices.device import Device
from secondsight.lang.errors import LangError
from secondsight.search import Verdict
from secondsight.search.request import Request

__all__ = ["DriverMutant", "Trial", "driver_mutants", "holds", "try_mutant"]


@dataclass(frozen=True, slots=True)
class DriverMutant:
    """One change of a driver: the method and its line, the rule that made it, the statement, and the whole file with it."""

    method: str
    line: int
    rule: str
    statement: str
    text: str
    number: int

    @property
    def name(self) -> str:
        """The same as long as the method is: of which method, by which rule, the how manieth of these."""
        return f"{self.method}: {self.rule} {self.number}"


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a mutant: `fate` is refused, broken, idle, not finished or survives; `by` the adversary, with the rule, or the message."""

    mutant: DriverMutant
    fate: str
    by: str = ""


def driver_mutants(driver: type[Device]) -> list[DriverMutant]:
    """All mutants of the methods that a driver's own class defines, in the order of its text. Raises `LangError` without one."""
    file = inspect.getsourcefile(driver)
    if file is None:
        raise LangError(f"{driver.__name__} has no source text; write the class in a file")
    linecache.checkcache(file)
    tree = ast.parse("".join(linecache.getlines(file)))
    numbers: dict[tuple[str, str], Iterator[int]] = {}
    mutants = []
    for method, change, statement in _changes(tree, driver.__name__):
        changed = copy.deepcopy(tree)
        rule, line = change(changed)
        number = next(numbers.setdefault((method, rule), count(1)))
        text = ast.unparse(ast.fix_missing_locations(changed)) + "\n"
        mutants.append(DriverMutant(f"{driver.__name__}.{method}", line, rule, statement, text, number))
    return mutants


_Change = Callable[[ast.Module], tuple[str, int]]


def _changes(tree: ast.Module, name: str) -> Iterator[tuple[str, _Change, str]]:
    """Of each change the method, what makes it in a copy of the tree, and the statement that it is about."""
    for method in _methods(tree, name):
        for place, body in enumerate(_bodies(method)):
            for at, stmt in enumerate(body):
                for rule, edit in _edits(body, at):
                    yield method.name, _in_copy(name, method.name, place, at, rule, edit), _first_line(stmt)


def _in_copy(name: str, method: str, place: int, at: int, rule: str, edit: Callable[[list[ast.stmt], int], None]) -> _Change:
    def change(copied: ast.Module) -> tuple[str, int]:
        mine = next(one for one in _methods(copied, name) if one.name == method)
        body = list(_bodies(mine))[place]
        line = body[at].lineno
        edit(body, at)
        return rule, line

    return change


def _methods(tree: ast.Module, name: str) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield from (one for one in node.body if isinstance(one, ast.FunctionDef))


def _bodies(method: ast.FunctionDef) -> list[list[ast.stmt]]:
    """Every list of statements in a method, outer ones first."""
    bodies = []
    for node in ast.walk(method):
        for part in ("body", "orelse"):
            statements = getattr(node, part, None)
            if isinstance(statements, list) and statements and isinstance(statements[0], ast.stmt):
                bodies.append(statements)
    return bodies


def _first_line(stmt: ast.stmt) -> str:
    return ast.unparse(stmt).splitlines()[0]


# The rules.


def _edits(body: list[ast.stmt], at: int) -> Iterator[tuple[str, Callable[[list[ast.stmt], int], None]]]:
    """Each rule that fits a statement, with what it does to the list that it is in."""
    stmt = body[at]
    if _is_nothing(stmt):
        return
    if isinstance(stmt, ast.Expr | ast.Assign | ast.AugAssign):
        yield "drop", _drop
    if isinstance(stmt, ast.With):
        yield "without the lock", _without
        inside = [one for one in stmt.body if not _is_nothing(one)]
        if len(inside) > 1 and not isinstance(inside[0], ast.Return):
            yield "first out of the lock", _first_out
        if len(inside) > 1 and _is_simple(inside[-1]):
            yield "last out of the lock", _last_out
    if isinstance(stmt, ast.If):
        yield "negate", _negate
    if _is_simple(stmt) and any(_is_simple(other) for other in _after(body, at)[:1]):
        yield "swap", _swap


def _is_nothing(stmt: ast.stmt) -> bool:
    """Docstrings, and hold points, which are no step."""
    return isinstance(stmt, ast.Pass) or (
        isinstance(stmt, ast.Expr) and (isinstance(stmt.value, ast.Constant) or ast.unparse(stmt).startswith("hold_point("))
    )


def _is_simple(stmt: ast.stmt) -> bool:
    return isinstance(stmt, ast.Expr | ast.Assign | ast.AugAssign)


def _after(body: list[ast.stmt], at: int) -> list[ast.stmt]:
    return [one for one in body[at + 1 :] if not _is_nothing(one)]


def _drop(body: list[ast.stmt], at: int) -> None:
    body[at] = ast.Pass()


def _swap(body: list[ast.stmt], at: int) -> None:
    other = body.index(_after(body, at)[0])
    body[at], body[other] = body[other], body[at]


def _without(body: list[ast.stmt], at: int) -> None:
    held = body[at]
    assert isinstance(held, ast.With)
    body[at : at + 1] = held.body


def _first_out(body: list[ast.stmt], at: int) -> None:
    held = body[at]
    assert isinstance(held, ast.With)
    first = next(one for one in held.body if not _is_nothing(one))
    held.body.remove(first)
    body.insert(at, first)


def _last_out(body: list[ast.stmt], at: int) -> None:
    held = body[at]
    assert isinstance(held, ast.With)
    last = [one for one in held.body if not _is_nothing(one)][-1]
    held.body.remove(last)
    body.insert(at + 1, last)


def _negate(body: list[ast.stmt], at: int) -> None:
    tested = body[at]
    assert isinstance(tested, ast.If)
    test = tested.test
    tested.test = test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else ast.UnaryOp(ast.Not(), test)


# What comes of them.


def holds(driver: type[Device], adversaries: Sequence[str] | None = None, request: Request | None = None, bounds: dict[str, int] | None = None) -> bool:
    """Whether the driver holds as it is: else mutants say nothing. Raises `LangError` where it is broken; false: not finished."""
    finished = True
    for checked in check(driver, adversaries, None, request, None, bounds):
        if checked.result.violation is not None:
            raise LangError(f"{driver.__name__} is broken as it is ({checked.scenario}, {checked.result.violation.rule}): what is changed in it says nothing")
        finished = finished and checked.result.verdict is Verdict.HOLDS
    return finished


def try_mutant(
    driver: type[Device], mutant: DriverMutant, adversaries: Sequence[str] | None = None, request: Request | None = None, bounds: dict[str, int] | None = None
) -> Trial:
    """A mutant of `driver` against the adversaries, in their order, until one breaks it."""
    with tempfile.TemporaryDirectory(prefix="secondsight-") as folder:
        path = Path(folder) / f"{Path(inspect.getfile(driver)).stem}.py"
        path.write_text(mutant.text, encoding="utf-8")
        try:
            changed = next(one for one in load_drivers(path) if one.__name__ == driver.__name__)
            fate, by = _fate(changed, adversaries, request, bounds)
            if fate == "survives" and (asleep := _silent(changed, adversaries) - _silent(driver, adversaries)):
                fate, by = "idle", f"nothing makes the rule {', '.join(sorted(asleep))} look"
        except LangError as error:
            fate, by = "refused", str(error)
    return Trial(mutant, fate, by)


def _fate(driver: type[Device], adversaries: Sequence[str] | None, request: Request | None, bounds: dict[str, int] | None) -> tuple[str, str]:
    """What the adversaries make of a driver, and which of them."""
    unfinished, accessed = "", False
    watching = rules_for(driver)
    against = adversaries_for(driver)
    for name in adversaries or against:
        for scenario in against[name].scenarios:
            checked = check_scenario(driver, name, scenario, watching, request, None, bounds)
            result, accessed = checked.result, accessed or checked.accessed
            if result.verdict is Verdict.BROKEN:
                assert result.violation is not None
                return "broken", f"{name}, {result.violation.rule}"
            if result.error is not None:
                return "refused", str(result.error)
            if result.verdict is Verdict.NOT_FINISHED:
                unfinished = unfinished or f"{name}, {result.reason}"
    if unfinished:
        return "not finished", unfinished
    return ("survives", "") if accessed else ("idle", "no access of the device succeeds")


def _silent(driver: type[Device], adversaries: Sequence[str] | None) -> set[str]:
    """The rules that are asked of a driver's promise alone and that nothing made look, in some interleavings with the adversaries of
    that promise alone."""
    own = [rule for rule in RULES.values() if rule.promises == (driver.promise,)]
    against = [one for name, one in adversaries_for(driver).items() if one.promise == driver.promise and name in (adversaries or (name,))]
    if not own or not against:
        return set()
    looking = {rule.name for rule in own}

    def look(number: int, seen: Seen) -> bool:
        looking.difference_update(rule.name for rule in own if any(seen.looked(probe) for probe in rule.probes))
        return not looking

    files = frozenset(probe.__code__.co_filename for rule in own for probe in rule.probes)
    for scenario in (scenario for one in against for scenario in one.scenarios):
        watch([[driver_program(driver, scenario, own)]], files, look, lambda seen: True)
        if not looking:
            break
    return looking
