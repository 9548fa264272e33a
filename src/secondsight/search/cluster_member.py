"""One member of a search by several machines: it owns the states whose fingerprints name it, remembers and expands them.

`Member` drives `search/engine_cluster.c` and knows nothing of the others but how many there are: what is theirs it hands to
its caller in batches. `search.cluster_levels` carries the batches over.
"""

from __future__ import annotations

import contextlib
import ctypes
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from secondsight.lang.compiler import Library, load
from secondsight.lang.equal import EqualThreads
from secondsight.lang.native import Native, engine_text, stride
from secondsight.lang.render_c import prelude
from secondsight.search.native import KEEP_ROUNDS, NativeRun, available_memory, reason_name
from secondsight.search.native import EngineFound as RawFound
from secondsight.search.native import LockNote as RawNote
from secondsight.search.request import Request

__all__ = ["FACT", "Agreed", "Found", "Host", "MemberJob", "Member", "Note", "MemberReport"]

FACT = 24
"""Bytes of one fact: `ss_fact` of search/mover_facts.c."""

PIECE = 4 << 20
"""Bytes of states that are handed out at once, about."""


@dataclass(frozen=True, slots=True)
class MemberJob:
    """A search, as every member is told of it.

    `text` is the model in C, `engine` the engine; `tables` and `daemons` the program's data. `watch`, `deadlock` and `exact` as
    for `native_search`. `locks`: for each lock whose order counts, its owner's byte and its readers' byte or -1;
    `taking`: by program counter, whether the step may take one. `loops`, `loop_width`: where loops are, as `loop_rows` says it,
    if states on them are to be kept. `goals`: states one after the other, of which the first that is found is told. `memory`:
    bytes for all members of one machine together (0: nine tenths of what it has). `batch`: bytes for one other member that
    end a turn. `facts`: what is known of the program, where steps are merged (`search/movers.c`). `equal`: the threads that may be renamed.
    """

    text: str
    engine: str
    initial: bytes
    tables: tuple[tuple[int, ...], ...]
    daemons: int
    watch: tuple[int, int] | None
    deadlock: bool
    exact: bool
    locks: tuple[int, ...]
    taking: bytes
    memory: int
    batch: int
    loops: bytes = b""
    loop_width: int = 0
    goals: bytes = b""
    facts: bytes = b""
    equal: EqualThreads | None = None

    @staticmethod
    def of(native: Native, request: Request, locks: tuple[int, ...], taking: bytes, batch: int) -> MemberJob:
        """The job that a compiled program makes."""
        program = native.program
        folder = resources.files("secondsight.search")
        facts, engine = (folder.joinpath(name).read_text() for name in ("engine_cluster_facts.c", "engine_cluster.c"))
        begin = "#define SS_CLUSTER 1\n"
        return MemberJob(
            f"{begin}{native.source}#if PART(1)\n{facts}#endif\n", f"{begin}{prelude()}{engine_text(program.size)}{engine}", native.initial,
            tuple(tuple(program.row(name)) for name in native.rendered.tables),
            sum(1 << i for i, t in enumerate(program.threads) if t.daemon),
            request.watch, request.deadlock, request.exact, locks, taking, request.limits.memory or 0, batch,
            equal=None if native.symmetry is None or native.symmetry.threads is None else native.symmetry.threads.alone(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """Something to tell, as `ss_found` of the engine has it; `number`: the state that it was found in, at this member."""

    how: int
    kind: int
    value: int
    thread: int
    site: int
    low: int
    high: int
    choices: tuple[int, ...]
    number: int


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """A step that took a lock with others held, in a way that this member had not seen yet."""

    key: bytes
    before: bytes
    after: bytes
    thread: int
    counter: int
    number: int


@dataclass(frozen=True, slots=True)
class MemberReport:
    """How far a member is: states of the level to expand, states of the next one, all states and transitions, peak memory.

    `sizes`: the bytes that are handed out for each member; `given`, `taken`: records, in all, for and from others. `reason`:
    why it had to stop, if so. `stale`: it has relied on what is not so. The rest is what was found since the last report;
    `learned` are facts for all others.
    """

    left: int
    following: int
    states: int
    transitions: int
    peak: int
    sizes: tuple[int, ...]
    given: int
    taken: int
    reason: str | None = None
    found: tuple[Found, ...] = ()
    notes: tuple[Note, ...] = ()
    outcomes: tuple[bytes, ...] = ()
    stale: bool = False
    learned: bytes = b""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a member knows: `sum` is the same where that is the same. `learned`: what it has not told yet."""

    stale: bool
    sum: int
    learned: bytes


class Member:
    """Member `me` of `members`, with `workers` threads; `share` members use this machine's memory together."""

    def __init__(self, job: MemberJob, me: int, members: int, workers: int, share: int = 1) -> None:
        self.job, self.me, self.members, self.level = job, me, members, -1
        self.told = self.outcomes = self.notes_told = 0
        self.notes: list[Note] = []
        self.keys: set[bytes] = set()
        self.stack = contextlib.ExitStack()
        self.library = _library(job.text, job.engine)
        self.tables = [(ctypes.c_int64 * max(1, len(row)))(*row) for row in job.tables]
        self.memory = ctypes.create_string_buffer(self.library.ss_size_of_run() + 64)
        run = self.run = NativeRun.from_buffer(self.memory)
        run.initial = job.initial
        run.max_memory = max(1, (job.memory or available_memory()) // share)
        run.max_frontier = run.max_memory // 8
        run.workers, run.deadlock, run.exact, run.collect = workers, int(job.deadlock), int(job.exact), 1
        run.watch_from, run.watch_to = job.watch or (0, 0)
        run.loops, run.loop_width, run.progress = job.loops, job.loop_width, KEEP_ROUNDS if job.loops else 0
        run.goals, run.goal_count = job.goals, len(job.goals) // len(job.initial)
        if job.locks:
            self._watch_locks()
        run.files[0] = run.files[1] = -1
        with contextlib.suppress(OSError):  # only a frontier larger than memory would need them
            for i in range(2):
                run.files[i] = self.stack.enter_context(tempfile.TemporaryFile(prefix="secondsight-")).fileno()  # noqa: SIM115
        with self._alone():
            if job.facts:
                self.library.ss_take_form(job.facts)
            self.begun = bool(self.library.ss_cluster_begin(ctypes.byref(run), me, members, ctypes.c_uint64(job.batch)))
            if self.begun and job.facts:
                self.begun = bool(self.library.ss_cluster_know(ctypes.byref(run), job.facts))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Within the block the library works for this member's program, whoever shares it."""
        with self.library.lock:
            if self.library.tables is not self.tables:
                self.library.tables = self.tables
                self._hand_over_tables()
            yield

    def _hand_over_tables(self) -> None:
        for i, (table, row) in enumerate(zip(self.tables, self.job.tables, strict=True)):
            self.library.ss_set_table(i, table, ctypes.c_int64(len(row)))
        self.library.ss_set_daemons(self.job.daemons)
        if self.job.equal is not None:
            self.job.equal.tell(self.library)

    def _watch_locks(self) -> None:
        """Gather the ways in which locks are taken; whether they go together is for the caller, who hears of all members'."""
        size, locks = len(self.job.initial), self.job.locks
        places = [p for p in locks if p >= 0]

        def note(before: Any, after: Any, thread: int, counter: int) -> int:
            was, now = ctypes.string_at(before, size), ctypes.string_at(after, size)
            key = bytes([thread, *(was[p] for p in places), *(now[p] for p in places)])
            if key not in self.keys:
                self.keys.add(key)
                self.notes.append(Note(key, was, now, thread, counter, self.library.ss_cluster_expanding()))
            return 0

        self.note, self.places = RawNote(note), (ctypes.c_int32 * len(locks))(*locks)
        self.run.lock_count, self.run.locks, self.run.note = len(locks) // 2, self.places, self.note
        self.run.taking = self.job.taking

    def turn(
        self, level: int, sources: Sequence[int], most: int, seconds: float, facts: bytes, batches: Sequence[bytes]
    ) -> tuple[MemberReport, list[bytes]]:
        """Take in `facts`, and `batches` from the members `sources`, then expand up to `most` states a thread of `level`.

        The second is what belongs to each other member. Raises `ValueError` at a batch that does not belong here.
        """
        self.hear(facts)
        library, run = self.library, ctypes.byref(self.run)
        if self.begun and level > self.level:
            library.ss_cluster_next(run)
            self.level = level
        record = library.ss_cluster_record()
        for source, batch in zip(sources, batches, strict=True):
            if not self.begun or len(batch) % record or not library.ss_cluster_absorb(run, source, batch, len(batch) // record):
                raise ValueError(f"a batch of {len(batch)} bytes from member {source} does not belong to member {self.me}")
        if self.begun and most:
            with self._alone():
                library.ss_cluster_turn(run, ctypes.c_uint64(most), ctypes.c_double(seconds))
        out = [self._taken_out(i) for i in range(self.members)] if self.begun else [b""] * self.members
        return self._report(tuple(map(len, out))), out

    def _taken_out(self, to: int) -> bytes:
        place = ctypes.c_char_p()
        size = self.library.ss_cluster_box(ctypes.byref(self.run), to, ctypes.byref(place))
        return ctypes.string_at(place, size) if size else b""

    def _report(self, sizes: tuple[int, ...]) -> MemberReport:
        raw, run = self.run, ctypes.byref(self.run)
        found = tuple(_found(f) for f in raw.found[self.told : raw.found_count])
        width = raw.watch_to - raw.watch_from
        outcomes: tuple[bytes, ...] = ()
        if raw.outcome_count > self.outcomes:
            data = ctypes.string_at(raw.outcomes, raw.outcome_count * width)
            outcomes = tuple(data[i * width : (i + 1) * width] for i in range(self.outcomes, raw.outcome_count))
        notes = tuple(self.notes[self.notes_told :])
        self.told, self.outcomes, self.notes_told = raw.found_count, raw.outcome_count, len(self.notes)
        left, following = (self.library.ss_cluster_left(run), self.library.ss_cluster_pushed(run)) if self.begun else (0, 0)
        reason = reason_name(raw.reason) if raw.reason else None if self.begun else "memory"
        given, taken = (self.library.ss_cluster_given(run), self.library.ss_cluster_taken(run)) if self.begun else (0, 0)
        counts = left, following, raw.states, raw.transitions, raw.peak, sizes, given, taken
        known = self.agreed(b"")
        return MemberReport(*counts, reason, found, notes, outcomes, known.stale, known.learned)

    def hear(self, facts: bytes) -> None:
        """Take in what others found out of the program."""
        if facts and self.begun:
            with self._alone():
                if not self.library.ss_cluster_hear(ctypes.byref(self.run), facts, ctypes.c_uint64(len(facts) // FACT)):
                    raise ValueError(f"member {self.me} was told what makes no sense")

    def agreed(self, facts: bytes) -> Agreed:
        """Take in what others found out, and say what is known then."""
        if not self.job.facts or not self.begun:
            return Agreed(stale=False, sum=0, learned=b"")
        self.hear(facts)
        run, news, count = ctypes.byref(self.run), ctypes.c_void_p(), ctypes.c_uint64()
        self.library.ss_cluster_news(run, ctypes.byref(news), ctypes.byref(count))  # 0: the run's reason says so
        learned = ctypes.string_at(news.value, count.value * FACT) if news.value and count.value else b""
        return Agreed(bool(self.library.ss_cluster_is_stale(run)), self.library.ss_cluster_sum(run), learned)

    def back(self, number: int) -> tuple[list[int], int, int]:
        """The way back from a state: ordinals, the last step's first; whose the state before is (-1: none), and its number."""
        room = 1 << 16
        ordinals, source, following = (ctypes.c_uint16 * room)(), ctypes.c_int32(), ctypes.c_uint32()
        count = self.library.ss_cluster_back(
            ctypes.byref(self.run), number, ordinals, ctypes.c_uint64(room), ctypes.byref(source), ctypes.byref(following)
        )
        return ordinals[:count], source.value, following.value

    def rounds(self, worker: int, at: int) -> bytes:
        """A piece, from byte `at` on, of the states that a worker kept because a round of a loop begins there; empty: the end."""
        place = ctypes.c_char_p()
        size = self.library.ss_cluster_rounds(ctypes.byref(self.run), worker, ctypes.byref(place))
        start, each = ctypes.cast(place, ctypes.c_void_p).value, stride(len(self.job.initial))
        return ctypes.string_at(start + at, min(PIECE // each * each, size - at)) if start and at < size else b""

    def keep_rounds(self, states: bytes) -> bool:
        """Keep such states of others; whether there was room for them."""
        return bool(self.library.ss_cluster_keep_rounds(ctypes.byref(self.run), states, ctypes.c_uint64(len(states))))

    def livelocked(self, seconds: float | None) -> bytes | str:
        """Of all states kept, those on fair cycles, one after the other; or why they were not found. It is this member's end."""
        run = self.run
        run.max_seconds = seconds or 0.0
        over = threading.Event()

        def look() -> None:
            with self._alone():
                self.library.ss_cluster_progress(ctypes.byref(run))
            over.set()

        threading.Thread(target=look, daemon=True).start()
        while not over.is_set():
            try:
                over.wait(0.1)
            except KeyboardInterrupt:
                run.ask_stop = 1
        if run.reason:
            return reason_name(run.reason)
        return ctypes.string_at(run.livelocked, run.livelocked_count * len(self.job.initial)) if run.livelocked_count else b""

    def end(self) -> None:
        """Give everything back."""
        self.library.ss_cluster_end(ctypes.byref(self.run))
        self.begun = False
        self.stack.close()


class Host:
    """A process on a node that is a member of one search after another."""

    def __init__(self) -> None:
        self.member: Member | None = None

    def begin(self, job: MemberJob, me: int, members: int, workers: int, share: int) -> None:
        """Become a member. Raises `LangError` where the model cannot be compiled."""
        self.end()
        self.member = Member(job, me, members, workers, share)

    def turn(
        self, level: int, sources: Sequence[int], most: int, seconds: float, facts: bytes, *batches: bytes
    ) -> tuple[MemberReport | bytes | None, ...]:
        """`Member.turn`: the report, and the batch for each member, None where there is nothing for it."""
        assert self.member is not None
        report, out = self.member.turn(level, sources, most, seconds, facts, batches)
        return report, *(batch or None for batch in out)

    def back(self, number: int) -> tuple[list[int], int, int]:
        """`Member.back`."""
        assert self.member is not None
        return self.member.back(number)

    def agreed(self, facts: bytes) -> Agreed:
        """`Member.agreed`."""
        assert self.member is not None
        return self.member.agreed(facts)

    def rounds(self, worker: int, at: int) -> bytes:
        """`Member.rounds`."""
        assert self.member is not None
        return self.member.rounds(worker, at)

    def end(self) -> None:
        """Give back what the last search took."""
        if self.member is not None:
            self.member.end()
        self.member = None


def _library(text: str, engine: str) -> Library:
    library = load(text, engine)
    for name in ("next", "left", "pushed", "given", "taken", "box", "back", "rounds"):
        getattr(library, f"ss_cluster_{name}").restype = ctypes.c_uint64
    if hasattr(library, "ss_cluster_sum"):  # steps are merged
        library.ss_cluster_sum.restype = ctypes.c_uint64
        library.ss_cluster_hear.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64]
    library.ss_cluster_expanding.restype = ctypes.c_uint32
    library.ss_cluster_absorb.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint64]
    return library


def _found(raw: RawFound) -> Found:
    return Found(
        raw.how, raw.kind, raw.value, raw.thread, raw.site, raw.low, raw.high, tuple(raw.choices[: raw.made]), raw.number
    )
