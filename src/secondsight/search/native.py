"""Breadth-first search by the native engine: the same graph, verdict and trace as `search.bfs`, at the speed of compiled code."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable

from secondsight.lang.errors import LangError, ModelError, NoneFollowed, RuleBroken
from secondsight.lang.native import MAX_CHOICES, Native
from secondsight.search.messages import deadlock_message
from secondsight.search.result import Limits, Progress, Result, Step, Trace, Verdict, Violation

__all__ = ["native_search"]

_REASONS = {1: "states", 2: "seconds", 3: "memory", 4: "interrupted"}


class _Run(ctypes.Structure):
    """The public part of `ss_run` in search/engine.c; what is behind it is the engine's own."""

    _fields_ = [
        ("initial", ctypes.c_char_p),
        ("max_states", ctypes.c_uint64), ("max_memory", ctypes.c_uint64), ("max_seconds", ctypes.c_double),
        ("workers", ctypes.c_int32), ("watch_from", ctypes.c_int32), ("watch_to", ctypes.c_int32), ("deadlock", ctypes.c_int32),
        ("states", ctypes.c_uint64), ("transitions", ctypes.c_uint64), ("frontier", ctypes.c_uint64), ("depth", ctypes.c_uint64),
        ("seconds", ctypes.c_double), ("ask_stop", ctypes.c_int32),
        ("reason", ctypes.c_int32), ("violated", ctypes.c_int32), ("thread", ctypes.c_int32),
        ("failed_kind", ctypes.c_int32), ("failed_site", ctypes.c_int32),
        ("failed_value", ctypes.c_int64), ("failed_low", ctypes.c_int64), ("failed_high", ctypes.c_int64),
        ("choices_made", ctypes.c_int32), ("choices", ctypes.c_int32 * MAX_CHOICES),
        ("trace_length", ctypes.c_uint32), ("trace", ctypes.POINTER(ctypes.c_uint16)),
        ("outcomes", ctypes.POINTER(ctypes.c_uint8)), ("outcome_count", ctypes.c_uint64), ("bytes", ctypes.c_uint64),
    ]  # fmt: skip


def native_search(
    native: Native,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    watch: tuple[int, int] | None = None,
    deadlock: bool = True,
    workers: int | None = None,
) -> Result:
    """As `search.breadth_first`, with `workers` threads (default: one for each core).

    States are remembered by 64-bit fingerprints; `Result.missed` is the expected number of states taken for another. With
    several workers a violation is looked for once more with one, so that the trace is always the same one.
    """
    wanted = workers or len(os.sched_getaffinity(0))
    result = _once(native, limits or Limits(), on_progress, watch, deadlock, wanted)
    if wanted > 1 and result.verdict is Verdict.BROKEN:
        return _once(native, limits or Limits(), on_progress, watch, deadlock, 1)
    return result


def _once(
    native: Native,
    limits: Limits,
    on_progress: Callable[[Progress], None] | None,
    watch: tuple[int, int] | None,
    deadlock: bool,
    workers: int,
) -> Result:
    native.bind()
    size = native.library.ss_size_of_run()
    memory = ctypes.create_string_buffer(size + 64)
    run = _Run.from_buffer(memory)
    run.initial = native.initial
    run.max_states, run.max_memory = limits.states or 0, limits.memory or 0
    run.max_seconds = limits.seconds or 0.0
    run.workers, run.deadlock = workers, int(deadlock)
    run.watch_from, run.watch_to = watch or (0, 0)
    worker = threading.Thread(target=native.library.ss_search, args=(ctypes.byref(run),), daemon=True)
    worker.start()
    while worker.is_alive():
        try:
            worker.join(0.1)
            if on_progress is not None and worker.is_alive():
                on_progress(Progress(run.states, run.transitions, run.frontier, run.depth, run.seconds))
        except KeyboardInterrupt:
            run.ask_stop = 1
    try:
        return _result(native, run, watch)
    finally:
        native.library.ss_release(ctypes.byref(run))


def _result(native: Native, run: _Run, watch: tuple[int, int] | None) -> Result:
    width = watch[1] - watch[0] if watch else 0
    raw = ctypes.string_at(run.outcomes, run.outcome_count * width) if run.outcome_count else b""
    outcomes = frozenset(raw[i : i + width] for i in range(0, len(raw), width)) if width else frozenset()
    reason: str | None = _REASONS.get(run.reason)
    error: LangError | None = None
    violation: Violation | None = None
    if run.violated:
        steps, states = _trace(native, [run.trace[i] for i in range(run.trace_length)])
        if run.violated == 2:
            last = states[-1] if states else native.initial
            violation = Violation("deadlock", deadlock_message(native, last), None, Trace(tuple(steps), tuple(states)))
        else:
            raised = native.error(run.failed_kind, run.failed_site, run.failed_value, run.failed_low, run.failed_high)
            steps.append(Step(run.thread, tuple(run.choices[: run.choices_made])))
            trace = Trace(tuple(steps), tuple(states))
            where = getattr(raised, "where", None)
            if isinstance(raised, NoneFollowed):
                violation = Violation(NoneFollowed.rule, str(raised), where, trace)
            elif isinstance(raised, RuleBroken):
                violation = Violation(raised.rule, raised.message, where, trace)
            elif isinstance(raised, ModelError):
                reason, error = "error", raised
    verdict = Verdict.BROKEN if violation else Verdict.NOT_FINISHED if reason else Verdict.HOLDS
    return Result(verdict, run.states, run.transitions, run.depth, run.seconds, violation, reason, error, outcomes, exact=False)


def _trace(native: Native, ordinals: list[int]) -> tuple[list[Step], list[bytes]]:
    """Run forward from the initial state, each time to the successor that the engine noted."""
    state, steps, states = native.initial, [], []
    for ordinal in ordinals:
        found = [s for s in native.successors(state) if s.state is not None][ordinal]
        assert found.state is not None
        state = found.state
        steps.append(Step(found.thread, found.choices))
        states.append(state)
    return steps, states
