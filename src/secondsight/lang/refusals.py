"""All that a program's text is refused for, and not the first thing alone.

Lowering ends at the first refusal. Who tells it to a person asks for the others (`Refused.others`): the program is lowered once
more, and goes on behind each statement that is refused. A statement does not count that uses a local which a refused one was to
set, nor a call of a function that is refused itself, nor a second refusal in a line: they may be good when the first is mended.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from secondsight.lang import ir
from secondsight.lang.errors import LangError, Position, Refused
from secondsight.lang.frontend import Frontend
from secondsight.lang.functions import Functions
from secondsight.lang.machines import Machine
from secondsight.lang.records import Record
from secondsight.lang.statements import StatementLowering
from secondsight.lang.types import IntType

__all__ = ["other_refusals"]

_OURS = Path(__file__).parents[1]
_BLOCKS = ("body", "orelse")


def other_refusals(first: Refused, machine: Machine, entries: Sequence[tuple[Any, type[Record] | None]], rules: Iterable[Callable[..., Any]], holds: bool) -> list[Refused]:
    """What else a program is refused for, in the order of its files' lines."""
    frontend = _GoingOn(machine, rules, holds)
    with machine:
        for entry in entries:
            with suppress(LangError):
                frontend.instance(*entry, False)
    frontend.found.pop((first.where.file, first.where.line), None)
    return [frontend.found[place] for place in sorted(frontend.found)]


class _GoingOn(Frontend):
    """Lowers what it can; `found`: the refusals, by file and line."""

    def __init__(self, machine: Machine, rules: Iterable[Callable[..., Any]], holds: bool) -> None:
        super().__init__(machine, rules, holds)
        self.lowering = _LoweringOn
        self.found: dict[tuple[str, int], Refused] = {}
        self.refused: dict[tuple[Any, type[Record] | None, bool], LangError] = {}

    def instance(
        self, function: Any, receiver: type[Record] | None, is_atomic: bool, where: Position | None = None
    ) -> ir.Function:
        """As `Frontend.instance`; of a function that is refused the first refusal, each time that it is asked for."""
        key = (function, receiver, is_atomic)
        if key in self.refused:
            raise self.refused[key]
        try:
            return super().instance(function, receiver, is_atomic, where)
        except LangError as error:
            self.refused[key] = error
            raise

    def by_number(
        self, functions: Functions[Any], named: dict[int, Any], number: IntType, is_atomic: bool, where: Position
    ) -> ir.Function:
        """As `Frontend.by_number`, when each of the functions was looked at."""
        for one in named.values():
            with suppress(LangError):
                self.instance(one, None, is_atomic, where)
        return super().by_number(functions, named, number, is_atomic, where)

    def note(self, refusals: Iterable[LangError]) -> None:
        """Take up refusals, one a line. What the package's own text is refused for follows from the user's."""
        for one in refusals:
            if isinstance(one, Refused) and not Path(one.where.file).is_relative_to(_OURS):
                self.found.setdefault((one.where.file, one.where.line), one)


class _LoweringOn(StatementLowering):
    """Lowers one function, and goes on behind what is refused."""

    frontend: _GoingOn

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.refusals: list[LangError] = []
        self.unknown: set[str] = set()
        """Locals that a refused statement was to set."""

    def whole(self, is_atomic: bool) -> ir.Function:
        """Raises the first refusal, when all are noted."""
        made: ir.Function | None = None
        try:
            made = super().whole(is_atomic)
        except LangError as error:
            at_its_head = isinstance(error, Refused) and error.where.line == self.tree.lineno
            if not (self.refusals and at_its_head):  # that no value is returned, which a refused statement may have done
                self.refusals.append(error)
        if made is None or self.refusals:
            self.frontend.note(self.refusals)
            raise self.refusals[0]
        return made

    def statement(self, node: ast.stmt) -> None:
        """Lower one source statement, or note why not and go on within it."""
        out, exits, loops, depth, conditional = self.out, len(self.exits), len(self.loops), self.depth, self.conditional
        try:
            super().statement(node)
        except LangError as error:
            self.out, self.depth, self.conditional, self.pending = out, depth, conditional, None
            del self.exits[exits:], self.loops[loops:]
            names = list(_names_at(node))
            if not any(name.id in self.unknown for name in names if isinstance(name.ctx, ast.Load)):
                self.refusals.append(error)
            self.unknown |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
            self._within(node)

    def _within(self, node: ast.stmt) -> None:
        """Go on in the blocks of a statement that is refused itself."""
        is_loop = isinstance(node, (ast.While, ast.For))
        if is_loop:
            self.loops.append(len(self.exits))
        for block in _BLOCKS if isinstance(node, (ast.If, ast.While, ast.For, ast.With)) else ():
            self.block(getattr(node, block, []), [])
        if is_loop:
            self.loops.pop()


def _names_at(node: ast.AST) -> Iterator[ast.Name]:
    """The names in a statement, but for those in the statements within it."""
    if isinstance(node, ast.Name):
        yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt):
            yield from _names_at(child)
