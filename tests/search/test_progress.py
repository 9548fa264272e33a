"""Livelock: what is fair and what is not, case by case; the same by both executors; within limits; the 2021 thread's."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

import pytest

from secondsight.lang import (
    Array,
    Bounds,
    LangError,
    Machine,
    Mutex,
    Record,
    RwLock,
    SpinLock,
    atomic,
    choose,
    shared,
    wait_until,
)
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Limits, Progress, Request, Result, Verdict, breadth_first
from secondsight.search import loop as loops
from secondsight.search import native as native_module
from secondsight.search.native import native_search
from secondsight.search.progress import Edges, Stand, inside_loops, lock_steps
from secondsight.search.strategy import DepthFirst, RandomWalks

try:
    compiler()
    NATIVE = True
except CompilerMissing:
    NATIVE = False

native_only = pytest.mark.skipif(not NATIVE, reason="no C compiler")
Small = Annotated[int, Bounds(0, 60)]


class Desk(Record):
    lock: Mutex
    other: Mutex
    spin: SpinLock
    rw: RwLock
    flag: bool
    bell: bool
    count: Small
    row: Array[Small, Literal[4]]


desk = shared(Desk)


# Threads.


def sets() -> None:
    desk.flag = True


def sets_under_lock() -> None:
    with desk.lock:
        desk.flag = True


def sets_spinning() -> None:
    with desk.spin:
        desk.flag = True


def sets_writing() -> None:
    with desk.rw.writing():
        desk.flag = True


def sets_by_trylock() -> None:
    while True:
        if desk.lock.trylock():
            break
    desk.flag = True
    desk.lock.unlock()


def sets_when_the_bell_rings() -> None:
    wait_until(desk.bell)
    desk.flag = True


def polls() -> None:
    while not desk.flag:
        pass


def polls_under_lock() -> None:
    while True:
        with desk.lock:
            if desk.flag:
                break


def polls_spinning() -> None:
    while True:
        with desk.spin:
            if desk.flag:
                break


def polls_reading() -> None:
    while True:
        with desk.rw.reading():
            if desk.flag:
                break


def polls_ringing() -> None:
    """Rings a bell each round, for a moment."""
    while not desk.flag:
        desk.bell = True
        desk.bell = False


def tries_both(first: bool) -> None:
    """Takes two locks, each in another order; steps back if it gets only one."""
    while True:
        if first:
            mine = desk.lock.trylock()
            yours = desk.other.trylock()
        else:
            yours = desk.other.trylock()
            mine = desk.lock.trylock()
        if mine and yours:
            break
        if mine:
            desk.lock.unlock()
        if yours:
            desk.other.unlock()
    desk.lock.unlock()
    desk.other.unlock()


def chooses() -> None:
    while True:
        if choose(2) == 1:
            break


def counts(n: Small) -> None:
    """Many rounds, but counted."""
    for _ in range(n):
        desk.count = (desk.count + 1) % 60
    i = 0
    while i < n:
        desk.count = (desk.count + 1) % 60
        i += 1


def looks_at_each() -> None:
    """A `for` loop inside of a `while` loop that is left, and a call between."""
    while True:
        done = look()
        if done:
            break


def look() -> bool:
    for i in range(4):
        desk.row[i] = (desk.row[i] + 1) % 3
    return desk.row[3] == 2


def waits_for_nothing() -> None:
    wait_until(desk.flag)


def serves() -> None:
    """A daemon: rings for ever."""
    while True:
        desk.bell = not desk.bell


def ends() -> None:
    desk.count = 1


def takes_the_lock() -> None:
    with desk.lock:
        desk.count = 1


def program_of(*threads: Any, daemons: int = 0) -> Program:
    """The last `daemons` threads are daemons; a thread is a function, or a tuple of one and its arguments."""
    rows = [t if isinstance(t, tuple) else (t,) for t in threads]
    return build(
        Machine({}), [Thread(f"t{i}", row[0], row[1:], i >= len(rows) - daemons) for i, row in enumerate(rows)]
    )


def searched(program: Program) -> Result:
    """By the reference; native must say the same, with any number of workers."""
    slow = breadth_first(Reference(program), Request(livelock=True))
    backwards = breadth_first(Reference(program), Request(livelock=True), order=range(len(program.threads))[::-1])
    assert (backwards.verdict, [v.rule for v in backwards.broken]) == (slow.verdict, [v.rule for v in slow.broken])
    if NATIVE:
        native = Native(program)
        for workers, exact in itertools.product((1, 2), (False, True)):
            fast = native_search(native, Request(livelock=True, workers=workers, exact=exact))
            assert (fast.verdict, fast.violation) == (slow.verdict, slow.violation)
            assert slow.verdict is Verdict.BROKEN or (fast.states, fast.transitions) == (slow.states, slow.transitions)
            kept = native_search(native, Request(livelock=True, workers=workers, exact=exact), log_edges=False)
            assert kept.violation == fast.violation
        deep = native_search(native, Request(livelock=True, strategy=DepthFirst()))
        assert deep.verdict is slow.verdict
        assert slow.violation is None or slow.violation.rule != "livelock" or deep.violation == slow.violation
    if slow.violation is not None:
        trace, loop = slow.violation.trace, slow.violation.loop
        trace.replay(program)
        states = [Reference(program).initial, *trace.states]
        assert loop == 0 or states[-1] == states[-1 - loop]
    return slow


@pytest.mark.parametrize(
    ("threads", "daemons"),
    [
        ((polls, sets), 0),  # weak fairness: who can always set the flag sets it
        ((polls, sets), 1),
        ((polls_under_lock, sets_under_lock), 0),  # strong fairness: the lock is free again and again
        ((polls_spinning, sets_spinning), 0),
        ((polls_reading, sets_writing), 0),
        ((polls_reading, polls_reading, sets_writing), 0),  # readers that overlap for ever do not keep a writer out
        ((polls_under_lock, polls_under_lock, sets_under_lock), 0),
        (((counts, 5), (counts, 5)), 0),
        ((looks_at_each,), 0),
        ((ends, serves), 1),  # a daemon may go on for ever
        ((takes_the_lock, serves), 1),
        ((sets_by_trylock, takes_the_lock), 0),
    ],
)
def test_holds(threads: tuple[Any, ...], daemons: int) -> None:
    assert searched(program_of(*threads, daemons=daemons)).verdict is Verdict.HOLDS


def test_how_threads_stand_is_asked_of_states_on_cycles_alone() -> None:
    def graph(*targets: list[int]) -> Edges:
        edges = Edges(daemons=0)
        for steps in targets:
            edges.starts.append(len(edges.targets))
            edges.targets.extend(steps)
        return edges

    def one_thread(number: int) -> Stand:
        asked.append(number)
        return Stand(can=1, alive=1, locking=0, movers=[0])

    asked: list[int] = []
    assert graph([1, 2], [3], [3], []).livelocked(one_thread) == set()
    assert asked == []
    assert graph([1], [2], [1]).livelocked(one_thread) == {1, 2}
    assert sorted(asked) == [1, 2]


@pytest.mark.parametrize(
    ("threads", "daemons", "said"),
    [
        ((polls, ends), 0, "from here no schedule lets t0 end"),
        ((polls_under_lock, sets_by_trylock), 0, "t0 and t1 can go round for ever, though no thread is left out"),
        ((polls_ringing, sets_when_the_bell_rings), 0, "t0 can go round for ever and t1 can wait for ever, though no thread is left out"),
        (((tries_both, True), (tries_both, False)), 0, "t0 and t1 can go round for ever, though no thread is left out"),
        ((chooses,), 0, "t0 can go round for ever, though no thread is left out"),
        ((waits_for_nothing, serves), 1, "from here no schedule lets t0 end"),
    ],
)  # fmt: skip
def test_livelock(threads: tuple[Any, ...], daemons: int, said: str) -> None:
    found = searched(program_of(*threads, daemons=daemons)).violation
    assert found is not None
    assert (found.rule, found.message) == ("livelock", said)
    assert found.loop > 0


def test_the_trace_is_a_shortest_way_and_a_shortest_round() -> None:
    found = searched(program_of((tries_both, True), (tries_both, False))).violation
    assert found is not None
    assert (len(found.trace) - found.loop, found.loop) == (0, 6)


def test_a_loop_too_wide_for_the_shortest_is_still_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of(polls_ringing, sets_when_the_bell_rings, ends)
    shortest = searched(program).violation
    monkeypatch.setattr(loops, "MOST_WAYS", 1)
    found = searched(program).violation
    assert shortest is not None
    assert found is not None
    assert found.loop >= shortest.loop
    assert found.message == shortest.message


def test_where_threads_wait_for_locks_and_where_they_go_round() -> None:
    program = program_of(polls_under_lock, sets_when_the_bell_rings, sets_by_trylock, (counts, 2))
    at = {program.counters[n - 1].function.name for n in lock_steps(program)}
    assert at == {"polls_under_lock"}
    inside = [{program.counters[n - 1].where.line for n in row} for row in inside_loops(program)]
    assert len(inside[0]) == 2
    assert not inside[1]
    assert len(inside[3]) == 1


# The thread of 2021 on device-exclusive access: a driver that maps a page for itself alone invalidates it for everybody; unless
# its own callback looks away, that makes it start over for ever. And two that take the page from each other may do so for ever.


class Page(Record):
    sequence: Annotated[int, Bounds(0, 1)]
    """Changes with every invalidation; two numbers are enough to notice one."""
    owner: Annotated[int, Bounds(0, 2)]
    """The device that has the page for itself; 0: the CPU's tables have it."""


page = shared(Page)


@atomic
def make_device_exclusive(me: Small) -> None:
    """Every subscriber is told (MMU_NOTIFY_EXCLUSIVE): the sequence moves."""
    page.sequence = 1 - page.sequence
    page.owner = me


def exclusive_access(me: Small, tell_own_from_others: bool) -> None:
    """A device's atomic access: marks the page, and starts over if it was invalidated meanwhile."""
    while True:
        seen = page.sequence
        with atomic:
            make_device_exclusive(me)
            if tell_own_from_others:
                seen = page.sequence
        with atomic:
            if page.sequence == seen and page.owner == me:
                break


def cpu_access() -> None:
    """A fault on a device-exclusive entry gives the page back to the CPU's tables, and the access is tried again."""
    while True:
        with atomic:
            if page.owner == 0:
                break
        with atomic:
            page.sequence = 1 - page.sequence
            page.owner = 0


def test_infinite_retries_of_a_device_that_invalidates_itself() -> None:
    found = searched(program_of((exclusive_access, 1, False))).violation
    assert found is not None
    assert found.message == "from here no schedule lets t0 end"
    assert searched(program_of((exclusive_access, 1, True))).verdict is Verdict.HOLDS


@pytest.mark.parametrize("other", [(exclusive_access, 2, True), (cpu_access,)])
def test_two_may_take_a_page_from_each_other_for_ever(other: tuple[Any, ...]) -> None:
    found = searched(program_of((exclusive_access, 1, True), other)).violation
    assert found is not None
    assert found.message == "t0 and t1 can go round for ever, though no thread is left out"
    assert {s.thread for s in found.trace.steps[-found.loop :]} == {0, 1}


# Limits.


def bounces(n: Small) -> None:
    """Goes round while it moves through many states, and can always leave."""
    while True:
        i = choose(4)
        desk.row[i] = (desk.row[i] + 1) % (n + 1)
        if desk.flag:
            break


@pytest.fixture(scope="module")
def wide() -> Native:
    """Some 100,000 states, all of them on cycles."""
    return Native(program_of((bounces, 12), sets))


@native_only
def test_what_cutting_took_is_given_back_before_states_are_handed_over() -> None:
    """All states lie on fair cycles. Both together take 73 bytes for each."""
    native = Native(program_of((bounces, 10)))
    states = native_search(native, Request(workers=1)).states
    assert states > 80_000
    found = native_search(native, Request(limits=Limits(memory=67 * states), livelock=True, workers=1), log_edges=False)
    assert (found.verdict, found.reason) == (Verdict.BROKEN, None)


@native_only
def test_a_limit_of_memory_is_kept_when_loops_are_looked_for(wide: Native) -> None:
    """With as little memory as a search has enough of that looks for no livelock: a table grows by less where memory is short."""
    whole = native_search(wide, Request(livelock=True, workers=1), log_edges=False)
    assert whole.verdict is Verdict.HOLDS
    limits = (Limits(memory=whole.peak * k // 32) for k in itertools.count(8))
    enough = next(limit for limit in limits if native_search(wide, Request(limits=limit, workers=1)).verdict is Verdict.HOLDS)
    assert enough.memory is not None and enough.memory < whole.peak
    between = native_search(wide, Request(limits=enough, livelock=True, workers=1), log_edges=False)
    assert (between.verdict, between.reason) == (Verdict.NOT_FINISHED, "memory")
    assert between.peak <= enough.memory


@native_only
@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.1, 0.2])
def test_a_limit_of_time_is_kept_when_loops_are_looked_for(wide: Native, seconds: float) -> None:
    found = native_search(wide, Request(limits=Limits(seconds=seconds), livelock=True, workers=1))
    assert found.verdict is Verdict.HOLDS or found.reason == "seconds"


@native_only
def test_ctrl_c_when_loops_are_looked_for() -> None:
    native, told = Native(program_of((bounces, 22), sets)), []

    def interrupt(progress: Progress) -> None:
        if progress.frontier == 0 and progress.states > 1000:  # all states were seen
            told.append(progress)
            raise KeyboardInterrupt

    found = native_search(native, Request(on_progress=interrupt, livelock=True, workers=1))
    assert told
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "interrupted")


@native_only
def test_ctrl_c_when_the_loop_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(native_module, "livelock", interrupted)
    found = native_search(Native(program_of(polls, ends)), Request(livelock=True))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "interrupted")


@native_only
def test_random_walks_do_not_pretend_to_look_for_livelocks(wide: Native) -> None:
    with pytest.raises(LangError, match="find no livelock"):
        native_search(wide, Request(strategy=RandomWalks(), livelock=True))


# The log of edges.


def fills(n: Small) -> None:
    """Moves through many states, always onwards."""
    left = 3 * n
    while left > 0:
        i = choose(4)
        if desk.row[i] < n:
            desk.row[i] += 1
        left -= 1


def logged(native: Native, **options: Any) -> dict[str, Any]:
    """What a search says of its log: the states that may lie on cycles, whether it was dropped, how far memory went."""
    search = native_module._Search(native, Request(lock_order=False, livelock=True, **{"workers": 1} | options))
    search._engine()
    raw = search.raw
    said = {"cycling": raw.cycling_count, "dropped": bool(raw.log_dropped), "states": raw.states, "reason": raw.reason, "peak": raw.peak}
    native.library.ss_release(native_module.ctypes.byref(raw))
    return said


@pytest.fixture(scope="module")
def onwards() -> Native:
    return Native(program_of((fills, 12), sets))


@native_only
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_where_nothing_goes_round_peeling_says_so(onwards: Native, workers: int, exact: bool) -> None:
    said = logged(onwards, workers=workers, exact=exact)
    assert said["states"] > 50_000
    assert (said["cycling"], said["dropped"], said["reason"]) == (0, False, 0)


@native_only
def test_depth_first_logs_too(onwards: Native, wide: Native) -> None:
    assert logged(onwards, strategy=DepthFirst())["cycling"] == 0
    assert logged(wide, strategy=DepthFirst(10**6))["cycling"] == logged(wide)["cycling"] > 50_000


@native_only
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_left_when_the_log_is_peeled_lies_between_cycles(workers: int) -> None:
    # before and after the poll, states are peeled off
    said = logged(Native(program_of(counts_polls_and_counts, sets)), workers=workers)
    assert 0 < said["cycling"] < said["states"] / 2


def branches() -> None:
    """No two ways lead to one state, and all lead on within the loop."""
    left = 3
    while True:
        if left == 0:
            wait_until(desk.flag)
        left -= 1
        desk.row[left] = choose(60)


@native_only
def test_a_step_by_which_a_state_was_found_needs_no_room_in_the_log() -> None:
    tree = Native(program_of(branches, daemons=1))
    said, plain = logged(tree), native_search(tree, Request(workers=1, lock_order=False))
    assert (said["cycling"], said["dropped"], said["states"]) == (0, False, plain.states)
    slots = 4096
    while plain.states > slots // 4 * 3:
        slots *= 4
    numbers_and_peeling = 4 * slots + 10 * plain.states
    assert plain.states > 200_000
    assert said["peak"] - plain.peak < numbers_and_peeling + plain.states


def gathers_and_polls() -> None:
    """All that it chooses comes to one state, in which it goes round: a number of ways in of which 16 bits keep 1."""
    left = 1
    while left > 0:
        a = choose(256)
        b = choose(256)
        desk.bell = a + b < 0
        while not desk.flag:
            pass
        left -= 1


@native_only
def test_a_state_with_many_ways_in_is_not_peeled_off_too_early() -> None:
    gathers = Native(program_of(gathers_and_polls))
    assert logged(gathers)["cycling"] == 1
    assert native_search(gathers, Request(livelock=True)).broken[0].rule == "livelock"


def counts_polls_and_counts() -> None:
    for _ in range(20):
        desk.count = (desk.count + 1) % 30
    while not desk.flag:
        pass
    while desk.count > 0:
        desk.count -= 1


@native_only
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.wide)])
def test_the_log_goes_first_where_memory_is_short(onwards: Native, workers: int, exact: bool) -> None:
    whole = logged(onwards, workers=workers, exact=exact)
    plain = native_search(onwards, Request(workers=workers, exact=exact))
    for part in (0.95, 0.8, 0.6):
        limit = int(plain.peak + (whole["peak"] - plain.peak) * part)
        short = logged(onwards, workers=workers, exact=exact, limits=Limits(memory=limit))
        assert (short["dropped"], short["states"], short["reason"]) == (True, whole["states"], 0)
        assert short["peak"] <= limit
        found = native_search(onwards, Request(limits=Limits(memory=limit), livelock=True, workers=workers, exact=exact))
        assert (found.verdict, found.reason) in ((Verdict.HOLDS, None), (Verdict.NOT_FINISHED, "memory"))
        assert found.states == whole["states"]
    enough = native_search(onwards, Request(limits=Limits(memory=2 * whole["peak"]), livelock=True, workers=workers, exact=exact))
    assert enough.verdict is Verdict.HOLDS
