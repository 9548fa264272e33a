"""One search for every caller: which executor runs, and that it does not matter."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import pytest

from secondsight.lang import Bounds, LangError, Machine, Mutex, Record, choose, shared, wait_until
from secondsight.lang import compiler as compilers
from secondsight.lang.movers import Reductions
from secondsight.lang.program import Program, Thread, build
from secondsight.search import Limits, Progress, Request, Result, Trace, Verdict, Violation, auto, executors, reduced
from secondsight.search.auto import search, why_not_native
from secondsight.search.request import ExecutorName
from secondsight.search.strategy import DepthFirst, RandomWalks

Small = Annotated[int, Bounds(0, 90)]


class Counter(Record):
    lock: Mutex
    value: Small


counter = shared(Counter)


def counts(n: Small) -> None:
    """Adds n, one by one; updates may be lost."""
    for _ in range(n):
        seen = counter.value
        counter.value = seen + 1


def counts_under_a_lock(n: Small) -> None:
    """The same, and none is lost."""
    for _ in range(n):
        with counter.lock:
            seen = counter.value
            counter.value = seen + 1


def waits_for_all(n: Small) -> None:
    """Counts, and waits until all was counted; some of it may be lost."""
    seen = counter.value
    counter.value = seen + 1
    wait_until(counter.value == n)


def program_of(n: int = 6) -> Program:
    return build(Machine(), [Thread(f"t{i}", counts, (n,)) for i in range(2)])


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise compilers.CompilerMissing("no C compiler: install cc")

    monkeypatch.setattr(auto, "compiler", missing)


EXECUTORS: tuple[ExecutorName, ...] = ("auto", "reference", "native")
has_compiler = pytest.mark.skipif(why_not_native() is not None, reason="no C compiler")


def test_a_small_search_stays_with_the_reference() -> None:
    assert search(program_of()).exact


@has_compiler
def test_a_large_search_goes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "SWITCH", 100)
    whole = search(program_of(), Request(executor="reference"))
    found = search(program_of(), Request(reductions=Reductions.none()))
    assert not found.exact
    assert (found.verdict, found.states, found.transitions) == (Verdict.HOLDS, whole.states, whole.transitions)
    for limits, reason in ((Limits(states=150), "states"), (Limits(seconds=1e-9), "seconds"), (Limits(memory=1), "memory")):
        assert search(program_of(), Request(limits=limits)).reason == reason


@has_compiler
@pytest.mark.parametrize("compiles", [True, False])
def test_a_large_search_ends_on_the_reference_where_native_code_cannot_be_made(
    compiles: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    if compiles:
        monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path / "file"))
    else:
        def fails(*commands: list[str]) -> None:
            raise compilers.CompilerFailed("the C compiler failed: stdint.h: No such file; stop")

        monkeypatch.setattr(compilers, "_run", fails)
        monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(auto, "SWITCH", 100)
    whole = search(program_of(5), Request(executor="reference"))
    found = search(program_of(5))
    assert (found.verdict, found.states, found.exact) == (Verdict.HOLDS, whole.states, True)
    assert "searched on the reference executor" in found.note and "; " not in found.note
    assert search(program_of(5), Request(limits=Limits(states=150))).reason == "states"
    with pytest.raises(compilers.CompilerFailed):
        search(program_of(5), Request(executor="native"))


def picks() -> None:
    counter.value = choose(35_000) % 90


def test_more_steps_from_one_state_than_two_bytes_can_number() -> None:
    made = build(Machine(), [Thread(name, picks) for name in ("one", "two")])
    assert search(made, Request(executor="reference", limits=Limits(states=4))).reason == "states"
    if why_not_native() is None:
        assert "more than 8192 steps from one state" in str(search(made, Request(executor="native")).error)


@has_compiler
def test_every_executor_says_the_same() -> None:
    seen: list[Progress] = []
    results = [
        search(program_of(), Request(executor=executor, on_progress=seen.append, livelock=True, reductions=Reductions.none()))
        for executor in EXECUTORS
    ]
    assert len({(r.verdict, r.states, r.transitions, r.depth) for r in results}) == 1
    assert search(program_of(), Request(executor="native", exact=True)).exact
    assert search(program_of(), Request(strategy=DepthFirst())).verdict is Verdict.HOLDS


@has_compiler
def test_reductions_are_made_by_the_native_executor_alone_and_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "FEW", 10)
    monkeypatch.setattr(executors, "NARROWING", 0)
    program = build(Machine(), [Thread(f"t{i}", counts_under_a_lock, (4,)) for i in range(2)])
    slow, fast = (search(program, Request(executor=executor, livelock=True)) for executor in EXECUTORS[1:])
    assert (slow.verdict, slow.reduced) == (Verdict.HOLDS, ())
    assert (fast.verdict, fast.reduced) == (Verdict.HOLDS, ("merge", "symmetry"))
    assert fast.states * 2 < slow.states
    assert search(program, Request(executor="native", reductions=Reductions.none())).states == slow.states


@has_compiler
def test_what_has_few_states_is_not_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of()
    whole = search(program, Request(executor="reference"))

    def found(few: float, narrowing: float, shrinking: float = 0, **options: Any) -> Result:
        for name, part in (("FEW", few), ("NARROWING", narrowing), ("SHRINKING", shrinking)):
            monkeypatch.setattr(executors, name, int(part * whole.states))
        return search(program, Request(executor="native", **options))

    for collect in (False, True):
        for few, narrowing, shrinking in (
            (1.1, 0, 0),
            (0.95, 1.1, 0),  # at the end nothing is before a search: one that has become narrower may go on
            (0.65, 0.85, 1.1),  # and twice
        ):
            for workers in (1, 2):
                result = found(few, narrowing, shrinking, collect=collect, workers=workers)
                assert (result.verdict, result.states, result.transitions, result.reduced) == (whole.verdict, whole.states, whole.transitions, ())
        for few, narrowing, shrinking in ((0.2, 0, 0), (0.2, 0.33, 0), (0.65, 0.8, 1.1), (0.65, 0.85, 0.95), (0.65, 0.85, 0), (0.65, 0, 1.1)):
            assert found(few, narrowing, shrinking, collect=collect).reduced == ("merge", "symmetry")
    cut = found(0.65, 0.85, 1.1, limits=Limits(states=whole.states * 9 // 10))  # what it may see at most is less than where it would end
    assert cut.reduced == ("merge", "symmetry") and cut.verdict is Verdict.HOLDS
    assert found(0.01, 0, limits=Limits(states=9)).reason == "states"
    assert found(0.01, 0, limits=Limits(states=1000)).reduced == ("merge", "symmetry")
    assert found(1.1, 0, strategy=DepthFirst()).reduced == ("merge", "symmetry")


@has_compiler
def test_what_has_no_memory_without_reductions_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search without them takes nearly 3 MB here."""
    monkeypatch.setattr(executors, "FEW", 1_000_000)
    program = build(Machine(), [Thread(f"t{i}", counts_under_a_lock, (8,)) for i in range(4)])
    found = search(program, Request(executor="native", limits=Limits(memory=2_000_000), workers=1))
    assert (found.verdict, found.reduced) == (Verdict.HOLDS, ("merge", "symmetry"))
    assert search(program, Request(executor="native", limits=Limits(memory=100_000), workers=1)).reason == "memory"
    assert search(program, Request(executor="native", limits=Limits(memory=4_000_000), workers=1)).reduced == ()


class Late:
    """The native search, that had too little time; what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, result: Result | None = None) -> None:
        self.seconds: list[float | None] = []
        self.result = result or Result(Verdict.NOT_FINISHED, 10, 20, 5, 0.3, reason="seconds")
        monkeypatch.setattr(executors, "native_search", self)

    def __call__(self, native: object, request: Request, **options: object) -> Result:
        self.seconds.append(request.limits.seconds)
        time.sleep(0.3)
        return self.result


@has_compiler
def test_what_has_no_time_without_reductions_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first search has half of the time; both are counted."""
    late = Late(monkeypatch)
    found = search(program_of(), Request(executor="native", limits=Limits(seconds=600)))
    assert (found.verdict, found.reduced, late.seconds) == (Verdict.HOLDS, ("merge", "symmetry"), [300])
    assert 0.3 < found.seconds < 600
    assert search(program_of(), Request(executor="native", limits=Limits(seconds=0.2))) is late.result  # there is none left


@has_compiler
def test_what_was_found_before_the_time_was_over_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Violation("some rule", "is broken", None, Trace())
    late = Late(monkeypatch, Result(Verdict.BROKEN, 10, 20, 5, 0.3, broken, "seconds", violations=(broken,)))
    found = search(program_of(), Request(executor="native", collect=True, limits=Limits(seconds=600)))
    assert (len(late.seconds), found.verdict, found.violations) == (1, Verdict.BROKEN, (broken,))


@has_compiler
@pytest.mark.parametrize("executor", ["native", "auto"])
def test_a_small_program_that_breaks_needs_no_code_that_reduces(executor: ExecutorName, own_cache: Path) -> None:
    program = build(Machine(), [Thread(f"t{i}", waits_for_all, (2,)) for i in range(2)])
    slow = search(program, Request(executor="reference"))
    found = search(program, Request(executor=executor))
    assert slow.violation is not None and (found.violation, found.states, found.reduced) == (slow.violation, slow.states, ())
    assert sum(1 for name in program.code.made if isinstance(name, tuple) and name[0] == "library") <= (executor == "native")


@has_compiler
def test_a_reduced_search_begins_in_haste_and_again_with_care(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same is seen; what is limited ends at its own limit."""
    program = build(Machine(), [Thread(f"t{i}", counts, (5,)) for i in range(2)])
    whole = reduced.reduced_search(program)
    assert whole.begun == 1
    monkeypatch.setattr(reduced, "IN_HASTE", whole.result.states // 2)
    other = build(Machine(), [Thread(f"t{i}", counts, (5,)) for i in range(2)])
    again = reduced.reduced_search(other)
    assert (again.result.verdict, again.result.states, again.result.reason) == (Verdict.HOLDS, whole.result.states, None)
    assert again.begun == 2 and reduced.reduced_search(other).begun == 1  # what was compiled with care is there from then on
    third = build(Machine(), [Thread(f"t{i}", counts, (5,)) for i in range(2)])
    cut = reduced.reduced_search(third, Request(limits=Limits(states=whole.result.states // 4)))
    assert (cut.result.reason, cut.begun) == ("states", 1)


@has_compiler
def test_random_walks_never_say_holds_where_livelocks_are_asked_for() -> None:
    found = search(program_of(), Request(strategy=RandomWalks(10), livelock=True))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "walks")
    assert search(program_of(), Request(strategy=DepthFirst(), livelock=True)).verdict is Verdict.HOLDS


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_the_reference_runs_and_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "SWITCH", 100)
    assert why_not_native() == "no C compiler: install cc"
    assert search(program_of()).exact


def test_what_the_reference_cannot_do_is_refused() -> None:
    with pytest.raises(LangError, match="use the native executor"):
        search(program_of(), Request(executor="reference", collect=True))
