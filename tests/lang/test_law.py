"""The central law: plain execution, the reference executor and the search agree, on generated programs of the whole language.

`SECONDSIGHT_LAW=5000` makes a campaign of it: so many programs a test.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from generated import Writer, module_of, program_of, sources
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from law import Graph, graph_of, outcome, walk_both

from secondsight.lang import LangError, Refused, cfg
from secondsight.lang.blocks import BlockLowering
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.render import PythonRenderer
from secondsight.lang.render_expressions import ExpressionRenderer
from secondsight.search import Limits, Request, Verdict, breadth_first

CAMPAIGN = int(os.environ.get("SECONDSIGHT_LAW", "0"))
STATES = 400


def law(examples: int) -> Callable[..., Any]:
    return settings(
        max_examples=CAMPAIGN or examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink] if CAMPAIGN else [Phase.explicit, Phase.generate],
        derandomize=not CAMPAIGN,
    )


def reference_of(program: Program) -> Reference:
    """The executor, if the program does not end in an error before its first step."""
    try:
        return Reference(program)
    except LangError as error:
        assert not isinstance(error, Refused)
        assume(False)
        raise AssertionError from error


@law(120)
@given(sources(), st.integers(0, 2**32), st.integers(2, 3))
def test_plain_and_reference_agree_step_by_step(text: str, seed: int, threads: int) -> None:
    chance = random.Random(seed)
    with module_of(text) as module:
        program = program_of(module, threads)
        reference = reference_of(program)
        for _ in range(3):
            walk_both(program, reference, lambda n: chance.randrange(n))


@law(60)
@given(sources())
def test_the_search_finds_what_a_simple_search_finds_in_any_order(text: str) -> None:
    with module_of(text) as module:
        program = program_of(module)
        reference = reference_of(program)
        graph, depth, whole = graph_of(reference, STATES)
        assume(whole)
        broken = first_errors(graph, depth)
        for order in ((0, 1), (1, 0)):
            found = breadth_first(reference, Request(deadlock=False, lock_order=False, limits=Limits(states=10 * STATES)), order=order)
            if not broken:
                assert found.verdict is Verdict.HOLDS
                assert found.states == len(graph)
                assert found.transitions == sum(len(s) for s in graph.values())
                assert found.depth == max(depth.values())
                continue
            assert found.verdict is not Verdict.HOLDS
            trace = found.violation.trace if found.violation else found.error_trace
            assert trace is not None
            error = outcome(found.error) if found.violation is None else (found.violation.rule, 0)
            assert error is not None
            assert len(trace) == min(broken.values())
            assert error[0] in {rule for (rule, _), n in broken.items() if n == len(trace)}
            last = trace.replay(program)[-1]
            assert outcome(last.error) is not None
            assert outcome(last.error)[0] == error[0]  # type: ignore[index]


def first_errors(graph: Graph, depth: dict[bytes, int]) -> dict[tuple[str, int], int]:
    """The errors that steps end in, each with the length of the shortest trace to it."""
    found: dict[tuple[str, int], int] = {}
    for state, successors in graph.items():
        for successor in successors:
            ends = outcome(successor.error)
            if ends is not None:
                found[ends] = min(found.get(ends, 10**9), depth[state] + 1)
    return found


@law(40)
@given(sources())
def test_deadlocks_and_their_traces(text: str) -> None:
    with module_of(text) as module:
        program = program_of(module)
        reference = reference_of(program)
        graph, depth, whole = graph_of(reference, STATES)
        assume(whole and not first_errors(graph, depth))
        stuck = [s for s, ways in graph.items() if not ways and any(reference.counter(s, i) for i in range(2))]
        found = breadth_first(reference, Request(lock_order=False))
        assert (found.verdict is Verdict.BROKEN) == bool(stuck)
        if found.violation is not None:
            assert found.violation.rule == "deadlock"
            assert len(found.violation.trace) == min(depth[s] for s in stuck)
            found.violation.trace.replay(program)


@law(30)
@given(sources())
def test_a_dead_assignment_changes_no_count(text: str) -> None:
    def graph(source: str) -> tuple[int, int]:
        with module_of(source) as module:
            found, _, whole = graph_of(reference_of(program_of(module)), STATES)
            assume(whole)
            return len(found), sum(len(s) for s in found.values())

    longer = re.sub(r"^(def (?:thread\d|f\d).*:)$", r"\1\n    dead = 3\n    dead = dead + 1", text, flags=re.MULTILINE)
    assert graph(longer + "    dead_too = 5\n") == graph(text)


@law(20)
@given(sources())
def test_a_second_run_is_the_same(text: str) -> None:
    with module_of(text) as module:
        first = graph_of(reference_of(program_of(module)), STATES)
        again = graph_of(reference_of(program_of(module)), STATES)
        assert list(first[0]) == list(again[0])
        assert [[s.state for s in w] for w in first[0].values()] == [[s.state for s in w] for w in again[0].values()]


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "dead locals are left as they are": (PythonRenderer, "_zero", lambda *a: None),
    "liveness across calls is lost": (cfg.Flow, "live_across", lambda *a: set()),
    "range checks are left out": (ExpressionRenderer, "ranged", lambda self, value, *a: self.expr(value)),
    "locks stay taken at return": (BlockLowering, "leave", lambda *a: None),
    "a lock is found again by a name that moved": (BlockLowering, "lock_stays", lambda *a: True),
    "references are taken for exact": (BlockLowering, "is_exact", lambda *a: True),
}


SOME = [*MUTANTS][:2]


@pytest.mark.parametrize("name", [name if name in SOME else pytest.param(name, marks=pytest.mark.wide) for name in MUTANTS])
def test_the_law_catches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug put into secondsight on purpose is found within a few hundred programs."""
    monkeypatch.setattr(*MUTANTS[name])
    for seed in range(400):
        chance = random.Random(seed)

        def draw(n: int, chance: random.Random = chance) -> int:
            return chance.randrange(n)

        with module_of(Writer(draw).program()) as module:
            try:
                program = program_of(module)
                reference = Reference(program)
            except Exception:
                continue
            try:
                for _ in range(3):
                    walk_both(program, reference, draw)
            except (AssertionError, LangError, ValueError, LookupError, NameError):
                return
    raise AssertionError("400 programs have not shown it")
