"""The same law for the native executor: on generated programs every state has the successors and errors of the reference.

Each program is compiled, so few are tried by default; `SECONDSIGHT_LAW=2000` makes a campaign of it.
"""

from __future__ import annotations

import os

import pytest
from generated import module_of, program_of, sources
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.strategies import booleans
from law import graph_of, outcome

from secondsight.lang import compiler as compiler_module
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.errors import LangError
from secondsight.lang.native import Native
from secondsight.lang.reference import Reference, Successor
from secondsight.search import Request, Result, breadth_first
from secondsight.search.native import native_search

CAMPAIGN = int(os.environ.get("SECONDSIGHT_LAW", "0"))
STATES = 400

try:
    compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)


def plain(successor: Successor) -> Successor | tuple[object, ...]:
    """A successor, its error as its text."""
    if successor.error is None:
        return successor
    return successor.thread, successor.choices, outcome(successor.error), str(successor.error)


@settings(
    max_examples=CAMPAIGN or 12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink] if CAMPAIGN else [Phase.explicit, Phase.generate],
    derandomize=not CAMPAIGN,
)
@given(sources(), booleans())
def test_native_and_reference_agree_on_every_state(text: str, in_parts: bool) -> None:
    with module_of(text) as module, pytest.MonkeyPatch.context() as patch:
        if in_parts:
            patch.setattr(compiler_module, "LARGE", 0)
        program = program_of(module)
        try:
            reference = Reference(program)
        except LangError as error:
            with pytest.raises(type(error)):
                Native(program)
            assume(False)
            raise AssertionError from error
        native = Native(program)
        assert native.initial == reference.initial
        graph, _, whole = graph_of(reference, STATES)
        for state, ways in graph.items():
            assert [plain(s) for s in native.successors(state)] == [plain(s) for s in ways]
        if whole:
            slow, fast = breadth_first(reference), native_search(native, Request(workers=1))
            assert told(fast) == told(slow)
            ends, also = breadth_first(reference, Request(livelock=True)).violation, native_search(native, Request(livelock=True)).violation
            assert ends == also


def told(result: Result) -> tuple[object, ...]:
    """What a search says, without what may differ: seconds, memory; and counts, where it stopped short."""
    found = result.violation
    whole = (result.states, result.transitions, result.depth) if found is None and result.error is None else None
    return result.verdict, whole, str(result.error), result.reason, result.error_trace, found, result.outcomes
