"""Mutants of what a table's cells are made of by hand: exporters and drivers that the contract's adversaries are not for.

A mutant is a class derived from the design that has the changed method: whoever names the design by its class takes it for one. It is noticed when the
language refuses it, when a cell that holds does not hold any more, or when nothing happens any more that the cells are about (idle).
"""

from __future__ import annotations

import ast
import inspect
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secondsight.cases.table import CaseTable, search_cell
from secondsight.contract.check import driver_program, import_file
from secondsight.contract.driver_mutants import DriverMutant, Trial, driver_mutants, fate_in
from secondsight.contract.runs import Seen, watch
from secondsight.lang.errors import LangError, RuleBroken
from secondsight.lang.program import Program
from secondsight.scenario import Scenario
from secondsight.search import Limits, Request, Verdict

__all__ = ["MutatedDesign", "DesignCell", "holding", "mutants_of", "of_scenario", "soon", "try_design"]


@dataclass(frozen=True, slots=True)
class DesignCell:
    """A cell that holds: `base` is the design or derives from it, and `program` makes the cell with another class in its place.

    `looks`: a probe that looks in some interleavings; where it does not with a mutant, the mutant is idle.
    """

    table: CaseTable
    row: str
    column: str
    base: type
    program: Callable[[type], Program]
    looks: Callable[..., Any] | None = None

    def calls(self, kind: type, method: str) -> bool:
        """Whether the method that is called here is `kind`'s, and not that of a class between."""
        return inspect.getattr_static(self.base, method) is vars(kind)[method]


@dataclass(frozen=True, slots=True)
class MutatedDesign:
    """A class whose methods are changed, and the cells that it is judged in.

    `part`: the field of a cell's class in which the class is, where it is a record within another.
    """

    kind: type
    cells: tuple[DesignCell, ...]
    part: str = ""

    def places(self, method: str) -> list[DesignCell]:
        """The cells in which a method of the class is the one that is called."""
        return [cell for cell in self.cells if self.part or cell.calls(self.kind, method)]


_NAME = "Mutant"


def _changed(design: MutatedDesign, base: type, mutant: DriverMutant, folder: Path) -> type:
    """A class derived from `base` that has the mutant's method of the design, or of a part of it. Raises `LangError` for one outside the language."""
    path = folder / f"{base.__name__}.py"
    path.write_text(_derived(design, base, mutant), encoding="utf-8")
    changed = vars(import_file(path))[_NAME]
    assert isinstance(changed, type)
    return changed


def _derived(design: MutatedDesign, base: type, mutant: DriverMutant) -> str:
    """A file with that class, and all names that the method's own file has."""
    kind = design.kind
    tree = ast.parse(mutant.text)
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    own = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    own += [target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name) and target.id != "__all__"]
    own += [node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    imports.append(f"from {kind.__module__} import {', '.join(own)}")
    if base.__name__ not in own:
        imports.append(f"from {base.__module__} import {base.__name__}")
    of = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    method = next(node for node in of.body if isinstance(node, ast.FunctionDef) and node.name == _method(mutant))
    body = "\n".join(f"    {line}" for line in ast.unparse(method).splitlines())
    head = "\n".join(imports) + "\n\n\n"
    if design.part:
        return f"{head}class {_NAME}Part({kind.__name__}):\n{body}\n\n\nclass {_NAME}({base.__name__}):\n    {design.part}: {_NAME}Part\n"
    return f"{head}class {_NAME}({base.__name__}):\n{body}\n"


def _method(mutant: DriverMutant) -> str:
    return mutant.method.partition(".")[2]


def mutants_of(design: MutatedDesign) -> list[DriverMutant]:
    """The mutants of a design's class, but for those of methods that all its cells have others for: nothing would be changed there."""
    return [one for one in driver_mutants(design.kind) if design.places(_method(one))]


def try_design(design: MutatedDesign, mutant: DriverMutant, states: int = 5_000_000) -> Trial:
    """A mutant before the cells, in their order, until one notices it."""
    unfinished, asleep = "", False
    changed: dict[type, type] = {}
    with tempfile.TemporaryDirectory(prefix="secondsight-") as folder:
        try:
            for cell in design.places(_method(mutant)):
                if cell.base not in changed:
                    changed[cell.base] = _changed(design, cell.base, mutant, Path(folder))
                fate, by = _fate(cell, changed[cell.base], states)
                if fate not in ("survives", "not finished", "idle"):
                    return Trial(mutant, fate, by)
                unfinished = unfinished or (by if fate == "not finished" else "")
                asleep = asleep or fate == "idle"
        except LangError as error:
            return Trial(mutant, "refused", str(error))
    if asleep:
        return Trial(mutant, "idle", "what the cells are about does not happen")
    return Trial(mutant, "not finished" if unfinished else "survives", unfinished)


def _fate(cell: DesignCell, changed: type, states: int) -> tuple[str, str]:
    """What one cell says of a mutant, and its column."""
    try:
        cell.program(changed)
    except RuleBroken as error:
        return "broken", f"{cell.column}, {error.rule} while the machine is set up"
    except AssertionError:
        return "broken", f"{cell.column}, assertion while the machine is set up"
    except NameError as error:  # it is set up before the language looks
        return "refused", str(error)
    table = replace(cell.table, program=lambda _row, _column: cell.program(changed))
    result = search_cell(table, cell.row, cell.column, Request(limits=Limits(states=states))).result
    assert result is not None
    fate, by = fate_in(cell.column, result)
    if fate == "survives" and cell.looks is not None and not _looks(cell.looks, cell.program(changed)):
        return "idle", by
    return fate, by


def _looks(probe: Callable[..., Any], program: Program) -> bool:
    """Whether a probe looks, in some interleavings."""

    def looked(number: int, seen: Seen) -> bool:
        return seen.looked(probe)

    (seen,) = watch([[program]], frozenset({probe.__code__.co_filename}), looked, lambda seen: True)
    return looked(0, seen)


def of_scenario(driver: type, scenario: Scenario) -> Program:
    """A driver of a table with scenarios, and one of them."""
    return driver_program(driver, scenario)


def holding(table: CaseTable, row: str) -> list[str]:
    """The columns in which a row holds."""
    return [column.name for column in table.columns if table.expected.get((row, column.name)) is Verdict.HOLDS]


def soon(table: CaseTable) -> CaseTable:
    """The table where its cells' code is not made first: a mutant's is its own, and most cells have few states."""
    return replace(table, executor=lambda _row, _column: "auto")
