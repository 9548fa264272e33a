"""Mutants of a driver, made by rule: what the adversaries do not notice is not needed, or not tried.

One change each, in a method of the driver's own class: a statement dropped, swapped with its neighbour, moved out of the lock that
it is under; a lock not taken, or one of several; a test negated. `try_mutant` says what comes of one: refused by the language, broken by an adversary, idle (no
access of its device succeeds any more, with any adversary; or a rule that is asked of its promise alone does not come to look, in
interleavings of which it does with the driver as it is), or surviving all of them. `try_before` says the same of one before judges of its own.
"""

from __future__ import annotations

import ast
import copy
import inspect
import linecache
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from secondsight.contract.adversaries import adversaries_for
from secondsight.contract.check import Rule, check, check_scenario, driver_program, load_drivers, rules_for
from secondsight.contract.runs import Seen, watch
from secondsight.devices.device import Device
from secondsight.lang.errors import LangError
from secondsight.scenario import Scenario
from secondsight.search import Result, Verdict
from secondsight.search.request import Request

__all__ = ["DriverMutant", "Judge", "Trial", "driver_mutants", "fate_in", "holds", "try_before", "try_mutant"]


@dataclass(frozen=True, slots=True)
class DriverMutant:
    """One change of a driver: the method and its line, the rule that made it, the statement, and what writes the whole file with it."""

    method: str
    line: int
    rule: str
    statement: str
    number: int
    written: Callable[[], str] = field(repr=False, compare=False)

    @property
    def text(self) -> str:
        """The whole file with the change. It takes much longer to write than to name."""
        return self.written()

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


def driver_mutants(driver: type[Any]) -> list[DriverMutant]:
    """All mutants of the methods that a driver's own class defines, in the order of its text. Raises `LangError` without one."""
    file = inspect.getsourcefile(driver)
    if file is None:
        raise LangError(f"{driver.__name__} has no source text; write the class in a file")
    linecache.checkcache(file)
    tree = ast.parse("".join(linecache.getlines(file)))
    numbers: dict[tuple[str, str], Iterator[int]] = {}
    mutants = []
    for method, rule, stmt, change in _changes(tree, driver.__name__):
        number = next(numbers.setdefault((method, rule), count(1)))
        mutants.append(DriverMutant(f"{driver.__name__}.{method}", stmt.lineno, rule, _first_line(stmt), number, partial(_written, tree, change)))
    return mutants


_Change = Callable[[ast.Module], None]


def _written(tree: ast.Module, change: _Change) -> str:
    """The text of a tree with a change."""
    changed = copy.deepcopy(tree)
    change(changed)
    return ast.unparse(ast.fix_missing_locations(changed)) + "\n"


def _changes(tree: ast.Module, name: str) -> Iterator[tuple[str, str, ast.stmt, _Change]]:
    """Of each change the method, the rule, the statement that it is about, and what makes it in a copy of the tree."""
    for method in _methods(tree, name):
        for place, body in enumerate(_bodies(method)):
            for at, stmt in enumerate(body):
                for rule, edit in _edits(body, at):
                    yield method.name, rule, stmt, _in_copy(name, method.name, place, at, edit)


def _in_copy(name: str, method: str, place: int, at: int, edit: Callable[[list[ast.stmt], int], None]) -> _Change:
    def change(copied: ast.Module) -> None:
        mine = next(one for one in _methods(copied, name) if one.name == method)
        edit(list(_bodies(mine))[place], at)

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
        if len(stmt.items) > 1:
            yield from (("without one of the locks", partial(_without_one, which)) for which in range(len(stmt.items)))
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


def _without_one(which: int, body: list[ast.stmt], at: int) -> None:
    held = body[at]
    assert isinstance(held, ast.With)
    del held.items[which]


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


@dataclass(frozen=True, slots=True)
class Judge:
    """Scenarios in which a driver holds, and the rules that it is judged by there; for one that the contract's adversaries break by design.

    `driver`: the mutated one, or one that is derived from it in the same file and goes its ways. `scenarios`: each with the name of who asks.
    """

    driver: type[Device]
    rules: tuple[Rule, ...]
    scenarios: tuple[tuple[str, Scenario], ...]


def try_mutant(
    driver: type[Device], mutant: DriverMutant, adversaries: Sequence[str] | None = None, request: Request | None = None, bounds: dict[str, int] | None = None
) -> Trial:
    """A mutant of `driver` against the adversaries, in their order, until one breaks it."""
    against = adversaries_for(driver)
    scenarios = tuple((name, scenario) for name in adversaries or against for scenario in against[name].scenarios)

    def fate(load: Callable[[type[Device]], type[Device]]) -> tuple[str, str]:
        changed = load(driver)
        rules = tuple(rules_for(changed))
        found = _fate(Judge(changed, rules, scenarios), request, bounds)
        own = [one for name, one in against.items() if one.promise == driver.promise and name in (adversaries or (name,))]
        asked = Judge(driver, rules, tuple((one.name, scenario) for one in own for scenario in one.scenarios))
        return _but_idle(found, asked, changed)

    return _trial(driver, mutant, fate)


def try_before(judges: Sequence[Judge], driver: type[Device], mutant: DriverMutant, request: Request | None = None) -> Trial:
    """A mutant of `driver` before judges of its own, in their order, until one notices it."""

    def fate(load: Callable[[type[Device]], type[Device]]) -> tuple[str, str]:
        fates = [("survives", "")]
        for judge in judges:
            changed = load(judge.driver)
            fates.append(_but_idle(_fate(replace(judge, driver=changed), request, None), judge, changed))
            if fates[-1][0] in ("broken", "refused"):
                return fates[-1]
        return next((one for one in fates if one[0] != "survives"), fates[0])

    return _trial(driver, mutant, fate)


def _trial(driver: type[Device], mutant: DriverMutant, fate: Callable[[Callable[[type[Device]], type[Device]]], tuple[str, str]]) -> Trial:
    """What `fate` says of the mutated file, from which it loads drivers."""
    with tempfile.TemporaryDirectory(prefix="secondsight-") as folder:
        path = Path(folder) / f"{Path(inspect.getfile(driver)).stem}.py"
        path.write_text(mutant.text, encoding="utf-8")
        try:
            changed = {one.__name__: one for one in load_drivers(path)}
            return Trial(mutant, *fate(lambda kind: changed[kind.__name__]))
        except LangError as error:
            return Trial(mutant, "refused", str(error))


def _fate(judge: Judge, request: Request | None, bounds: dict[str, int] | None) -> tuple[str, str]:
    """What becomes of a driver, and by whom."""
    unfinished, accessed = "", False
    for name, scenario in judge.scenarios:
        checked = check_scenario(judge.driver, name, scenario, judge.rules, request, None, bounds)
        accessed = accessed or checked.accessed
        fate, by = fate_in(name, checked.result)
        if fate == "not finished":
            unfinished = unfinished or by
        elif fate != "survives":
            return fate, by
    if unfinished:
        return "not finished", unfinished
    asked = any(place.op.declared.accesses for _, scenario in judge.scenarios for place in scenario.places())
    return ("survives", "") if accessed or not asked else ("idle", "no access of the device succeeds")


def fate_in(name: str, result: Result) -> tuple[str, str]:
    """What one search says of a mutant, and by whom; `name`: who asked."""
    if result.verdict is Verdict.BROKEN:
        assert result.violation is not None
        return "broken", f"{name}, {result.violation.rule}"
    if result.error is not None:
        return "refused", str(result.error)
    return ("survives", "") if result.verdict is Verdict.HOLDS else ("not finished", f"{name}, {result.reason}")


def _but_idle(found: tuple[str, str], judge: Judge, changed: type[Device]) -> tuple[str, str]:
    """What was found, or idle: it survives because a rule does not look that looks at the judge's driver as it is."""
    if found[0] == "survives" and (asleep := _silent(replace(judge, driver=changed)) - _silent(judge)):
        return "idle", f"nothing makes the rule {', '.join(sorted(asleep))} look"
    return found


def _silent(judge: Judge) -> set[str]:
    """The rules that are asked of a driver's promise alone and that nothing made look, in some interleavings of the judge's scenarios."""
    own = [rule for rule in judge.rules if rule.promises == (judge.driver.promise,)]
    if not own:
        return set()
    looking = {rule.name for rule in own}

    def look(number: int, seen: Seen) -> bool:
        looking.difference_update(rule.name for rule in own if any(seen.looked(probe) for probe in rule.probes))
        return not looking

    files = frozenset(probe.__code__.co_filename for rule in own for probe in rule.probes)
    for _, scenario in judge.scenarios:
        watch([[driver_program(judge.driver, scenario, own)]], files, look, lambda seen: True)
        if not looking:
            break
    return looking
