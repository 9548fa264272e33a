"""The kernel's queueing rules, and what the language makes of them: a test for each row of the table in docs/language.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pytest

from secondsight.lang import (
    Bounds,
    LangError,
    Machine,
    Mutex,
    Record,
    Ref,
    RwLock,
    SpinLock,
    atomic,
    choose,
    require,
    shared,
    shared_array,
    wait_until,
)
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.lang.slots import Slot
from secondsight.lang.standins import unwrap
from secondsight.search import Request, breadth_first
from secondsight.search.progress import lock_steps
from secondsight.search.reduced import reduced_search

try:
    compiler()
    NATIVE = True
except CompilerMissing:
    NATIVE = False

Small = Annotated[int, Bounds(0, 7)]


class Owner(Record):
    rw: RwLock


class Desk(Record):
    rw: RwLock
    mutex: Mutex
    spin: SpinLock
    other: RwLock
    owner: Ref[Owner]
    flag: bool
    tried: bool
    first: Small
    """Who came first, 0 if nobody has."""
    woken: Small


desk = shared(Desk)
owners = shared_array(Owner, "owners")


def searched(*threads: Callable[[], None]) -> tuple[str, set[tuple[int, ...]]]:
    """The broken rule or "holds", and every final (flag, tried, first, woken); the same by all executors, and replayed."""
    program = program_of(*threads)
    watch = watched(program)
    found = breadth_first(Reference(program), Request(watch=watch, livelock=True))
    if found.violation is not None:
        trace = found.violation.trace
        trace.replay(program)
    if NATIVE:
        fast = reduced_search(program, Request(watch=watch, livelock=True, workers=1)).result
        assert (fast.verdict, fast.violation) == (found.verdict, found.violation)
        assert found.violation is not None or fast.outcomes == found.outcomes
    base = address(program)
    ends = {tuple(slot.value(o, base - watch[0]) if slot else 0 for slot in seen(program)) for o in found.outcomes}
    return found.violation.rule if found.violation else found.verdict.value, ends


def program_of(*threads: Callable[[], None]) -> Program:
    machine = Machine({"owners": 2})
    with machine:
        desk.owner = owners[0]
    return build(machine, [Thread(f"{f.__name__}{i}", f) for i, f in enumerate(threads)])


def watched(program: Program) -> tuple[int, int]:
    places = [slot.at for slot in seen(program) if slot] or [0]
    return address(program) + min(places), address(program) + max(places) + 1


def seen(program: Program) -> list[Slot | None]:
    """Where what counts of a final state lies on the desk; None: nobody writes it."""
    layout, names = program.layout, ("flag", "tried", "first", "woken")
    return [None if layout.is_constant(Desk, name) else layout.field(Desk, name) for name in names]


def met(program: Program, wanted: Callable[[bytes], bool]) -> bool:
    """Whether a state can be reached."""
    reference = Reference(program)
    seen, todo = {reference.initial}, [reference.initial]
    for state in todo:
        if wanted(state):
            return True
        for step in reference.successors(state):
            if step.state is not None and step.state not in seen:
                seen.add(step.state)
                todo.append(step.state)
    return False


def place(program: Program, field: str) -> int:
    """Where a field of the lock lies."""
    return address(program) + program.layout.offset(Desk, "rw") + program.layout.offset(RwLock, field)


def address(program: Program) -> int:
    with program.machine:
        return program.layout.addresses[id(unwrap(desk))]


# Threads.


def reads_till_flag() -> None:
    with desk.rw.reading():
        wait_until(desk.flag)


def reads_and_sets_flag() -> None:
    with desk.rw.reading():
        desk.flag = True


def reads() -> None:
    with desk.rw.reading():
        desk.woken += 1


def writes() -> None:
    with desk.rw.writing():
        if desk.first == 0:
            desk.first = 1


def writes_elsewhere_too() -> None:
    with atomic:
        desk.other.write_lock()
        desk.rw.write_lock()
    desk.rw.write_unlock()
    desk.other.write_unlock()


def tries_to_read() -> None:
    if desk.rw.read_trylock():
        desk.rw.read_unlock()
    else:
        desk.tried = True
    desk.flag = True


# rw_semaphore.


def test_a_reader_waits_behind_a_writer_that_waits() -> None:
    """rwsem_down_read_slowpath()."""
    assert searched(reads_till_flag, reads_and_sets_flag)[0] == "holds"
    assert searched(reads_till_flag, writes, reads_and_sets_flag)[0] == "deadlock"


def test_also_when_the_lock_is_taken_by_a_call() -> None:
    def calls() -> None:
        desk.rw.write_lock()
        desk.rw.write_unlock()

    assert searched(reads_till_flag, calls, reads_and_sets_flag)[0] == "deadlock"


def test_also_for_who_polls() -> None:
    def polls() -> None:
        with desk.rw.reading():
            while not desk.flag:
                pass

    assert searched(polls, reads_and_sets_flag)[0] == "holds"
    assert searched(polls, writes, reads_and_sets_flag)[0] == "livelock"


def test_a_writer_stays_in_the_queue_of_the_lock_that_it_came_to() -> None:
    """The way to it is gone only once, though it may lead elsewhere by the time it has its turn."""

    def writes_by_reference() -> None:
        desk.owner.rw.write_lock()
        if owners[0].rw.held_by_me():
            owners[0].rw.write_unlock()
        else:
            owners[1].rw.write_unlock()

    def leads_elsewhere() -> None:
        with owners[0].rw.reading():
            desk.owner = owners[1]

    def reads_first() -> None:
        with owners[0].rw.reading():
            desk.woken += 1

    assert searched(writes_by_reference, leads_elsewhere, reads_first)[0] == "holds"
    assert searched(writes_by_reference, leads_elsewhere, leads_elsewhere)[0] == "holds"


def test_who_comes_to_a_free_lock_may_be_before_a_writer_that_waits() -> None:
    """rwsem_down_read_slowpath(), "reader optimistic lock stealing"."""

    def comes_late() -> None:
        wait_until(desk.flag)
        with desk.rw.reading():
            if desk.first == 0:
                desk.first = 2

    rule, ends = searched(reads_till_flag, writes, tries_to_read, comes_late)
    assert rule == "holds"
    assert {(tried, first) for _, tried, first, _ in ends} == {(0, 1), (0, 2), (1, 1), (1, 2)}


def test_writers_take_a_free_lock_in_any_order() -> None:
    """rwsem_try_write_lock_unqueued() overtakes the queue."""

    def second() -> None:
        with desk.rw.writing():
            if desk.first == 0:
                desk.first = 2

    assert {end[2] for end in searched(reads, writes, second)[1]} == {1, 2}


def test_readers_come_in_together_before_a_writer() -> None:
    """rwsem_mark_wake(): when a writer leaves, all readers that wait are let in, wherever they stand in the queue."""
    program = program_of(writes, reads, reads, writes)
    assert met(program, lambda s: s[place(program, "readers")] == 0b0110 and s[place(program, "waiting")] == 0b1000)


def test_a_downgrade_lets_readers_in_but_not_past_a_writer() -> None:
    """rwsem_downgrade_wake() wakes the readers at the head of the queue."""

    def downgrades() -> None:
        desk.rw.write_lock()
        desk.rw.write_downgrade()
        wait_until(desk.flag)
        desk.rw.read_unlock()

    program = program_of(downgrades, reads_and_sets_flag)
    assert met(program, lambda s: s[place(program, "readers")] == 0b11)
    assert searched(downgrades, reads_and_sets_flag)[0] == "holds"
    assert searched(downgrades, writes, reads_and_sets_flag)[0] == "deadlock"


def test_a_trylock_fails_while_a_writer_waits() -> None:
    """down_read_trylock() looks at RWSEM_READ_FAILED_MASK, which has RWSEM_FLAG_WAITERS."""
    assert {end[1] for end in searched(reads_till_flag, tries_to_read)[1]} == {0}
    assert {end[1] for end in searched(reads_till_flag, writes, tries_to_read)[1]} == {0, 1}


def test_a_trylock_may_take_a_free_lock_that_others_wait_for() -> None:
    """In the kernel it fails for as long as somebody is in the queue: the writer came while another wrote."""

    def tries_when_free() -> None:
        wait_until(desk.rw.owner == 0 and desk.first != 0)
        if desk.rw.read_trylock():
            desk.tried = True
            desk.rw.read_unlock()

    assert {end[1] for end in searched(writes, writes, tries_when_free)[1]} == {0, 1}


def test_a_trylock_for_writing_wants_the_lock_for_itself() -> None:
    """down_write_trylock(): nobody has it, nobody waits."""

    def tries() -> None:
        if desk.rw.write_trylock():
            require(desk.rw.held_by_me() and desk.rw.readers == 0, "alone", "others read")
            desk.rw.write_unlock()
        else:
            desk.tried = True

    rule, ends = searched(reads, tries)
    assert rule == "holds"
    assert {end[1] for end in ends} == {0, 1}


def test_readers_that_overlap_for_ever_do_not_keep_a_writer_out() -> None:
    def reads_till_written() -> None:
        while True:
            with desk.rw.reading():
                if desk.first != 0:
                    return

    assert searched(reads_till_written, reads_till_written, writes)[0] == "holds"


def test_a_writer_that_takes_several_locks_in_one_step_waits_outside_of_the_queue() -> None:
    assert searched(reads_till_flag, writes_elsewhere_too, reads_and_sets_flag)[0] == "holds"


@pytest.mark.parametrize("take", ["read_lock", "read_trylock"])
def test_readers_do_not_nest(take: str) -> None:
    def again() -> None:
        with desk.rw.reading():
            desk.rw.read_lock()

    def tries_again() -> None:
        with desk.rw.reading():
            desk.tried = desk.rw.read_trylock()

    assert searched(again if take == "read_lock" else tries_again)[0] == "double-lock"


# Mutexes and spinlocks.


@pytest.mark.parametrize("kind", ["mutex", "spin"])
def test_whoever_waits_for_a_lock_may_get_it_next_and_does_get_it(kind: str) -> None:
    """__mutex_handoff(), queued_spin_lock_slowpath(): any order, and no livelock for who polls under it."""

    def polls_mutex() -> None:
        while True:
            with desk.mutex:
                if desk.flag:
                    return

    def sets_mutex() -> None:
        with desk.mutex:
            desk.flag = True

    def polls_spin() -> None:
        while True:
            with desk.spin:
                if desk.flag:
                    return

    def sets_spin() -> None:
        with desk.spin:
            desk.flag = True

    mutex = kind == "mutex"
    assert searched(polls_mutex if mutex else polls_spin, sets_mutex if mutex else sets_spin)[0] == "holds"


def test_a_loop_around_a_trylock_queues_nowhere() -> None:
    """mutex_trylock()."""

    def polls() -> None:
        while not desk.flag:
            with desk.mutex:
                pass

    def tries() -> None:
        while True:
            if desk.mutex.trylock():
                desk.mutex.unlock()
                break
        desk.flag = True

    assert searched(polls, tries)[0] == "livelock"


# Waiting.


def test_wait_until_may_find_the_condition_gone_each_time() -> None:
    """wait_event() looks again when it was woken."""

    def rings() -> None:
        while not desk.tried:
            desk.flag = True
            desk.flag = False

    def waits() -> None:
        wait_until(desk.flag)
        desk.tried = True

    assert searched(rings, waits)[0] == "livelock"


def test_all_whose_condition_holds_may_go_on() -> None:
    """__wake_up_common() wakes one exclusive waiter; here one that goes on keeps no other from it, as if all were woken."""

    def waits() -> None:
        wait_until(desk.flag)
        desk.woken += 1

    def wakes() -> None:
        desk.flag = True

    rule, ends = searched(waits, waits, wakes)
    assert (rule, {end[3] for end in ends}) == ("holds", {2})


def test_a_signal_is_written_as_a_choice() -> None:
    """wait_event_interruptible(): -ERESTARTSYS is nothing that the language brings about by itself."""

    def waits() -> None:
        if choose(2) == 0:
            wait_until(desk.flag)
        else:
            desk.tried = True

    assert searched(waits)[0] == "deadlock"
    assert {end[1] for end in searched(waits, reads_and_sets_flag)[1]} == {0, 1}


# What it costs.


def test_a_queue_that_nobody_can_see_is_no_state() -> None:
    """With one reader, or no writer, there is nobody to come behind a writer that waits."""

    alone, several = program_of(reads, writes, writes), program_of(reads, reads, writes)
    assert not met(alone, lambda s: s[place(alone, "waiting")] != 0)
    assert met(several, lambda s: s[place(several, "waiting")] != 0)
    assert len(several.counters) == len(alone.counters) + 1


def test_who_stands_in_the_queue_stands_at_a_lock() -> None:
    program = program_of(reads_till_flag, writes, reads_and_sets_flag)
    found = breadth_first(Reference(program)).violation
    assert found is not None
    last = Reference(program).counter(found.trace.states[-1], 1)
    assert last in lock_steps(program)


def test_a_writer_in_the_queue_does_not_sleep_with_a_spinlock_held() -> None:
    def sleeps() -> None:
        with desk.spin:
            desk.rw.write_lock()

    assert searched(reads, reads, sleeps)[0] == "sleep-in-atomic"


def test_by_hand_there_is_no_queue() -> None:
    with Machine({}):
        desk.rw.read_lock()
        with pytest.raises(LangError, match="double-lock"):
            desk.rw.write_lock()
        desk.rw.read_unlock()
        desk.rw.write_lock()
        desk.rw.write_downgrade()
        assert (desk.rw.waiting, desk.rw.held_by_me()) == (0, True)
        desk.rw.read_unlock()
