"""The reference executor, saying of every step what it called: with which arguments, and what came back.

It runs a program of its own, in which no function is put in the place of its calls (`Program.with_every_call`); that takes the same
steps with the same choices. So what a step calls is known in any state, where plain execution would have to run there from the start.
`tests/lang/test_traced.py` compares the two, event by event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from secondsight.lang import ir
from secondsight.lang.arrays import as_stored
from secondsight.lang.errors import LangError, Position
from secondsight.lang.program import Program
from secondsight.lang.records import Record, records_in
from secondsight.lang.reference import Reference, StepFunction, Successor
from secondsight.lang.render import PythonRenderer, PythonText
from secondsight.lang.types import IntType, ListType, RefType, TupleType, ValueType, resolve

__all__ = ["TracedEvent", "Traced"]


TracedEvent = tuple[str, int, tuple[Any, ...]]
"""A `call` of a function, by its number (`Traced.functions`), with its arguments; its `return`, with the value; a `free`, by the
number of its place (`Traced.places`). Arguments and values are as the executor counts them: see `Traced.given`, `Traced.came_back`."""


class _Renderer(PythonRenderer):
    """Writes the functions, with a note of each call, each return and each record that is freed."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.functions: dict[ir.Function, int] = {}
        self.places: list[Position] = []

    def entered(self, depth: int, function: ir.Function, arguments: list[str]) -> None:
        if function.source is not None:
            number = self.functions.setdefault(function, len(self.functions))
            self.out(depth, f"note(('call', {number}, ({''.join(f'{a}, ' for a in arguments)})))")

    def left(self, depth: int, function: ir.Function | None, value: str) -> str:
        if function is None or function.source is None:
            return value
        number = self.functions.setdefault(function, len(self.functions))
        self.out(depth, f"back = {value}")
        self.out(depth, f"note(('return', {number}, (back,)))")
        return "back"

    def freed(self, depth: int, where: Position) -> None:
        self.out(depth, f"note(('free', {len(self.places)}, ()))")
        self.places.append(where)


class Traced(Reference):
    """Runs a program's steps and says what each called; see the module. `program` is the one with every call."""

    def __init__(self, program: Program) -> None:
        self.events: list[TracedEvent] = []
        self.begun: list[tuple[TracedEvent, ...]] = []
        """By thread what it has called before its first step."""
        every = program.with_every_call()
        rendered, self.functions, self.places = every.code.keep("traced", lambda: _written(every))
        self.text: PythonText = rendered
        super().__init__(every)
        self.steps = [None if step is None else self._noting(step) for step in self.steps]
        self.records: dict[int, list[Record]] = {}
        for declaration in every.layout.declarations:
            for record in records_in(every.machine.state(declaration)):
                self.records.setdefault(every.layout.addresses[id(record)], []).append(record)

    def _rendered(self) -> PythonText:
        return self.text

    def enter(self, state: bytearray, index: int) -> None:
        """As `Reference.enter`, and note what the thread has called by then."""
        self.events.clear()
        super().enter(state, index)
        self.begun.append(tuple(self.events))

    def hooks(self) -> dict[str, Any]:
        return {"note": self.events.append}

    def traced_steps(self, state: bytes, thread: int) -> Iterator[tuple[Successor, tuple[TracedEvent, ...]]]:
        """The steps that one thread can take, each with what it called: in full, or up to the error that it ended in."""
        for way in self.thread_successors(state, thread):
            yield way, tuple(self.events)

    def _noting(self, step: StepFunction) -> StepFunction:
        """A step that begins with nothing noted: what was noted by one that blocked is forgotten."""
        events = self.events

        def run(state: Any, base: int, number: int) -> Any:
            events.clear()
            return step(state, base, number)

        return run

    # What the numbers stand for.

    def given(self, function: ir.Function, values: tuple[Any, ...]) -> dict[str, Any]:
        """A call's arguments by the names of the parameters, as the function's author has them."""
        parts: dict[str, Any] = {}
        whole: dict[str, dict[str, Any]] = {}
        for var, value in zip(function.params, values, strict=True):
            name, dot, part = var.name.partition(".")
            if dot:
                parts.setdefault(name, whole.setdefault(name, {}))
                whole[name][part] = self.value(value, var.type)
            else:
                parts[name] = self.value(value, var.type)
        hints = self.program.frontend.hints(function.source)
        for name, fields in whole.items():
            kind = resolve(hints[name])
            if isinstance(kind, ValueType):
                parts[name] = kind.value(**fields)
            else:
                parts[name] = [fields[str(i)] for i in range(int(fields["len"]))]
        return parts

    def came_back(self, function: ir.Function, value: Any) -> Any:
        """What a call returned, as its author has it."""
        kind = function.result
        if kind is None or isinstance(kind, (IntType, RefType)):
            return None if kind is None else self.value(value, kind)
        parts = {name: self.value(v, k) for (name, k), v in zip(kind.parts, value, strict=True)}
        if isinstance(kind.form, ValueType):
            return kind.form.value(**parts)
        if isinstance(kind.form, TupleType):
            return tuple(parts.values())
        assert isinstance(kind.form, ListType)
        return [parts[str(i)] for i in range(int(parts["len"]))]

    def value(self, number: int, kind: Any) -> Any:
        """One number as a value of its type."""
        if isinstance(kind, RefType):
            return self.record(number, kind.record)
        return as_stored(kind, number)

    def record(self, address: int, kind: type[Record]) -> Record | None:
        """The record of a class, or below it, at an address: an embedded first field has its record's."""
        if address == 0:
            return None
        found = next((r for r in self.records.get(address, ()) if isinstance(r, kind)), None)
        if found is None:
            raise LangError(f"no {kind.__name__} lies at {address}")
        return found


def _written(program: Program) -> tuple[PythonText, list[ir.Function], list[Position]]:
    renderer = _Renderer(program)
    text = renderer.whole()
    return text, list(renderer.functions), renderer.places
