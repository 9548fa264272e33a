"""Reductions in a search by several machines, its members in this process: all that is said is as on one machine.

`SECONDSIGHT_LAW=5000` tries so many small programs; `SECONDSIGHT_REDUCTIONS=all` (`make reductions`) takes every scenario and
adversary. With Ray: test_cluster_ray.py.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
from bench.mirror import CONFIGURATIONS, mirror
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from test_cluster import Small, adds, by_members, cells, first_then_second, loses, program_of, second_then_first

from secondsight.lang import LangError, Machine, choose, require, wait_until
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.search import Limits, Request, Result, Verdict
from secondsight.search import reduced as reduced_module
from secondsight.search.cluster_levels import LocalHosts, Lost, MemberAnswer
from secondsight.search.cluster_member import Agreed
from secondsight.search.reduced import Reduced, reduced_search, search_both

HOUSE = Path(__file__).parents[2]
sys.path.append(str(HOUSE / "tests" / "lang"))

import test_equal_threads  # noqa: E402
import test_symmetry  # noqa: E402
from generated import module_of, sources  # noqa: E402
from generated import program_of as generated_program  # noqa: E402
from loop_programs import LoopWriter  # noqa: E402
from test_reductions import HAND_MADE, alive_or_not, both  # noqa: E402
from test_reductions_everywhere import EVERY, Made  # noqa: E402
from tiny_programs import random_rows, watched  # noqa: E402

COUNT = int(os.environ.get("SECONDSIGHT_LAW", "160"))
CAMPAIGN = int(os.environ.get("SECONDSIGHT_LAW", "0"))
ALL = os.environ.get("SECONDSIGHT_REDUCTIONS") == "all"
COMBINATIONS = [Reductions(merge, symmetry) for merge in (True, False) for symmetry in (True, False)]


def at(members: int, workers: int = 1, batch: int = 1 << 16, hosts: type[LocalHosts] = LocalHosts) -> Callable[..., Result]:
    """A search by so many members, where `native_search` is wanted."""

    def by(native: Native, request: Request) -> Result:
        return by_members(native, members, workers, batch, hosts, request)

    return by


def assert_same(one: Reduced, found: Reduced, program: Program | None = None) -> None:
    """Two searches say the same; counts and outcomes where everything was seen, by the reduced search and by that without."""
    for there, here in ((one.result, found.result), (one.merged, found.merged)):
        assert (there is None) is (here is None)
        if there is None or here is None:
            continue
        assert (there.reduced, there.note, there.exact) == (here.reduced, here.note, here.exact)
        assert (there.verdict is Verdict.HOLDS) is (here.verdict is Verdict.HOLDS)
        if there.verdict is Verdict.HOLDS:
            assert (there.states, there.transitions, there.depth) == (here.states, here.transitions, here.depth)
            assert (there.outcomes, there.violation, there.reason) == (here.outcomes, here.violation, here.reason)
    first, also = one.result.violation, found.result.violation
    if first is not None and also is not None:  # several things may be wrong in one level, and which comes first is not said
        assert found.result.shortest is one.result.shortest
        assert first.rule != also.rule or len(first.trace) == len(also.trace)
        assert len(first.trace) - (also.rule == "deadlock") <= len(also.trace) <= len(first.trace) + (first.rule == "deadlock")
    if program is not None:
        for trace in [v.trace for v in found.result.violations] + [t for t in [found.result.error_trace] if t]:
            trace.replay(program)


def compare(program: Program, wanted: Reductions | None = None, watch: tuple[int, int] | None = None, **options: Any) -> Reduced:
    """One machine against two and three members; what one machine says."""
    one = reduced_search(program, Request(reductions=wanted or Reductions(), watch=watch, workers=1, **options))
    for members, workers, batch in ((2, 1, 300), (3, 2, 1 << 20)):
        found = reduced_search(program, Request(reductions=wanted or Reductions(), watch=watch, **options), at(members, workers, batch))
        assert_same(Reduced(one.result, one.merged), Reduced(found.result, found.merged), program)
    return one


def test_equal_threads_are_renamed_by_all_members() -> None:
    op = test_equal_threads.Op
    body = [(op.LOCK, 0, 0), (op.ADD, 0, 0), (op.UNLOCK, 0, 0), (op.JOIN, 0, 0), (op.ALONE, 0, 0), (op.KEEP, 0, 0)]
    program = test_equal_threads.program_of([body] * 3)
    one = compare(program, None, test_equal_threads.watched(program, "rows"), livelock=True)
    known = reduced_search(program, Request(reductions=Reductions.none(), watch=test_equal_threads.watched(program, "rows"), workers=1)).result
    assert one.merged is not None and "symmetry" in one.merged.reduced
    assert one.result.outcomes == known.outcomes and len(known.outcomes) > 3 and one.result.states * 4 < known.states


class Watched(LocalHosts):
    """Members of whom it is known who found something out, who was stale, and who was so only by what others found out."""

    learned: ClassVar[list[int]] = []
    stale_by_others: ClassVar[list[int]] = []
    stale: ClassVar[list[int]] = []
    when: ClassVar[set[str]] = set()
    """What was asked of those members, then."""

    def ask(self, member: int, method: str, *arguments: Any) -> None:
        """A turn takes in facts first."""
        facts = arguments[0] if method == "agreed" else arguments[4] if method == "turn" else b""
        if facts:
            asked = self.members[member]
            before = asked.agreed(b"")
            assert not before.learned
            if asked.agreed(facts).stale and not any(m.agreed(b"").stale for m in self.members if m is not asked):
                self.stale_by_others += [member] * (not before.stale)
                self.when.add(method)
        super().ask(member, method, *arguments)

    def answer(self, seconds: float) -> MemberAnswer | None:
        """A member says what it found out."""
        answer = super().answer(seconds)
        if answer is not None:
            report = answer.value[0] if isinstance(answer.value, tuple) and hasattr(answer.value[0], "learned") else answer.value
            if getattr(report, "learned", b""):
                self.learned.append(answer.member)
            if getattr(report, "stale", False):
                self.stale.append(answer.member)
        return answer

    @classmethod
    def forget(cls) -> type[Watched]:
        """Begin to watch."""
        cls.learned, cls.stale_by_others, cls.stale, cls.when = [], [], [], set()
        return cls


# Programs of every kind.


@pytest.mark.parametrize("alive", [False, True])
@pytest.mark.parametrize("walks", [0, pytest.param(1, marks=pytest.mark.wide), pytest.param(200, marks=pytest.mark.wide)])
def test_hundreds_of_small_programs(walks: int, alive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without walks before it, nothing is known when a search begins: most begin more than once, by what any member saw."""
    alive_or_not(alive, walks, monkeypatch)
    hosts = Watched.forget()
    part, again = [0, 1, 200].index(walks) * 2 + alive, 0
    for seed in range(1000 + COUNT // 6 * part, 1000 + COUNT // 6 * (1 + part)):
        chance = random.Random(seed)
        rows = random_rows(chance, chance.choice([2, 2, 3]), chance.choice([0.0, 0.0, 0.1, 0.3]))
        program, native, plain = both(rows, chance.choice([0, 0, 1, 2]))
        options = {
            "watch": chance.choice([None, watched(program)]), "deadlock": chance.random() < 0.8, "collect": chance.random() < 0.2,
            "livelock": chance.random() < 0.7, "lock_order": chance.random() < 0.7, "exact": chance.random() < 0.3,
        }  # fmt: skip
        one = search_both(native, plain, Request(workers=1, **options))  # type: ignore[arg-type]
        by = at(chance.randint(1, 4), chance.choice([1, 2]), chance.choice([50, 1000, 1 << 16]), hosts)
        found = search_both(native, plain, Request(**options), by=by)  # type: ignore[arg-type]
        try:
            assert_same(one, found, program)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {rows}, {options}") from error
        again += found.begun > 1
    if not walks:
        assert again > COUNT // 24
        assert hosts.stale
        assert hosts.stale_by_others


@pytest.mark.parametrize("name", HAND_MADE)
def test_programs_that_break_a_careless_reduction(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, rule = HAND_MADE[name]
    for walks in (0, 200):
        alive_or_not(bool(walks), walks, monkeypatch)
        program, native, plain = both(rows)
        for members in (2, 3):
            one = search_both(native, plain, Request(workers=1, watch=watched(program), livelock=True))
            found = search_both(native, plain, Request(watch=watched(program), livelock=True), by=at(members, 1, 50))
            assert_same(one, found, program)
            if rule is not None:
                assert found.result.violation is not None
                assert found.result.violation.rule == rule


def test_small_programs_with_interchangeable_records() -> None:
    for seed in range(COUNT // 5):
        chance = random.Random(seed)
        fixed = not CAMPAIGN or chance.random() < 0.5
        test_symmetry.retarget(fixed, test_symmetry.random_rows(chance))
        program, plain, others = test_symmetry.executors(fixed)
        for native in others:
            options = {"watch": test_symmetry.watched(program), "livelock": True, "deadlock": seed % 2 == 0}
            one = search_both(native, plain, Request(workers=1, **options))  # type: ignore[arg-type]
            assert_same(one, search_both(native, plain, Request(**options), by=at(chance.randint(2, 4), 1, 100)))  # type: ignore[arg-type]


ONCE: dict[str, Any] = {
    "deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": not CAMPAIGN,
    "phases": [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink] if CAMPAIGN else [Phase.generate],
}  # fmt: skip


@settings(max_examples=max(2, CAMPAIGN // 20), **ONCE)
@given(sources())
def test_generated_programs(text: str) -> None:
    with module_of(text) as module:
        try:
            program = generated_program(module)
            assume(reduced_search(program, Request(reductions=Reductions.none(), limits=Limits(states=20_000))).result.reason != "states")
        except LangError:
            assume(False)
        compare(program, watch=(1, program.layout.shared_size), livelock=True)


@pytest.mark.wide
@settings(max_examples=max(2, CAMPAIGN // 20), **ONCE)
@given(st.data())
def test_generated_programs_that_go_round(data: st.DataObject) -> None:
    def draw(n: int) -> int:
        return data.draw(st.integers(0, n - 1))

    text = LoopWriter(draw).program(2)
    with module_of(text) as module:
        try:
            program = build(
                Machine({}), [Thread(f"t{i}", getattr(module, f"thread{i}"), (), i > 0 and not draw(4)) for i in (0, 1)]
            )
            assume(reduced_search(program, Request(reductions=Reductions.none(), limits=Limits(states=20_000))).result.reason != "states")
        except LangError:
            assume(False)
        compare(program, watch=(1, program.layout.shared_size), livelock=True)


@pytest.mark.wide
@pytest.mark.parametrize(("name", "make"), EVERY if ALL else EVERY[40:41], ids=lambda one: one if isinstance(one, str) else "")
def test_everything_in_the_repository(name: str, make: Callable[[], Made | None]) -> None:
    made = make()
    if made is not None:
        program, watch = made
        compare(program, watch=watch, livelock=True)


def gives(n: Small) -> None:
    while True:
        cells[0].value = n


def takes() -> None:
    while True:
        cells[0].value = 0


def test_a_livelock_in_which_the_initial_state_lies_begins_there() -> None:
    """It is found together with the states after it, by whichever member has it."""
    for n in range(1, 13):  # states that are owned in several ways
        said = compare(program_of((gives, n), (takes,)), livelock=True).result.violation
        assert said is not None
        assert (said.rule, len(said.trace)) == ("livelock", 2)


@pytest.mark.wide
@pytest.mark.parametrize("wanted", COMBINATIONS)
def test_each_reduction_can_be_left_out(wanted: Reductions) -> None:
    one = compare(mirror_a(True), wanted, exact=True)
    names = (("merge", wanted.merge), ("symmetry", wanted.symmetry))
    assert one.result.reduced == tuple(name for name, on in names if on)
    known = CONFIGURATIONS["A"][5]
    assert (one.result.states < known) is (wanted != Reductions.none())
    assert compare(mirror_a(False), wanted).result.verdict is Verdict.BROKEN


@cache
def mirror_a(right: bool) -> Program:
    return mirror(*CONFIGURATIONS["A"][:5], right)


# Ends.


def test_all_broken_rules_are_collected() -> None:
    program = program_of((loses, 4), (loses, 4))
    one = compare(program, collect=True)
    assert [v.rule for v in one.result.violations] == ["no-three", "no-five"]
    found = reduced_search(program, Request(collect=True), at(3)).result
    assert [(v.rule, len(v.trace)) for v in found.violations] == [(v.rule, len(v.trace)) for v in one.result.violations]


def test_the_order_of_locks_that_different_members_saw() -> None:
    program = program_of((first_then_second, 1), (second_then_first,))
    for members in range(1, 7):
        found = reduced_search(program, by=at(members)).result
        assert found.violation is not None
        assert found.violation.rule == "lock-order"
        assert reduced_search(program, Request(lock_order=False), at(members)).result.verdict is Verdict.HOLDS


def test_the_order_of_locks_is_learned_from_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduced_module, "WALKS", 0)
    test_the_order_of_locks_that_different_members_saw()


def test_limits_are_kept() -> None:
    program = program_of((adds, 3), (adds, 3), (adds, 3))
    whole = reduced_search(program, by=at(2)).result
    assert (whole.verdict, whole.reduced[:1]) == (Verdict.HOLDS, ("merge",))
    for limits, reason in ((Limits(states=20), "states"), (Limits(seconds=1e-6), "seconds"), (Limits(memory=5 << 20), "memory")):
        found = reduced_search(program, Request(limits=limits), at(2, batch=200)).result
        assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, reason)


def test_a_trace_of_merged_steps_is_expanded() -> None:
    """Where the search without reductions takes too long."""

    def short(native: Native, request: Request) -> Result:
        return at(3)(native, request if native.reductions.merge else request.but(states=2))

    found = reduced_search(mirror_a(False), Request(reductions=Reductions(symmetry=False)), short).result
    assert found.violation is not None
    assert (found.shortest, "fewest merged steps" in found.note) == (False, True)
    found.violation.trace.replay(mirror_a(False))


class Interrupted(LocalHosts):
    """Ctrl-C while it searches."""

    def answer(self, seconds: float) -> MemberAnswer | None:
        """Not answered."""
        raise KeyboardInterrupt


class Gone(LocalHosts):
    """Member 1 is lost when it is to agree about what all know."""

    def ask(self, member: int, method: str, *arguments: Any) -> None:
        """Lost."""
        if member == 1 and method == "agreed":
            raise Lost("lost node 1")
        super().ask(member, method, *arguments)


@pytest.mark.parametrize(("hosts", "reason"), [(Interrupted, "interrupted"), (Gone, "lost node 1")])
def test_nothing_is_begun_again_after_the_end(hosts: type[LocalHosts], reason: str) -> None:
    """The order of locks is broken, which walks have found before: a reason to look without reductions, were it not over."""
    program, begun = program_of((first_then_second, 1), (second_then_first,)), []

    def by(native: Native, request: Request) -> Result:
        begun.append(request)
        return at(2, hosts=hosts)(native, request)

    found = reduced_search(program, by=by).result
    assert (found.verdict, found.reason, found.violations) == (Verdict.NOT_FINISHED, reason, ())
    assert len(begun) == 1


# What one member finds out counts for all.


def section(n: Small) -> None:
    """Merged into one step, as long as nobody looks at the cell without the lock."""
    with cells[0].lock:
        cells[0].value = n
        cells[0].value = 0
    cells[1].value = 1
    wait_until(cells[1].value == 2)


def looks(n: Small) -> None:
    """Reads without the lock, when the other has left its section."""
    cells[2].value = n
    wait_until(cells[1].value == 1)
    seen = cells[0].value
    require(seen == 0, "torn", "a part of a section was seen")
    cells[1].value = 2


def looking(n: int) -> Program:
    return build(Machine({"cells": 3}), [Thread("section", section, (n,)), Thread("looks", looks, (n,))])


def test_an_assumption_that_only_member_1_sees_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state in which the section is looked at is member 1's, and member 0 alone has merged steps in it."""
    monkeypatch.setattr(reduced_module, "WALKS", 0)
    cases = 0
    for n in range(2, 30):
        program, hosts = looking(n), Watched.forget()
        one, found = reduced_search(program, Request(workers=1)), reduced_search(program, by=at(2, hosts=hosts))
        assert_same(one, found, program)
        assert one.begun > 1
        assert found.result.verdict is Verdict.HOLDS
        assert found.begun > 1
        cases += 0 in hosts.stale_by_others
    assert cases > 0


def waits_for_ever(n: Small) -> None:
    """Looks at the cell where the search ends, and goes no further."""
    cells[2].value = n
    wait_until(cells[1].value == 1)
    wait_until(cells[0].value == 60)


def section_only(n: Small) -> None:
    with cells[0].lock:
        cells[0].value = n
        cells[0].value = 0
    cells[1].value = 1


def test_an_assumption_that_is_broken_in_the_last_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """What member 1 sees there comes to others only when all is over."""
    monkeypatch.setattr(reduced_module, "WALKS", 0)
    hosts = Watched.forget()
    for n, also in itertools.product(range(2, 20), (1, 2)):
        threads = [Thread("section", section_only, (n,)), Thread("looks", waits_for_ever, (also,), daemon=True)]
        program = build(Machine({"cells": 3}), threads)
        watch = (1, program.layout.shared_size)  # so a daemon takes single steps
        one = reduced_search(program, Request(watch=watch, workers=1))
        found = reduced_search(program, Request(watch=watch), at(2, hosts=hosts))
        assert_same(one, found, program)
        assert found.result.verdict is Verdict.HOLDS
        if "agreed" in hosts.when:
            return
    raise AssertionError("there is no such case")


def rarely_looks() -> None:
    """As above, but at any time, and so seldom that walks do not come to it."""
    for _ in range(4):
        if choose(6) != 3:
            return
    seen = cells[0].value
    require(seen == 0, "torn", "a part of a section was seen")


def test_what_is_broken_only_without_an_assumption_that_turns_out_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduced_module, "WALKS", 3)
    first: set[int] = set()
    for n in range(2, 8):
        hosts = Watched.forget()
        program = build(Machine({"cells": 3}), [Thread("section", one_section, (n,)), Thread("looks", rarely_looks, ())])
        one, found = reduced_search(program, Request(workers=1)), reduced_search(program, by=at(2, hosts=hosts))
        assert one.begun > 1
        assert_same(one, found, program)
        assert found.result.violation is not None
        assert found.result.violation.rule == "torn"
        first.update(hosts.stale[:1])
    assert first == {0, 1}


def one_section(n: Small) -> None:
    with cells[0].lock:
        cells[0].value = n
        cells[0].value = 0


class Deaf(LocalHosts):
    """Member 0 is told nothing."""

    def ask(self, member: int, method: str, *arguments: Any) -> None:
        """Without its facts."""
        if member == 0 and method == "turn":
            arguments = (*arguments[:4], b"", *arguments[5:])
        super().ask(member, method, *(arguments if method != "agreed" or member else (b"",)))


class Silent(LocalHosts):
    """Member 1 does not say what it found out."""

    def answer(self, seconds: float) -> MemberAnswer | None:
        """Nothing new."""
        answer = super().answer(seconds)
        if answer is not None and answer.member == 1:
            if isinstance(answer.value, Agreed):
                return MemberAnswer(1, Agreed(answer.value.stale, answer.value.sum, b""))
            report, batches = answer.value
            object.__setattr__(report, "learned", b"")
            return MemberAnswer(1, (report, batches))
        return answer


@pytest.mark.parametrize("hosts", [Deaf, Silent])
def test_what_does_not_get_through_is_noticed(hosts: type[LocalHosts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduced_module, "WALKS", 0)
    merged, plain = (reduced_search(looking(2), Request(reductions=wanted)).result for wanted in (Reductions(), Reductions.none()))
    ends = set()
    for n in range(2, 12):
        found = reduced_search(looking(n), by=at(2, hosts=hosts)).result
        ends.add(found.reason)
        if found.reason != "unknown":  # it did not matter; or it was begun too often
            assert (found.verdict, found.states) == (Verdict.HOLDS, merged.states if found.reduced else plain.states)
    assert "unknown" in ends


def test_when_what_protects_state_keeps_changing_steps_are_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduced_module, "WALKS", 0)
    monkeypatch.setattr(reduced_module, "MOST_BEGINNINGS", 1)
    one = compare(looking(9))
    assert (one.result.reduced, one.result.note) == ((), "steps are not merged: what protects the shared state keeps changing")
