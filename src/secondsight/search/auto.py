"""One search for every caller: by the reference executor while it is small, by the native one when it has grown.

`auto` begins with the reference, which starts at once, and goes over to native code (from the beginning: both see the same
graph) when `SWITCH` states have been seen and a C compiler is there; sooner where the compiled code is there already. Results are the same either way; `Result.exact` says
whether whole states were compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.errors import LangError
from secondsight.lang.native import Native, is_ready
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.stored import has_python
from secondsight.search.bfs import breadth_first
from secondsight.search.native import native_search
from secondsight.search.result import Limits, Progress, Result
from secondsight.search.strategy import BreadthFirst, Strategy

__all__ = ["SWITCH", "Executor", "search", "why_not_native"]

Executor = Literal["auto", "reference", "native"]

SWITCH = 500_000
"""States after which `auto` goes over to native code: seconds of search, where compiling a driver takes one or two."""

SWITCH_READY = 2_000
"""The same where the compiled code is there already, from another program of the same shape: 20 ms of search."""


def switch_at(program: Program) -> int:
    """After how many states `auto` goes over, if there is a compiler.

    What was searched on the reference of one shape counts together. Where nothing has been lowered, because it is in the
    cache folder, and the rendered Python is not, native code starts sooner than the reference would.
    """
    if not is_ready(program):
        return max(min(SWITCH, SWITCH_READY), SWITCH - program.code.searched)
    return min(SWITCH, SWITCH_READY) if program.code.is_lowered or has_python(program.code) else 0


def why_not_native() -> str | None:
    """Why large searches run on the reference executor, in one line; None if they do not have to."""
    try:
        compiler()
    except CompilerMissing as error:
        return str(error)
    return None


def search(
    program: Program,
    executor: Executor = "auto",
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    watch: tuple[int, int] | None = None,
    *,
    deadlock: bool = True,
    lock_order: bool = True,
    progress: bool = False,
    workers: int | None = None,
    strategy: Strategy | None = None,
    exact: bool = False,
    collect: bool = False,
) -> Result:
    """Search a program's states; see `breadth_first` and `native_search` for what the arguments mean.

    Limits hold for both parts of an `auto` search together. Other strategies than breadth first, and `collect`, are the native
    executor's alone. Raises `CompilerMissing` where it is asked for and there is none.
    """
    limits, spent = limits or Limits(), 0.0
    missing = executor == "auto" and why_not_native()
    switch = 0 if executor != "auto" or missing else switch_at(program)
    native_only = collect or not isinstance(strategy or BreadthFirst(), BreadthFirst)
    if native_only and executor == "reference":
        raise LangError("the reference executor searches breadth first, up to the first broken rule: use the native executor")

    def tell(done: Progress) -> None:
        """How far the native part is, once it is further than the first part was."""
        if on_progress is not None and (spent == 0 or done.states > switch):
            on_progress(replace(done, seconds=done.seconds + spent))

    def slow(within: Limits) -> Result:
        found = breadth_first(
            Reference(program), within, on_progress, watch, deadlock=deadlock, lock_order=lock_order, progress=progress
        )
        program.code.searched += found.states
        return found

    def fast(native: Native, within: Limits) -> Result:
        return native_search(
            native, within, tell, watch, deadlock=deadlock, lock_order=lock_order, progress=progress,
            workers=workers, strategy=strategy, exact=exact, collect=collect,
        )  # fmt: skip

    if executor == "native" or native_only or (executor == "auto" and not missing and not switch):
        return fast(Native(program), limits)
    if executor == "reference" or missing or (limits.states is not None and limits.states <= switch):
        return slow(limits)
    begun = time.perf_counter()
    result = slow(replace(limits, states=switch))
    if result.reason != "states":
        return result
    try:
        native = Native(program)
    except KeyboardInterrupt:  # while it was compiled
        return replace(result, reason="interrupted", seconds=time.perf_counter() - begun)
    spent = time.perf_counter() - begun
    if limits.seconds is not None:
        limits = replace(limits, seconds=max(1e-3, limits.seconds - spent))
    result = fast(native, limits)
    return replace(result, seconds=result.seconds + spent)
