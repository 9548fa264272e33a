"""Equal threads: states up to renaming them give the same verdicts and outcomes.

`SECONDSIGHT_LAW=3000` tries so many small programs.
"""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from secondsight.contract import ADVERSARIES, driver_program
from secondsight.devices.mirror import Mirror, MirrorCallbackWithoutLock
from secondsight.lang import (
    U8,
    Array,
    Bounds,
    Machine,
    Mutex,
    Record,
    Ref,
    RwLock,
    SequenceNumber,
    atomic,
    choose,
    const,
    current,
    require,
    shared,
    shared_array,
    wait_until,
)
from secondsight.lang.canonical_equal import WHICH, equal_threads_in_facts
from secondsight.lang.compiler import compiler
from secondsight.lang.equal import EqualThreads, equal_threads_of
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.lang.symmetry import renaming_of
from secondsight.search import Request, Verdict
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_native, reduced_search, search_both
from secondsight.search.strategy import Preemptions
from secondsight.world.model import watched as results_of

COUNT = int(os.environ.get("SECONDSIGHT_LAW", "160"))
Small = Annotated[int, Bounds(0, 3)]
RowNumber = Annotated[int, Bounds(0, 30)]


class Op(IntEnum):
    """What a statement does; `a` and `b` are its numbers, `r` the thread's own register, `who` the number of a thread that it knows."""

    READ = 0  # r = cells[a]
    WRITE = 1  # cells[a] = r
    ADD = 2  # cells[a] += 1
    LOCK = 3
    UNLOCK = 4
    READ_LOCK = 5
    READ_UNLOCK = 6
    WRITE_LOCK = 7
    WRITE_UNLOCK = 8
    CLAIM = 9  # the owner is this thread, if there is none
    RELEASE = 10  # there is none, if it is this thread
    OWNED = 11  # r = whether it is this thread
    KNOW = 12  # who = the owner
    KNOWN = 13  # r = whether the owner is who
    JOIN = 14  # this thread is in the set
    LEAVE = 15
    ALONE = 16  # r = whether the set is this thread alone
    KEEP = 17  # what is kept for this thread is r
    KEPT = 18  # r = what is kept for this thread
    ALL = 19  # where a is kept for a thread, b is kept
    PICK = 20  # who = this thread; the page is any that nobody has
    MARK = 21  # the page's mark is r
    MARKED = 22  # r = the page's mark
    REQUIRE = 23  # cells[a] == 0 or r == b
    WAIT = 24  # cells[a] == b
    CHOOSE = 25
    OTHERS = 26  # what is kept for the owner is r
    COUNT = 27  # a sequence number goes on, if it has not since this was asked last; else r = 1


class Page(Record):
    interchangeable = True
    mark: Small
    owner: U8


class World(Record):
    cells: Array[Small, Literal[3]]
    mutex: Mutex
    rw: RwLock
    owner: U8
    present: U8
    kept: Array[Small, Literal[8]]
    sequence: SequenceNumber = 2


class Told(Record):
    value: Small


world = shared(World)
pages = shared_array(Page, "pages")
results = shared_array(Told, "rows")
op = const("op", Op)
first_number = const("a")
second_number = const("b")


def run(first: RowNumber, end: RowNumber) -> None:
    """One thread: the rows `first` to before `end`."""
    r: Small = 0
    who: U8 = 0
    page: Ref[Page] = None
    saved: SequenceNumber = 0
    for i in range(first, end):
        if op[i] == Op.KNOW:
            who = world.owner
        elif op[i] == Op.KNOWN:
            same = world.owner == who
            r = 1 if same else 0
        elif op[i] == Op.PICK:
            with atomic:
                who = current()
                page = choose(p for p in pages)
                page.owner = who
        elif op[i] == Op.MARK:
            if page is not None:
                page.mark = r
        elif op[i] == Op.MARKED:
            if page is not None:
                r = page.mark if page.owner == who else 3
        elif op[i] == Op.COUNT:
            with atomic:
                if saved == world.sequence or saved == 0:
                    world.sequence += 1
                else:
                    r = 1
                saved = world.sequence
        else:
            r = statement(i, r)
        results[i].value = r


def statement(i: RowNumber, r: Small) -> Small:
    """One row; the register afterwards."""
    a = first_number[i]
    b = second_number[i]
    if op[i] == Op.READ:
        return world.cells[a]
    if op[i] == Op.WRITE:
        world.cells[a] = r
    elif op[i] == Op.ADD:
        world.cells[a] = (world.cells[a] + 1) % 4
    elif op[i] == Op.LOCK:
        world.mutex.lock()
    elif op[i] == Op.UNLOCK:
        world.mutex.unlock()
    elif op[i] == Op.READ_LOCK:
        world.rw.read_lock()
    elif op[i] == Op.READ_UNLOCK:
        world.rw.read_unlock()
    elif op[i] == Op.WRITE_LOCK:
        world.rw.write_lock()
    elif op[i] == Op.WRITE_UNLOCK:
        world.rw.write_unlock()
    elif op[i] == Op.REQUIRE:
        require(world.cells[a] == 0 or r == b, "register", "the register is not what it should be")
    elif op[i] == Op.WAIT:
        wait_until(world.cells[a] == b)
    elif op[i] == Op.CHOOSE:
        return choose(2)
    else:
        return of_threads(i, r)
    return r


@atomic
def of_threads(i: RowNumber, r: Small) -> Small:
    """What is done with threads' numbers."""
    a = first_number[i]
    b = second_number[i]
    if op[i] == Op.CLAIM:
        if world.owner == 0:
            world.owner = current()
    elif op[i] == Op.RELEASE:
        if current() == world.owner:
            world.owner = 0
    elif op[i] == Op.OWNED:
        return 1 if world.owner == current() else 0
    elif op[i] == Op.JOIN:
        world.present = world.present | 1 << (current() - 1)
    elif op[i] == Op.LEAVE:
        world.present = world.present & ~(1 << (current() - 1))
    elif op[i] == Op.ALONE:
        return 1 if world.present == 1 << (current() - 1) else 0
    elif op[i] == Op.KEEP:
        world.kept[current()] = r
    elif op[i] == Op.KEPT:
        return world.kept[current()]
    elif op[i] == Op.OTHERS:
        world.kept[world.owner] = r
    elif op[i] == Op.ALL:
        for thread in range(1, 8):
            if world.kept[thread] == a:
                world.kept[thread] = b
    return r


Row = tuple[Op, int, int]


def program_of(rows: list[list[Row]]) -> Program:
    flat = [row for own in rows for row in own]
    tables = {"op": [int(r[0]) for r in flat], "a": [r[1] for r in flat], "b": [r[2] for r in flat]}
    machine = Machine({"pages": 2, "rows": 24}, data=tables, only={"op": [int(o) for o in Op]})
    started, at = [], 0
    for i, own in enumerate(rows):
        started.append(Thread(f"t{i}", run, (at, at + len(own))))
        at += len(own)
    return build(machine, started, room=Room(3, (run,)))


def watched(program: Program, name: str) -> tuple[int, int]:
    """Where the world lies, or the results."""
    layout = program.layout
    declared = next(d for d in layout.declarations if d.name.endswith(name))
    return layout.base[declared], layout.base[declared] + layout.size(declared.kind)


def classes(program: Program) -> list[int]:
    found, why = equal_threads_of(program)
    assert not why
    return [] if found is None else list(found.classes)


PAIRS = [(Op.LOCK, Op.UNLOCK), (Op.READ_LOCK, Op.READ_UNLOCK), (Op.WRITE_LOCK, Op.WRITE_UNLOCK), (Op.CLAIM, Op.RELEASE), (Op.JOIN, Op.LEAVE)]
SINGLE = [o for o in Op if all(o not in pair for pair in PAIRS)]


def random_body(chance: random.Random, most: int) -> list[Row]:
    def row(kind: Op) -> Row:
        return kind, chance.randint(0, 2), chance.randint(0, 1)

    body: list[Row] = []
    while len(body) < most:
        single = [row(chance.choice([o for o in SINGLE if o is not Op.REQUIRE or chance.random() < 0.3])) for _ in range(chance.randint(1, 2))]
        if chance.random() < 0.4:
            take, give = chance.choice(PAIRS)
            single = [row(take), *single, *([row(give)] if chance.random() < 0.95 else [])]
        body += single
    return body[:8]


def random_rows(chance: random.Random) -> list[list[Row]]:
    one = random_body(chance, chance.randint(1, 4))
    if chance.random() < 0.3:
        return [one, one]
    if chance.random() < 0.5:
        return [one[:3]] * 3
    other = random_body(chance, 2)[:4]
    return chance.choice([[one, one, other], [other, one, one], [one, other, one]])


def steps_of(plain: Native, state: bytes, threads: EqualThreads, form: Callable[[bytes], bytes]) -> frozenset[Any]:
    return frozenset((threads.classes[s.thread], s.choices, s.state and form(s.state), str(s.error)) for s in plain.successors(state))


def assert_alike(plain: Native, renamed: Native, most: int = 400) -> int:
    """Every exchange of equal threads maps steps to steps, and a state has the form of what it is exchanged to. The counts of forms."""
    assert renamed.symmetry is not None and renamed.symmetry.threads is not None
    threads = renamed.symmetry.threads
    todo, seen, forms = [plain.initial], {plain.initial}, set()
    for state in todo:
        forms.add(renamed.form(state))
        after = [s.state for s in plain.successors(state) if s.state is not None]
        for one, other in threads.pairs():
            names = {one: other, other: one}
            turned = renamed.exchanged(state, one, other)
            assert renamed.exchanged(turned, one, other) == state
            mine = {(names.get(s.thread, s.thread), s.choices, s.state and renamed.exchanged(s.state, one, other), str(s.error)) for s in plain.successors(state)}
            assert mine == {(s.thread, s.choices, s.state, str(s.error)) for s in plain.successors(turned)}
            assert steps_of(plain, turned, threads, renamed.form) == steps_of(plain, state, threads, renamed.form)
            if not renamed.symmetry.arrays:
                assert renamed.form(turned) == renamed.form(state)
        if len(seen) < most:
            todo += sorted(set(after) - seen)
            seen |= set(after)
    return len(forms)


@cache
def executors() -> tuple[Program, Native, dict[str, Native]]:
    program = program_of([[(Op.ADD, 0, 0)]] * 3)
    symmetry, told = renaming_of(program)
    assert symmetry is not None and symmetry.arrays and symmetry.sequences is not None and symmetry.equal is not None and not told
    others = {name: Native(program, Reductions(merge, True), symmetry) for name, merge in (("renamed", False), ("merged", True))}
    others["threads"] = Native(program, Reductions(False, True), replace(symmetry, arrays=()))  # of which each has one form
    return program, Native(program), others


def retarget(rows: list[list[Row]]) -> tuple[Program, Native, dict[str, Native]]:
    """The executors of other rows: the text stays the same."""
    _, plain, others = executors()
    program = program_of(rows)
    assert program.code is plain.program.code
    threads, why = equal_threads_of(program)
    assert threads is not None and not why
    for one in (plain, *others.values()):
        one.program = program
        one.symmetry = one.symmetry and replace(one.symmetry, threads=threads)
        one.threads = [(i, base, i + 1) for i, base in enumerate(program.bases)]
        one._tables = [(ctypes.c_int64 * max(1, len(row := program.row(name))))(*row) for name in one.rendered.tables]
        with one.alone():
            one.initial = one._initial()
    return program, plain, others


@pytest.mark.wide
def test_small_programs() -> None:
    total = reduced = broken = 0
    for seed in range(COUNT):
        chance = random.Random(seed)
        rows = random_rows(chance)
        program, plain, others = retarget(rows)
        request = Request(watch=chance.choice([watched(program, "world"), watched(program, "rows"), None]), workers=1, livelock=True, deadlock=seed % 2 == 0)
        known = native_search(plain, request)
        broken += known.verdict is Verdict.BROKEN
        for name, native in ((name, others[name]) for name in ("renamed", "merged")):
            both = search_both(native, plain, request)
            merged, found = both.merged, both.result
            assert merged is not None
            assert (merged.verdict is Verdict.HOLDS) == (known.verdict is Verdict.HOLDS), (seed, name, rows)
            assert (found.verdict, found.violation) == (known.verdict, known.violation), (seed, name, rows)
            if known.verdict is Verdict.HOLDS:
                assert merged.outcomes == known.outcomes, (seed, name, rows)
                assert merged.states <= known.states
                if name == "renamed":
                    total, reduced = total + known.states, reduced + merged.states
        if seed % 8 == 0:
            assert_alike(plain, others["renamed"])
    assert 0 < broken < COUNT
    assert reduced * 2 < total, f"{total} states, {reduced} up to renaming"


def pairs_by_preemptions(plain: Native, most: int, enough: int) -> dict[tuple[bytes, int], tuple[int, list[Any]]] | None:
    """By the definition: each pair of a state and the thread that led there, with the fewest preemptions and the steps from it. None: there are more than `enough`."""
    todo: deque[tuple[bytes, int, int]] = deque([(plain.initial, -1, 0)])
    seen: dict[tuple[bytes, int], tuple[int, list[Any]]] = {}
    while todo:
        state, last, spent = todo.popleft()
        if (state, last) in seen:  # those with fewer come first
            continue
        ways = list(plain.successors(state))
        goes_on = any(s.thread == last for s in ways)
        steps = [(s, int(goes_on and s.thread != last)) for s in ways]
        seen[state, last] = spent, steps
        if len(seen) > enough:
            return None
        for s, cost in steps:
            if s.state is not None and spent + cost <= most:
                (todo.append if cost else todo.appendleft)((s.state, s.thread, spent + cost))
    return seen


def test_renamed_with_a_bound_on_preemptions() -> None:
    """A pair of a state and the thread that led there is renamed as a whole: no step, and no preemption, becomes more or less by it."""
    whole = fewer = broken = 0
    for seed in range(0, COUNT, 8):
        program, plain, others = retarget(random_rows(random.Random(seed)))
        for most in (0, 1, 2):
            asked = Request(strategy=Preemptions(most), workers=1 + seed % 16 // 8, watch=watched(program, "world"))
            known = native_search(plain, asked)
            for name in ("renamed", "threads"):
                found = search_both(others[name], plain, asked).merged
                assert found is not None
                assert (found.verdict, found.reason, found.preemptions) == (known.verdict, known.reason, known.preemptions), (seed, most)
                if known.verdict is not Verdict.BROKEN:
                    assert found.outcomes == known.outcomes, (seed, most)
                    whole, fewer = whole + known.states, fewer + found.states
            if known.verdict is Verdict.BROKEN:
                broken += 1
                break
            if (pairs := pairs_by_preemptions(plain, most, 150)) is None:
                break
            assert len(pairs) == known.states
            assert found is not None and len(known_by(others["threads"], pairs)) == found.states, (seed, most)
    assert broken > 0
    assert fewer * 1.5 < whole, f"{whole} pairs, {fewer} up to renaming"


def known_by(renamed: Native, pairs: dict[tuple[bytes, int], tuple[int, list[Any]]]) -> dict[Any, Any]:
    """What pairs are known by. Those that are one have the same steps, to pairs that are one, with as many preemptions."""
    assert renamed.symmetry is not None and renamed.symmetry.threads is not None
    classes = renamed.symmetry.threads.classes

    def form(state: bytes | None, last: int) -> Any:
        room = ctypes.create_string_buffer(state, len(state)) if state is not None else None
        return room and (renamed.library.ss_canonical(room, last), room.raw)

    found: dict[Any, Any] = {}
    with renamed.alone():
        for (state, last), (spent, ways) in pairs.items():
            steps = {(s.thread == last, classes[s.thread], s.choices, cost, form(s.state, s.thread), str(s.error)) for s, cost in ways}
            assert found.setdefault(form(state, last), (spent, steps)) == (spent, steps)
    return found


# Facts that merged steps rest on.


def test_what_is_known_of_one_is_known_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of equal threads are kept once: for the first of a class, or the first two. Nothing is noted of others."""
    section: list[Row] = [(Op.LOCK, 0, 0), (Op.ADD, 0, 0), (Op.KEEP, 0, 0), (Op.UNLOCK, 0, 0), (Op.ALL, 0, 1)]
    for rows, same in (([section] * 3, {(0, 1): (1, 2)}), ([section, section, [(Op.READ, 0, 0)]], {(0, 2): (1, 2), (2, 0): (2, 1), (0, 1): (1, 0)})):
        _, plain, others = retarget(rows)
        merged = others["merged"]
        assert search_both(merged, plain, Request(workers=1)).result.verdict is Verdict.HOLDS
        data = ctypes.create_string_buffer(merged.library.ss_size_of_facts())
        with merged.alone():
            merged.library.ss_all_facts(data)
        held = data.raw[: len(data.raw) - len(data.raw) % 9]
        entry = _held_of(merged, held)
        for kept, other in same.items():
            assert any(entry(*kept)) and not any(entry(*other))


def _held_of(native: Native, held: bytes) -> Callable[[int, int], list[bool]]:
    """Of two threads, which facts were narrowed."""
    numbers = int(next(line for line in native.source.splitlines() if "PLACES =" in line).split("PLACES =")[1].split("}")[0])
    size, ways = 16, 8

    def of(t: int, u: int) -> list[bool]:
        at = ((t * native.program.code.capacity + u) * numbers) * ways * size
        return [held[at + i * size : at + (i + 1) * size] != b"\xff" * size for i in range(numbers * ways)]

    return of


_INDEX = """
#include <stdint.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef int32_t i32;
enum {{ THREADS = {threads}, PLACES = {places} }};
{text}
void fact_of(int t, int u, int place, int *out)
{{
	out[0] = pair_of[t][u][0];
	out[1] = pair_of[t][u][1];
	out[2] = STANDS(t, u, place);
}}
"""


def test_accesses_that_a_renaming_makes_of_each_other_have_one_fact(tmp_path: Path) -> None:
    """And others have not. The renaming is that of states: a place goes where a bit in it goes."""
    trapping = "-fsanitize=bounds", "-fsanitize-undefined-trap-on-error"
    for rows in ([[(Op.ADD, 0, 0)]] * 3, [[(Op.ADD, 0, 0)], [(Op.ADD, 0, 0)], [(Op.READ, 0, 0)]]):
        program, _, others = retarget(rows)
        renamed = others["renamed"]
        assert renamed.symmetry is not None and renamed.symmetry.threads is not None
        equal = renamed.symmetry.threads
        numbers = {place: number for number, place in enumerate(sorted(program.layout.places()), 1)}
        made = tmp_path / "facts.so"
        if not made.exists():
            text = "\n".join([WHICH, *equal_threads_in_facts(program, equal, numbers)])
            made.with_suffix(".c").write_text(_INDEX.format(threads=program.code.capacity, places=len(numbers) + 1, text=text))
            subprocess.run([*compiler()[0], *trapping, "-w", "-shared", "-fPIC", "-o", made, made.with_suffix(".c")], check=True)
        library = ctypes.CDLL(str(made))
        equal.tell(library)
        moved, alike = 0, {(t, u, p): {(t, u, p)} for t, u in permutations(range(len(program.threads)), 2) for p in numbers.values()}
        known = {access: _fact_of(library, *access) for access in alike}
        for one, other in equal.pairs():
            goes = {one: other, other: one}
            for (byte, bit), number in numbers.items():
                state = bytearray(program.size)
                state[byte] = 1 << bit
                after = int.from_bytes(renamed.exchanged(bytes(state), one, other), "little").bit_length() - 1
                to = numbers.get((after // 8, after % 8), number)  # else it is a number of a thread that has changed, where it was
                moved += to != number
                for t, u in permutations(range(len(program.threads)), 2):
                    turned = goes.get(t, t), goes.get(u, u), to
                    assert known[t, u, number] == known[turned], (one, other, byte, bit, t, u)
                    if alike[turned] is not alike[t, u, number]:
                        alike[t, u, number] |= alike[turned]
                        alike.update(dict.fromkeys(alike[turned], alike[t, u, number]))
        assert moved >= 4
        assert len(set(known.values())) == len({id(same) for same in alike.values()})


def _fact_of(library: ctypes.CDLL, t: int, u: int, place: int) -> tuple[int, ...]:
    """Which fact is kept of a thread's access beside another thread."""
    out = (ctypes.c_int * 3)()
    library.fact_of(t, u, place, out)
    return tuple(out)


# Drivers.


@pytest.mark.parametrize("name", ["zero-page: two engines", "exit: two engines"])
def test_engines_of_a_device(name: str) -> None:
    scenario = next(s for a in ADVERSARIES.values() for s in a.scenarios if s.name == name)
    program = driver_program(Mirror, scenario)
    watch = results_of(program)
    symmetry, told = renaming_of(program, watch)
    assert symmetry is not None and symmetry.threads is not None and not told
    assert symmetry.threads.classes == (0, 1, 1, 3)
    plain, renamed = Native(program), Native(program, Reductions(False, True), symmetry)
    chance, state = random.Random(7), plain.initial
    for _ in range(150):
        turned = renamed.exchanged(state, 1, 2)
        after = list(plain.successors(state))
        mine = {({1: 2, 2: 1}.get(s.thread, s.thread), s.choices, s.state and renamed.exchanged(s.state, 1, 2), str(s.error)) for s in after}
        assert mine == {(s.thread, s.choices, s.state, str(s.error)) for s in plain.successors(turned)}
        assert renamed.form(turned) == renamed.form(state)
        ways = [s.state for s in after if s.state is not None]
        state = chance.choice(ways) if ways else plain.initial


def test_a_wrong_driver_is_found_and_a_right_one_has_all_outcomes() -> None:
    scenario = next(s for a in ADVERSARIES.values() for s in a.scenarios if s.name == "munmap: two engines")
    program = driver_program(Mirror, scenario)
    watch = results_of(program)
    known = native_search(Native(program), Request(watch=watch, workers=1))
    found = reduced_search(program, Request(watch=watch, workers=1, livelock=True))
    assert found.result.verdict is Verdict.HOLDS and found.result.outcomes == known.outcomes
    told_apart = search_both(_told_apart(program, watch), None, Request(watch=watch, workers=1)).merged
    assert told_apart is not None and told_apart.outcomes == known.outcomes
    assert found.result.states * 1.8 < told_apart.states
    wrong = driver_program(MirrorCallbackWithoutLock, scenario)
    assert reduced_search(wrong, Request(workers=1)).result.violation == native_search(Native(wrong), Request(workers=1)).violation


def _told_apart(program: Program, watch: tuple[int, int]) -> Native:
    native, _ = reduced_native(program, None, watch)
    assert native.symmetry is not None
    return Native(program, native.reductions, native.symmetry.without_threads())
