"""The reference executor: the checked program rendered to Python functions over a flat state.

`Reference` runs the functions that `lang.render` writes and makes every possible step from a state.
`Reference.source` is the rendered text, names kept, a comment for each step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from secondsight.lang import stored, support
from secondsight.lang.errors import LangError, ModelError, RuleBroken
from secondsight.lang.program import Program
from secondsight.lang.render import PythonText, render

__all__ = ["Reference", "StepFunction", "Successor"]


@dataclass(frozen=True, slots=True)
class Successor:
    """One step that can be taken: by which thread, with which choices, to which state; or the error it ends in."""

    thread: int
    choices: tuple[int, ...]
    state: bytes | None
    error: LangError | None = None


_DEPTH = 20 * support.MAX_PIECES

StepFunction = Callable[[Any, int, int], Any]


class Reference:
    """Runs a checked program's steps; see the module."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.rendered = program.code.keep("python", self._rendered)
        layout, rendered = program.layout, self.rendered
        self.choices = support.Choices()
        self.namespace: dict[str, Any] = {
            **support.functions(rendered.sites, self.choices),
            **self.hooks(),
            **{name: program.row(table) for table, name in rendered.tables.items()},
            "REF": layout.to_offset, "NUM": layout.to_number, "Blocked": support.Blocked,
        }  # fmt: skip
        for piece in rendered.compiled:
            exec(piece, self.namespace)
        if any("again" in c.co_names for piece in rendered.compiled for c in piece.co_consts if isinstance(c, CodeType)):
            sys.setrecursionlimit(max(sys.getrecursionlimit(), _DEPTH))  # each piece of such a loop calls the next
        self.steps: list[StepFunction | None] = [None, *(self.namespace[f"p{i + 1}"] for i in range(len(program.code.places)))]
        self.threads = [(i, base, i + 1) for i, base in enumerate(program.bases)]
        self.wide = program.counter_width == 2
        self.initial = self._initial()

    def hooks(self) -> dict[str, Any]:
        """What the rendered text calls besides."""
        return {}

    def _rendered(self) -> PythonText:
        """The rendered text: from the cache folder, or written now."""
        code = self.program.code
        found = stored.find_python(code)
        if found is not None:
            text, sites, tables = found
            return PythonText("", sites, tables, text)
        made = render(self.program)
        stored.keep_python(code, made.compiled, made.sites, made.tables)
        return made

    @property
    def source(self) -> str:
        """The rendered text."""
        return self.rendered.text or render(self.program).text

    def _initial(self) -> bytes:
        """Every thread run to its first boundary; that part must touch nothing shared."""
        state = bytearray(self.program.blank())
        for index in range(len(self.threads)):
            self.enter(state, index)
        return bytes(state)

    def enter(self, state: bytearray, index: int) -> None:
        """Run a thread to its first boundary."""
        (_, base, number), (root, arguments), thread = self.threads[index], self.program.roots[index], self.program.threads[index]
        values = [self.program.argument(thread, v, p) for v, p in zip(arguments, root.params, strict=True)]
        try:
            result = self.namespace[f"e{root.number}"](state, base, number, *values)
        except RecursionError:
            raise ModelError(f"thread {thread.name}: a loop without a step boundary does not end") from None
        if result is None:
            raise ModelError(f"thread {thread.name} blocks before its first step")

    def counter(self, state: bytes, thread: int) -> int:
        """The program counter of a thread (0: ended)."""
        base = self.program.bases[thread]
        return state[base] << 8 | state[base + 1] if self.wide else state[base]

    def successors(self, state: bytes) -> list[Successor]:
        """Every step that can be taken from a state, in the order of threads and choices."""
        return [s for index in range(len(self.threads)) for s in self.thread_successors(state, index)]

    def thread_successors(self, state: bytes, thread: int) -> Iterator[Successor]:
        """The steps that one thread can take."""
        error: LangError | None
        step = self.steps[self.counter(state, thread)]
        if step is None:
            return
        _, base, number = self.threads[thread]
        choices = self.choices
        if choices.script:
            choices.reset()  # whoever took steps before may have had enough of them
        while True:
            try:
                result, error = step(state, base, number), None
            except support.Blocked:
                result = error = None
            except RecursionError:
                error = ModelError("a loop without a step boundary does not end")
            except (ModelError, RuleBroken) as raised:
                error = raised
            script = tuple(choices.script)
            if error is not None:
                yield Successor(thread, script, None, error)
            elif result is not None:
                yield Successor(thread, script, bytes(result))
            if not choices.script or not choices.advance():
                break
        choices.reset()

    def finished(self, state: bytes) -> bool:
        """Whether every thread that is not a daemon has ended."""
        return all(t.daemon or not self.counter(state, i) for i, t in enumerate(self.program.threads))
