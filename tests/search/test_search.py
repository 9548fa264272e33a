"""The search: counts to the last digit, limits, interruption, order, lock order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
sys.path[:0] = [str(HOUSE), str(HOUSE / "bench"), str(HOUSE / "tests" / "lang")]

from mirror import CONFIGURATIONS, mirror  # noqa: E402
from models import broken, holds, verdict  # noqa: E402

from secondsight.lang.reference import Reference  # noqa: E402
from secondsight.search import Limits, Progress, Request, Verdict, breadth_first  # noqa: E402


@pytest.fixture(scope="module")
def small() -> Reference:
    """The mirror protocol, small: 1 page, 1 device, 2 CPU threads."""
    return Reference(mirror(1, 1, 2, 2, 1))


def test_the_yardstick_has_exactly_the_states_it_must_have() -> None:
    *size, states, transitions = CONFIGURATIONS["A"][:7]
    found = breadth_first(Reference(mirror(*size)))
    assert (found.verdict, found.states, found.transitions) == (Verdict.HOLDS, states, transitions)


def test_any_order_of_the_threads_visits_the_same_states(small: Reference) -> None:
    counts = {
        (f.states, f.transitions, f.depth) for o in ((0, 1, 2), (2, 1, 0), (1, 2, 0)) for f in [breadth_first(small, order=o)]
    }
    assert len(counts) == 1
    with pytest.raises(ValueError, match="each thread once"):
        breadth_first(small, order=(0, 1))


@pytest.mark.parametrize("limit", [1, 2, 10, 100, 1000])
def test_a_limit_of_states_is_never_a_verdict(small: Reference, limit: int) -> None:
    whole = breadth_first(small)
    found = breadth_first(small, Request(limits=Limits(states=limit)))
    assert whole.states > 1000
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "states")
    assert limit <= found.states <= 2 * limit + 20


def test_limits_of_time_and_memory(small: Reference) -> None:
    assert breadth_first(small, Request(limits=Limits(seconds=0.0))).reason == "seconds"
    assert breadth_first(small, Request(limits=Limits(memory=1))).reason == "memory"
    assert breadth_first(small, Request(limits=Limits(memory=1 << 60, seconds=1e9, states=10**9))).verdict is Verdict.HOLDS


def test_a_limit_that_is_reached_with_nothing_left_to_see_is_a_verdict() -> None:
    found = holds("def main() -> None:\n    world.n = 1\n", limits=Limits(states=3))
    assert found.states == 2


def test_ctrl_c_ends_the_search_with_what_was_seen(small: Reference) -> None:
    steps, calls = small.steps, 0

    def interrupt(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        return kept(*arguments)  # type: ignore[misc]

    kept = steps[1]
    steps[1] = interrupt  # type: ignore[assignment]
    try:
        found = breadth_first(small)
    finally:
        steps[1] = kept
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "interrupted")
    assert 5 < found.states < breadth_first(small).states
    assert breadth_first(small).verdict is Verdict.HOLDS  # and the executor is as good as new


def test_progress_is_told() -> None:
    told: list[Progress] = []
    breadth_first(Reference(mirror(2, 1, 2, 2, 1)), Request(on_progress=told.append))
    assert [p.states for p in told] == sorted(p.states for p in told)


def test_an_error_of_the_model_is_no_verdict_and_has_a_trace() -> None:
    found = verdict("def main() -> None:\n    world.n = 1\n    x = choose(2)\n    world.n = 255 + x\n")
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "error")
    assert found.error_trace is not None
    assert [s.choices for s in found.error_trace.steps] == [(), (1,), ()]


def test_the_shortest_trace_is_found() -> None:
    found = verdict("""
        def main() -> None:
            for i in range(choose(4)):
                world.n += 1
            require(world.n < 2, "two")
    """)
    assert found.violation is not None
    assert len(found.violation.trace) == 4


DEADLOCK = """
    def main() -> None:
        with world.lock:
            with items[0].lock:
                world.n = 1
    def other() -> None:
        with items[0].lock:
            with world.lock:
                world.n = 2
"""


def test_deadlock_names_who_waits_where() -> None:
    found = verdict(DEADLOCK, "main", "other", lock_order=False)
    assert found.violation is not None
    assert found.violation.rule == "deadlock"
    assert "main in main" in found.violation.message
    assert "other in other" in found.violation.message
    assert verdict(DEADLOCK, "main", "other", lock_order=False, deadlock=False).verdict is Verdict.HOLDS


ALONE = (
    DEADLOCK.replace("def other", "def second").replace("def main", "def first")
    + """
    def main() -> None:
        first()
        second()
"""
)


def test_two_orders_of_locks_are_found_even_where_no_thread_meets_another() -> None:
    assert broken(ALONE)[0] == "lock-order"
    holds(ALONE, lock_order=False)


def test_the_message_names_both_orders() -> None:
    found = verdict(ALONE)
    assert found.violation is not None
    assert "world.lock with" in found.violation.message
    assert "here, " in found.violation.message and " elsewhere (" in found.violation.message
    assert len(found.violation.trace.states) == len(found.violation.trace)


INVERTED = """
            with items[1].lock:
                with items[0].lock:
                    pass
"""


def test_lock_orders_that_are_right() -> None:
    body = """
        def main() -> None:
            with items[FIRST].lock:
                with items[SECOND].lock:
                    world.n = 1
            with world.rw.reading():
                with world.lock:
                    world.n = 2
            with world.rw.writing():
                with world.lock:
                    world.n = 3
            if world.lock.trylock():
                TRY
                world.lock.unlock()
    """
    holds(body.replace("FIRST", "0").replace("SECOND", "1").replace("TRY", "pass"))
    holds(body.replace("FIRST", "1").replace("SECOND", "0").replace("TRY", "pass"))
    both = body.replace("FIRST", "0").replace("SECOND", "1")
    holds(both.replace("TRY", "world.n = 1"))
    assert broken(both.replace("TRY", "world.rw.read_lock()\n                world.rw.read_unlock()"))[0] == "lock-order"
    assert broken(both.replace("TRY", "pass") + INVERTED)[0] == "lock-order"


def test_a_broken_rule_of_the_yardstick_replays() -> None:
    import mirror as protocol

    if not hasattr(protocol, "device_without_test"):
        pytest.skip("bench/mirror.py has no mutant")
    from secondsight.lang import Machine
    from secondsight.lang.program import Thread, build

    machine = Machine({"pages": 1, "devices": 1, "frames": 2})
    program = build(machine, [Thread("cpu", protocol.cpu, (2,)), Thread("dev", protocol.device_without_test, (0, 1))])
    found = breadth_first(Reference(program))
    assert found.violation is not None
    steps = found.violation.trace.replay(program)
    assert getattr(steps[-1].error, "rule", None) == found.violation.rule
