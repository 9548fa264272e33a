"""The native executor: the checked program compiled to machine code.

`Native` has the interface of `lang.reference.Reference` (`initial`, `successors`, `counter`, `finished`), so that the two
can be compared state by state; the search itself runs in `search/engine.c`, which is compiled once for all models with states of one
size (`search.native`). A program's tables and its threads' arguments are handed over at run time, so scenarios that differ only in
these share one library.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources

from secondsight.lang import stored
from secondsight.lang.compiler import Library, kept_library, load, settings
from secondsight.lang.errors import (
    BadIndex,
    FreedTwice,
    LangError,
    LeftRange,
    ModelError,
    NoneFollowed,
    OutOfRecords,
    Position,
    RuleBroken,
    TooLarge,
    UseAfterFree,
)
from secondsight.lang.movers import Reductions
from secondsight.lang.program import Program
from secondsight.lang.reference import Successor
from secondsight.lang.render_c import CText, prelude, render_c
from secondsight.lang.symmetry import Symmetry

__all__ = ["Native", "StepResult"]

MAX_CHOICES = 64

ROOM = 512
"""Bytes of the largest states that the engine for states of any size has room for."""

(
    RULE, RANGE, INDEX, NONE, CLASS, DIVISION, SHIFT, NOT_IN_ARRAY, FULL, FREED, NO_CHOICE, ROUNDS, CHOICES, STALE, TOO_LARGE,
    AFTER_FREE, NOT_ALLOCATED,
) = range(1, 18)  # fmt: skip


class StepResult(ctypes.Structure):
    """`ss_x` of the rendered text: how a step stopped, and the choices it made."""

    _fields_ = [
        ("stop", ctypes.c_int32), ("kind", ctypes.c_int32), ("site", ctypes.c_int32),
        ("value", ctypes.c_int64), ("low", ctypes.c_int64), ("high", ctypes.c_int64),
        ("made", ctypes.c_int32), ("at", ctypes.c_int32),
        ("script", ctypes.c_int32 * MAX_CHOICES), ("sizes", ctypes.c_int32 * MAX_CHOICES), ("round", ctypes.c_int32), ("rounds", ctypes.c_int32),
    ]  # fmt: skip


ENGINE = (
    "engine.c", "engine_edges.c", "engine_store.c", "engine_steps.c", "engine_bounds.c", "engine_phases.c", "engine_peel.c",
    "engine_progress.c", "engine_walks.c", "engine_search.c",
)  # fmt: skip


def stride(size: int) -> int:
    """The bytes that the engine keeps a state in: few sizes, so that few engines are compiled."""
    whole = 8 if size <= 64 else 16
    return -(-size // whole) * whole


@functools.cache
def _engine() -> str:
    folder = resources.files("secondsight.search")
    return "".join(folder.joinpath(name).read_text() for name in ENGINE)


def engine_text(size: int, hasty: bool = False) -> str:
    """The C text of the search engine, for states of this size. `hasty`: one for nearly all sizes, which a search takes a tenth longer with."""
    kept_in = f"ROOM {ROOM}" if hasty and size <= ROOM else f"STRIDE {stride(size)}"
    return f"#define {kept_in}\n{_engine()}"


def load_model(program: Program, text: str, hasty: bool = False) -> Library:
    """The library of a model's text, with the engine for it."""
    return load(text, prelude() + engine_text(program.size, hasty), hasty)


def is_ready(program: Program) -> bool:
    """Whether a compiled library of a program, without reductions, is there: in this process, or in the cache folder."""
    return any(_is_known(program, _form(Reductions.none(), None, hasty)) for hasty in (False, True))


def _is_known(program: Program, form: tuple[object, ...]) -> bool:
    return form in program.code.made or repr(form) in program.code.texts


def _form(reductions: Reductions, symmetry: Symmetry | None, hasty: bool) -> tuple[object, ...]:
    """What a library depends on beside the code."""
    return "library", f"{reductions} {symmetry and symmetry.name}{' hasty' if hasty else ''}", settings()


class Native:
    """A checked program as machine code; see the module. Raises `CompilerMissing` or `LangError` from the compiler.

    `hasty`: compiled without much care (`compiler.load`), unless code that was made with care is there.
    """

    def __init__(
        self, program: Program, reductions: Reductions | None = None, symmetry: Symmetry | None = None, hasty: bool = False
    ) -> None:
        self.program, self.reductions, self.symmetry = program, reductions or Reductions.none(), symmetry
        form = _form(self.reductions, symmetry, False)
        hasty = hasty and not _is_known(program, form)
        if hasty:
            form = _form(self.reductions, symmetry, True)
        self.hasty = hasty
        self.rendered, self.library = program.code.keep(form, lambda: self._compiled(repr(form), hasty))
        self.result_size = self.library.ss_size_of_x()
        if self.result_size < ctypes.sizeof(StepResult):
            raise LangError("the compiled model does not fit this version")
        self.threads = [(i, base, i + 1) for i, base in enumerate(program.bases)]
        self._tables = []
        for name in self.rendered.tables:
            row = program.row(name)
            self._tables.append((ctypes.c_int64 * max(1, len(row)))(*row))
        with self.alone():
            self.initial = self._initial()

    def _compiled(self, name: str, hasty: bool) -> tuple[CText, Library]:
        """The library, and what its text says: from the cache folder, or written and compiled now."""
        code = self.program.code
        kept = code.texts.get(name)
        library = None if kept is None else kept_library(kept["library"])
        if kept is not None and library is not None:
            sites = [(Position(*where), what) for where, what in kept["sites"]]
            rules, bounds = [(rule, said) for rule, said in kept["rules"]], [(bound, size) for bound, size in kept["bounds"]]
            return CText("", sites, rules, bounds, kept["tables"]), library
        text = render_c(self.program, self.reductions, self.symmetry)
        library = load_model(self.program, text.text, hasty)
        places = [[[w.file, w.line, w.column], what] for w, what in text.sites]
        code.texts[name] = {
            "library": library.name, "sites": places, "rules": text.rules, "bounds": text.bounds, "tables": text.tables,
        }  # fmt: skip
        code.changed = True
        stored.keep(code)
        return text, library

    @property
    def source(self) -> str:
        """The model as C text."""
        return self.rendered.text or render_c(self.program, self.reductions, self.symmetry).text

    def bind(self) -> None:
        """Hand the program's tables to the library: before every use, for another program may share it."""
        if self.library.tables is self._tables:
            return
        self.library.tables = self._tables
        for i, name in enumerate(self.rendered.tables):
            self.library.ss_set_table(i, self._tables[i], ctypes.c_int64(len(self.program.row(name))))
        self.library.ss_set_daemons(sum(1 << i for i, t in enumerate(self.program.threads) if t.daemon))
        if self.symmetry is not None and self.symmetry.threads is not None:
            self.symmetry.threads.tell(self.library)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block the library works for this program only: others that share it wait."""
        with self.library.lock:
            self.bind()
            yield

    def _step_result(self) -> StepResult:
        """Room for what a step leaves behind: with reductions the rendered structure goes on behind the public part."""
        return StepResult.from_buffer(ctypes.create_string_buffer(self.result_size))

    def is_stale(self) -> bool:
        """Whether a reduction guessed wrong since its search began: what was found is void, and the search begins again."""
        return (self.reductions.merge and bool(self.library.ss_is_stale())) or self.moved() != 0

    def may_rest(self) -> int:
        """The counters of which a search may take it that they never go on, a bit for each (`lang.canonical_sequences`)."""
        return int(self.library.ss_may_rest()) if self._counts else 0

    def rest(self, counters: int) -> None:
        """Take it that these counters never go on, in all that the library does from now on."""
        if self._counts:
            self.library.ss_rest(self.initial, ctypes.c_uint32(counters))

    def moved(self) -> int:
        """Those of them that have gone on, in a state that was looked at."""
        return int(self.library.ss_moved()) if self._counts else 0

    @property
    def _counts(self) -> bool:
        return self.symmetry is not None and self.symmetry.sequences is not None

    def _initial(self) -> bytes:
        program = self.program
        whole = program.blank()
        state = ctypes.create_string_buffer(whole, len(whole))
        for (index, base, number), (root, arguments) in zip(self.threads, program.roots, strict=True):
            thread = program.threads[index]
            values = [program.argument(thread, v, p) for v, p in zip(arguments, root.params, strict=True)]
            row = (ctypes.c_int64 * max(1, len(values)))(*values)
            result = self._step_result()
            done = self.library.ss_enter(
                state, root.number, ctypes.c_int64(base), ctypes.c_int64(number), row, ctypes.byref(result)
            )
            if result.stop == 2:
                raise self.error(result.kind, result.site, result.value, result.low, result.high)
            if done != 1 or result.stop:
                raise ModelError(f"thread {thread.name} blocks before its first step")
        return state.raw

    def error(self, kind: int, site: int, value: int, low: int, high: int) -> LangError:
        """The named error that a step ended in."""
        where, name = self.rendered.sites[site] if site >= 0 else (None, "")
        if kind == RULE:
            rule, message = self.rendered.rules[value]
            return RuleBroken(rule, message, where)
        if kind == RANGE:
            return LeftRange(name, value, low, high, where)
        if kind == INDEX:
            return BadIndex(name, value, high, where)
        if kind == NONE:
            return NoneFollowed(name, where)
        if kind == AFTER_FREE:
            return UseAfterFree(name, where)
        if kind == FREED:
            return FreedTwice(where)
        if kind == TOO_LARGE:
            return TooLarge(name, where)
        if kind == FULL:
            bound = self.rendered.bounds[low - 1][0] if low else name
            return OutOfRecords(bound, value, where)
        said = {
            CLASS: f"{name} is a record of another class", DIVISION: "division by zero", SHIFT: f"a shift by {value} bits",
            NOT_IN_ARRAY: "index(): the record is not in this array", NOT_ALLOCATED: "a record of a pool is freed that was never allocated",
            NO_CHOICE: "choose() has nothing to choose from",
            CHOICES: (
                f"more than {MAX_CHOICES} choices in one step", "more than 8192 steps from one state", "choose() among more than 2147483647",
            )[value if kind == CHOICES else 0],
            ROUNDS: f"a loop without a step boundary went round {value} times",
        }  # fmt: skip
        return ModelError(said[kind], where if isinstance(where, Position) else None)

    def counter(self, state: bytes, thread: int) -> int:
        """The program counter of a thread (0: ended)."""
        base = self.program.bases[thread]
        return int.from_bytes(state[base : base + self.program.counter_width], "big")

    def successors(self, state: bytes) -> list[Successor]:
        """Every step that can be taken from a state, in the order of threads and choices."""
        return [s for index in range(len(self.threads)) for s in self.thread_successors(state, index)]

    def thread_successors(self, state: bytes, thread: int) -> Iterator[Successor]:
        """The steps that one thread can take."""
        if not self.counter(state, thread):
            return
        result, room = self._step_result(), ctypes.create_string_buffer(len(state))
        while True:
            with self.alone():
                done = self.library.ss_one_step(state, room, thread, ctypes.byref(result))
            choices = tuple(result.script[: result.made])
            if done < 0:
                error = self.error(result.kind, result.site, result.value, result.low, result.high)
                yield Successor(thread, choices, None, error)
            elif done:
                yield Successor(thread, choices, room.raw)
            if not result.made or not self.library.ss_next_choices(ctypes.byref(result)):
                return

    def form(self, state: bytes) -> bytes:
        """What a state is known by: of states that are the same up to renaming one, if anything is renamed."""
        if self.symmetry is None:
            return state
        room = ctypes.create_string_buffer(state, len(state))
        self.library.ss_canonical(room, -1)
        return room.raw

    def exchanged(self, state: bytes, one: int, other: int) -> bytes:
        """A state with two equal threads exchanged."""
        room = ctypes.create_string_buffer(state, len(state))
        with self.alone():
            self.library.ss_swap_threads(room, one, other)
        return room.raw

    def finished(self, state: bytes) -> bool:
        """Whether every thread that is not a daemon has ended."""
        return all(t.daemon or not self.counter(state, i) for i, t in enumerate(self.program.threads))
