"""Search by the native engine: the same graph, verdict and trace as `search.bfs`, at the speed of compiled code."""

from __future__ import annotations

import ctypes
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from secondsight.lang.errors import LangError, ModelError, NoneFollowed, Position, RuleBroken
from secondsight.lang.native import MAX_CHOICES, Native
from secondsight.lang.program import Program
from secondsight.search.lock_order import LockOrder
from secondsight.search.loop import livelock
from secondsight.search.messages import deadlock_message
from secondsight.search.progress import inside_loops, lock_steps
from secondsight.search.request import Request
from secondsight.search.result import Progress, Result, Step, Trace, Verdict, Violation, reported
from secondsight.search.strategy import BreadthFirst, DepthFirst, Preemptions, RandomWalks

__all__ = [
    "DEADLOCK", "GOAL", "KEEP_ROUNDS", "LOCK_ORDER", "STEP_FAILED",
    "EngineFound", "LockNote", "NativeRun", "against_order", "available_memory", "native_search", "loop_rows", "reason_name", "told", "way",
]  # fmt: skip

_REASONS = {1: "states", 2: "seconds", 3: "memory", 4: "interrupted", 5: "disk", 6: "depth", 7: "walks", 8: "preemptions"}
STEP_FAILED, DEADLOCK, LOCK_ORDER, GOAL = 1, 2, 3, 4
LOG_EDGES, KEEP_ROUNDS = 1, 2
THREAD_SHIFT, MOST_BOUNDED = 13, 8  # of a bounded search's ordinals: see engine_bounds.c

LockNote = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.POINTER(ctypes.c_uint8), ctypes.POINTER(ctypes.c_uint8), ctypes.c_int32, ctypes.c_int32
)


class _TimeIsOver(Exception):
    """Of a search, while it goes the way to an error once more."""


class FoundFacts(Protocol):
    """What there is to know of something found, but for the way there."""

    @property
    def how(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def site(self) -> int: ...
    @property
    def value(self) -> int: ...
    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int: ...


class EngineFound(ctypes.Structure):
    """`ss_found` in search/engine.c."""

    _fields_ = [
        ("how", ctypes.c_int32), ("thread", ctypes.c_int32), ("kind", ctypes.c_int32), ("site", ctypes.c_int32),
        ("value", ctypes.c_int64), ("low", ctypes.c_int64), ("high", ctypes.c_int64),
        ("made", ctypes.c_int32), ("choices", ctypes.c_int32 * MAX_CHOICES),
        ("number", ctypes.c_uint32), ("trace_length", ctypes.c_uint32), ("trace", ctypes.POINTER(ctypes.c_uint16)),
    ]  # fmt: skip


class NativeRun(ctypes.Structure):
    """The public part of `ss_run` in search/engine.c; what is behind it is the engine's own."""

    _fields_ = [
        ("initial", ctypes.c_char_p),
        ("max_states", ctypes.c_uint64), ("max_narrowing", ctypes.c_uint64), ("max_shrinking", ctypes.c_uint64),
        ("max_memory", ctypes.c_uint64), ("max_frontier", ctypes.c_uint64),
        ("max_seconds", ctypes.c_double),
        ("workers", ctypes.c_int32), ("watch_from", ctypes.c_int32), ("watch_to", ctypes.c_int32), ("deadlock", ctypes.c_int32),
        ("exact", ctypes.c_int32), ("collect", ctypes.c_int32), ("progress", ctypes.c_int32), ("files", ctypes.c_int32 * 2),
        ("lock_count", ctypes.c_int32), ("locks", ctypes.POINTER(ctypes.c_int32)), ("taking", ctypes.c_char_p), ("note", LockNote),
        ("loops", ctypes.c_char_p), ("loop_width", ctypes.c_uint64), ("within", ctypes.c_char_p), ("within_count", ctypes.c_uint64),
        ("goals", ctypes.c_char_p), ("goal_count", ctypes.c_uint64),
        ("max_depth", ctypes.c_uint64), ("walks", ctypes.c_uint64), ("seed", ctypes.c_uint64),
        ("bounded", ctypes.c_int32), ("max_preemptions", ctypes.c_int32),
        ("states", ctypes.c_uint64), ("transitions", ctypes.c_uint64), ("frontier", ctypes.c_uint64), ("depth", ctypes.c_uint64),
        ("seconds", ctypes.c_double), ("ask_stop", ctypes.c_int32),
        ("reason", ctypes.c_int32), ("found_count", ctypes.c_int32), ("crowd", ctypes.c_int32),
        ("outcomes", ctypes.POINTER(ctypes.c_uint8)), ("outcome_count", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64), ("peak", ctypes.c_uint64), ("on_disk", ctypes.c_uint64),
        ("livelocked", ctypes.POINTER(ctypes.c_uint8)), ("livelocked_count", ctypes.c_uint64),
        ("cycling", ctypes.POINTER(ctypes.c_uint64)), ("cycling_count", ctypes.c_uint64),
        ("preempted", ctypes.c_int32), ("log_dropped", ctypes.c_int32),
        ("found", ctypes.POINTER(EngineFound)),
    ]  # fmt: skip


def native_search(native: Native, request: Request | None = None, log_edges: bool = True, narrowing: int = 0, shrinking: int = 0) -> Result:
    """As `search.breadth_first`, with `Request.workers` threads.

    States are remembered by 64-bit fingerprints (`Result.missed` is the expected number of states taken for another), or,
    if `exact`, whole. With several workers a violation is looked for once more with one, so that the trace is always the
    same one, unless the time is over before. The way to an error of the model is not given where there is no time to go it once more.

    To look for livelocks the search logs its edges; where these have cycles, the states on them are looked for in a second search,
    and then the first of them once more from the beginning. Without `log_edges`, or where there is no memory for the log, the
    first, or the second, search looks at all states from which a loop goes round. Where equal threads are renamed there is no second
    search for cycles: the result has the reason `cycles`.

    `narrowing`: after so many states a search breadth first stops short whose levels hardly grow any more, and after `shrinking` one whose
    levels shrink then: after `limits.states` others do. 0: none is searched further for that.
    """
    asked = request or Request()
    if asked.livelock and isinstance(asked.strategy, RandomWalks | Preemptions):
        raise LangError("random walks and bounded searches find no livelock: search breadth or depth first, or without `livelock`")
    if isinstance(asked.strategy, Preemptions):
        _can_be_bounded(native, asked)
    if not asked.workers:
        asked = asked.but(workers=len(os.sched_getaffinity(0)))
    search = _Search(native, asked, log_edges=log_edges)
    search.raw.max_narrowing, search.raw.max_shrinking = narrowing, shrinking
    result = search.run()
    left = search.seconds_left()
    # a livelock's trace is found by one
    by_several = result.error is not None or any(v.rule != "livelock" for v in result.violations)
    if search.raw.crowd > 1 and not search.interrupted and by_several and left != 0:
        again = _Search(native, asked.but(workers=1, seconds=left), log_edges=log_edges).run()
        return again if again.verdict is Verdict.BROKEN or again.error is not None else result
    return result


def _can_be_bounded(native: Native, asked: Request) -> None:
    """Whether preemptions can be counted."""
    if native.reductions.merge:
        raise LangError("a merged step hides preemptions: search without merging, or without a bound on preemptions")
    if asked.exact:
        raise LangError("a search bounded by preemptions does not compare whole states: search without `exact`, or without the bound")
    if len(native.program.threads) > MOST_BOUNDED:
        raise LangError(f"a search bounded by preemptions has {MOST_BOUNDED} threads at most, this program {len(native.program.threads)}")


def reason_name(number: int) -> str:
    """Why the engine stopped short, as `Result.reason` has it."""
    return _REASONS[number]


def available_memory() -> int:
    """Nine tenths of the memory that is available now."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":") for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024 // 10 * 9
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@contextmanager
def _ctrl_c(asked: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C, and whatever else ends this program by a `KeyboardInterrupt`, call `asked` and raise nothing.

    An exception could come anywhere, also where the engine's thread runs and nobody would wait for it any more.
    """
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {n: h for n in (signal.SIGINT, signal.SIGTERM) if (h := signal.getsignal(n)) is signal.default_int_handler}
    for number in handlers:
        signal.signal(number, lambda *_: asked())
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class _Search:
    """One run of the engine.

    `goals`: states of which the first that is come to ends it. `within`: the fingerprints of the states that may lie on cycles
    (empty: of all).
    """

    def __init__(self, native: Native, request: Request, goals: bytes = b"", log_edges: bool = True, within: bytes = b"") -> None:
        self.native, self.request = native, request
        self.begun = time.perf_counter()
        self.log_edges, self.within = log_edges, within
        self.in_chunks = not isinstance(request.strategy, DepthFirst | RandomWalks)  # by workers, that share a frontier
        self.interrupted = False
        self.failure: BaseException | None = None
        self.against: list[tuple[str, Position]] = []
        self.memory = ctypes.create_string_buffer(native.library.ss_size_of_run() + 64)
        run = self.raw = NativeRun.from_buffer(self.memory)
        run.initial = native.initial
        limits = request.limits
        run.max_states, run.max_memory, run.max_seconds = limits.states or 0, limits.memory or 0, limits.seconds or 0.0
        run.max_frontier = request.frontier or (limits.memory or 0) // 8
        run.workers, run.deadlock = request.workers or 1, int(request.deadlock)
        run.exact, run.collect = int(request.exact), int(request.collect)
        if request.livelock:
            self._watch_loops()
        self.goals = run.goals = goals
        run.goal_count = len(goals) // native.program.size
        run.watch_from, run.watch_to = request.watch or (0, 0)
        if request.lock_order:
            self._watch_locks()
        match request.strategy:
            case DepthFirst(depth):
                run.max_depth = depth
            case RandomWalks(walks, depth, seed):
                run.walks, run.max_depth, run.seed = walks, depth, seed
            case Preemptions(most):
                run.bounded, run.max_preemptions = 1, most

    def _watch_loops(self) -> None:
        """Have the engine log edges, or keep the states in which a round of a loop begins, if there are loops that could go on for ever."""
        self.loops, self.raw.loop_width = loop_rows(self.native.program)
        self.raw.loops = self.loops
        if self.loops:
            self.raw.progress = LOG_EDGES if self.log_edges else KEEP_ROUNDS
        self.raw.within = self.within
        self.raw.within_count = len(self.within) // 8

    def _watch_locks(self) -> None:
        """Have the engine show new ways of taking locks to `LockOrder`."""
        order = LockOrder(self.native.program)
        if not order.counters:
            return
        size = self.native.program.size

        def note(before: Any, after: Any, thread: int, counter: int) -> int:
            try:
                found = order.note(ctypes.string_at(before, size), ctypes.string_at(after, size), thread, counter)
            except BaseException as error:  # it would be printed and forgotten, and the lock be in order
                self.failure, self.raw.ask_stop = error, 1
                return 0
            if found is not None:
                self.against.append(found)
            return int(found is not None)

        self.note = LockNote(note)
        places = [p for owner, readers, _, _ in order.locks for p in (owner, -1 if readers is None else readers)]
        self.places = (ctypes.c_int32 * len(places))(*places)
        self.raw.lock_count, self.raw.locks, self.raw.note = len(order.locks), self.places, self.note
        code = self.native.program.code
        self.taking = code.keep("taking row", lambda: bytes(int(i in order.counters) for i in range(len(code.places) + 1)))
        self.raw.taking = self.taking

    def seconds_left(self) -> float | None:
        """What is left of the time that there is for it; None: there is no limit."""
        most = self.request.limits.seconds
        return None if most is None else max(0.0, self.begun + most - time.perf_counter())

    def run(self) -> Result:
        """The whole search."""
        self._engine()
        try:
            if self.failure is not None:
                raise self.failure
            return self._result()
        finally:
            self.native.library.ss_release(ctypes.byref(self.raw))

    def _engine(self) -> None:
        """Run the engine. Most searches are over in a moment, in this thread; what a large one needs is got ready after that."""
        raw, library, request = self.raw, self.native.library, self.request
        raw.files[0] = raw.files[1] = -1
        with ExitStack() as stack:
            stack.enter_context(self.native.alone())
            if self.in_chunks and (request.frontier or request.folder is not None):
                self._open_files(stack)
            if self.in_chunks and self._is_over_briefly():
                return
            if not raw.max_memory:
                raw.max_memory = available_memory()
                raw.max_frontier = raw.max_frontier or raw.max_memory // 8
            if self.in_chunks and raw.files[0] == -1:
                self._open_files(stack)
            self._at_length(library.ss_search if self.in_chunks else library.ss_search_deep)

    def _open_files(self, stack: ExitStack) -> None:
        """Have files for the frontier."""
        for i in range(2):
            try:
                file = stack.enter_context(tempfile.TemporaryFile(dir=self.request.folder, prefix="secondsight-"))  # noqa: SIM115 (the stack closes it)
            except OSError as error:
                if self.request.folder is None:
                    break  # only a frontier larger than memory would need it
                raise LangError(f"{self.request.folder}: {error.strerror}") from None
            self.raw.files[i] = file.fileno()

    def _is_over_briefly(self) -> bool:
        """Search for a moment; Ctrl-C is passed on to the engine, which looks at it when it goes on."""
        raw, search = self.raw, self.native.library.ss_search_briefly

        def asked() -> None:
            raw.ask_stop = 1
            self.interrupted = True

        with _ctrl_c(asked):
            try:
                return bool(search(ctypes.byref(raw)))
            except BaseException:  # of a signal's handler that is not ours: what the engine has is given back
                raw.ask_stop = 1
                self.native.library.ss_search(ctypes.byref(raw))
                self.native.library.ss_release(ctypes.byref(raw))
                raise

    def _at_length(self, search: Callable[[Any], Any]) -> None:
        """Run the engine in a thread of its own; tell how far it is; pass Ctrl-C on to it."""
        raw, library = self.raw, self.native.library
        over = threading.Event()

        def run() -> None:
            try:
                search(ctypes.byref(raw))
            finally:
                over.set()

        def asked() -> None:
            raw.ask_stop = 1
            self.interrupted = True

        # Not `Thread.join`: interrupted by Ctrl-C it takes a thread that still runs for one that has ended.
        with _ctrl_c(asked):
            threading.Thread(target=run, daemon=True).start()
            try:
                while not over.wait(0.1):
                    raw.ask_stop |= int(self.native.moved() != 0)
                    if self.request.on_progress is not None:
                        self.request.on_progress(Progress(raw.states, raw.transitions, raw.frontier, raw.depth, raw.seconds))
            except BaseException as error:
                raw.ask_stop = 1
                over.wait()
                if not isinstance(error, KeyboardInterrupt):
                    library.ss_release(ctypes.byref(raw))
                    raise
                self.interrupted = True

    # What was found.

    def _result(self) -> Result:
        raw, watch = self.raw, self.request.watch
        reason: str | None
        if self.native.is_stale():
            reason = "interrupted" if self.interrupted else "stale"
            return Result(Verdict.NOT_FINISHED, raw.states, raw.transitions, raw.depth, raw.seconds, None, reason, exact=False)
        width = watch[1] - watch[0] if watch else 0
        data = ctypes.string_at(raw.outcomes, raw.outcome_count * width) if raw.outcome_count else b""
        outcomes = frozenset(data[i : i + width] for i in range(0, len(data), width)) if width else frozenset()
        reason = _REASONS[raw.reason] if raw.reason else "interrupted" if self.interrupted else None
        if reason is None and self.in_chunks and raw.frontier and not raw.found_count:
            reason = "unknown"  # the engine left states unexpanded and does not say why: never *holds*
        error: ModelError | None = None
        error_trace: Trace | None = None
        violations: dict[str, Violation] = {}
        for found in raw.found[: raw.found_count]:
            if not found.how:
                continue
            made = self._found(found)
            if isinstance(made, Violation):
                violations.setdefault(made.rule, made)
            else:
                reason, error, error_trace = "error", *made
        if reason is None and not (violations and not self.request.collect) and (livelocked := self._livelock()) is not None:
            if isinstance(livelocked, Violation):
                violations["livelock"] = livelocked
            else:
                reason = livelocked
        if violations and not self.request.collect:
            rule = reported(violations)
            violations, error, error_trace = {rule: violations[rule]}, None, None
        first = next(iter(violations.values()), None)
        verdict = Verdict.BROKEN if first else Verdict.NOT_FINISHED if reason else Verdict.HOLDS
        cut = not first or error is not None or self.interrupted or self.request.collect  # else a broken rule is all that is wanted
        exact = bool(raw.exact)
        preemptions = raw.preempted if raw.bounded and raw.preempted >= 0 and verdict is Verdict.NOT_FINISHED and error is None else None
        missed = 0.0 if exact or isinstance(self.request.strategy, RandomWalks) else raw.states**2 / 2**65
        return Result(
            verdict, raw.states, raw.transitions, raw.depth, raw.seconds, first, reason if cut else None, error,
            outcomes, exact, error_trace, missed, tuple(violations.values()), raw.peak,
            shortest=self.request.in_levels, preemptions=preemptions,
        )  # fmt: skip

    def _livelock(self) -> Violation | str | None:
        """The way to the first state on a fair cycle, and once round; or why that was not found; None if there is no such state."""
        native = self.native
        size = native.program.size
        data = self._livelocked()
        if not data or isinstance(data, str):
            return data or None
        if native.reductions.merge or (native.symmetry is not None and native.symmetry.arrays):
            message = "some thread need not end: a search without reductions shows how"
            return Violation("livelock", message, None, Trace())
        asked = self.request.but(
            states=None, watch=None, lock_order=False, workers=1, collect=False, livelock=False, strategy=BreadthFirst()
        )
        again = _Search(native, asked, goals=data)
        try:
            trace = again.way_to_goal()
            if isinstance(trace, str):
                return trace
            inside = {data[i : i + size] for i in range(0, len(data), size)}
            return livelock(native, trace, inside.__contains__, native.form)
        except KeyboardInterrupt:
            return "interrupted"

    def _livelocked(self) -> bytes | str:
        """The states on fair cycles, one after the other, of a search that saw everything; or why they are not known."""
        raw, asked = self.raw, self.request
        is_renamed = self.native.symmetry is not None and self.native.symmetry.equal is not None
        if is_renamed and (raw.cycling_count or raw.livelocked_count):
            return "cycles"  # on which threads change their names: whether one of the whole graph is fair cannot be seen
        if raw.livelocked_count:
            return ctypes.string_at(raw.livelocked, raw.livelocked_count * self.native.program.size)
        if not (raw.cycling_count or raw.log_dropped):
            return b""
        cycling = ctypes.string_at(raw.cycling, raw.cycling_count * 8) if raw.cycling_count else b""
        seconds = asked.limits.seconds and max(1e-3, asked.limits.seconds - raw.seconds)
        again = asked.but(
            seconds=seconds, states=None, watch=None, lock_order=False, on_progress=None, collect=True, strategy=BreadthFirst()
        )
        return _Search(self.native, again, log_edges=False, within=cycling).livelocked()

    def livelocked(self) -> bytes | str:
        """Of a search that keeps states whole: those on fair cycles; or why they are not known."""
        self._engine()
        try:
            if self.native.is_stale():
                return "interrupted" if self.interrupted else "stale"
            if self.raw.reason or self.interrupted:
                return _REASONS[self.raw.reason] if self.raw.reason else "interrupted"
            return self._livelocked()
        finally:
            self.native.library.ss_release(ctypes.byref(self.raw))

    def way_to_goal(self) -> Trace | str:
        """The way to the first of the wanted states; or why the search ended before."""
        self._engine()
        try:
            for found in self.raw.found[: self.raw.found_count]:
                if found.how == GOAL:
                    return way(self.native, found.trace[: found.trace_length])
            return _REASONS[self.raw.reason] if self.raw.reason else "interrupted"
        finally:
            self.native.library.ss_release(ctypes.byref(self.raw))

    def _in_time(self, ordinals: Iterable[int]) -> Iterator[int]:
        """The same; raises `_TimeIsOver` when it is."""
        for ordinal in ordinals:
            if self.seconds_left() == 0:
                raise _TimeIsOver
            yield ordinal

    def _way(self, ordinals: Iterable[int]) -> Trace:
        """The way to the state in which something was found."""
        if not self.raw.bounded:
            return way(self.native, ordinals)
        state, steps, states = self.native.initial, [], []
        for ordinal in ordinals:
            thread, number = divmod(ordinal, 1 << THREAD_SHIFT)
            taken = [s for s in self.native.thread_successors(state, thread) if s.state is not None][number]
            state = taken.state or b""
            steps.append(Step(thread, taken.choices))
            states.append(state)
        return Trace(tuple(steps), tuple(states))

    def _found(self, found: EngineFound) -> Violation | tuple[ModelError, Trace | None]:
        """What the engine found, as the reference would tell it. Without its trace a broken rule is nothing, an error is one."""
        native, ordinals = self.native, found.trace[: found.trace_length]
        step = Step(found.thread, tuple(found.choices[: found.made]))
        if found.how == STEP_FAILED and isinstance(error := failure(native, found), ModelError):
            try:
                return error, self._way(self._in_time(ordinals)).then([step])
            except _TimeIsOver:
                return error, None
        trace = self._way(ordinals)
        if found.how == LOCK_ORDER:
            return against_order(native, trace, step, *self.against[0])
        return told(native, found, trace, step)


def loop_rows(program: Program) -> tuple[bytes, int]:
    """By thread and counter, whether a place is inside of a loop (1) and at a lock (2); and how many counters a thread has.

    Nothing where no loop could go on for ever.
    """
    name = ("loop rows", *(root.number for root, _ in program.roots))
    rows: tuple[bytes, int] = program.code.keep(name, lambda: _loop_rows(program))
    return rows


def _loop_rows(program: Program) -> tuple[bytes, int]:
    locks, width = lock_steps(program), len(program.code.places) + 1
    rows = [bytes((n in inside) + 2 * (n in locks) for n in range(width)) for inside in inside_loops(program)]
    rows += [bytes(width)] * (program.code.capacity - len(rows))  # threads that are not there
    return (b"".join(rows) if any(row.translate(None, b"\0\2") for row in rows) else b""), width


def told(native: Native, found: FoundFacts, trace: Trace, step: Step) -> Violation | tuple[ModelError, Trace]:
    """A deadlock at the end of `trace`, or what `step`, taken there, ended in."""
    if found.how == DEADLOCK:
        return Violation("deadlock", deadlock_message(native, trace.states[-1] if trace.states else native.initial), None, trace)
    trace, failed = trace.then([step]), failure(native, found)
    if isinstance(failed, RuleBroken):
        return Violation(failed.rule, failed.message, failed.where, trace)
    return failed, trace


def failure(native: Native, found: FoundFacts) -> RuleBroken | ModelError:
    """What a step ended in: a broken rule, as one that follows None is too, or an error of the model."""
    raised = native.error(found.kind, found.site, found.value, found.low, found.high)
    if isinstance(raised, NoneFollowed):
        return RuleBroken(NoneFollowed.rule, str(raised), raised.where)
    assert isinstance(raised, RuleBroken | ModelError)
    return raised


def against_order(native: Native, trace: Trace, step: Step, message: str, where: Position) -> Violation:
    """A lock that `step` takes against the order of others."""
    last = trace.states[-1] if trace.states else native.initial
    after = next(s.state for s in native.thread_successors(last, step.thread) if s.choices == step.choices)
    return Violation("lock-order", message, where, trace.then([step], [after or b""]))


def way(native: Native, ordinals: Iterable[int]) -> Trace:
    """Run forward from the initial state, each time to the successor that the engine noted."""
    state, steps, states = native.initial, [], []
    for ordinal in ordinals:
        ways = [s for s in native.successors(state) if s.state is not None]
        state = ways[ordinal].state or b""
        steps.append(Step(ways[ordinal].thread, ways[ordinal].choices))
        states.append(state)
    return Trace(tuple(steps), tuple(states))
