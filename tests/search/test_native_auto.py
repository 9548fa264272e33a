"""One search for every caller: which executor runs, and that it does not matter."""

from __future__ import annotations

from typing import Annotated

import pytest

from secondsight.lang import Bounds, LangError, Machine, Record, shared
from secondsight.lang import compiler as compilers
from secondsight.lang.program import Program, Thread, build
from secondsight.search import Limits, Progress, Verdict, auto
from secondsight.search.auto import search, why_not_native
from secondsight.search.strategy import DepthFirst

Small = Annotated[int, Bounds(0, 90)]


class Counter(Record):
    value: Small


counter = shared(Counter)


def counts(n: Small) -> None:
    """Adds n, one by one; updates may be lost."""
    for _ in range(n):
        seen = counter.value
        counter.value = seen + 1


def program_of(n: int = 6) -> Program:
    return build(Machine(), [Thread(f"t{i}", counts, (n,)) for i in range(2)])


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise compilers.CompilerMissing("no C compiler: install cc")

    monkeypatch.setattr(auto, "compiler", missing)


has_compiler = pytest.mark.skipif(why_not_native() is not None, reason="no C compiler")


def test_a_small_search_stays_with_the_reference() -> None:
    assert search(program_of()).exact


@has_compiler
def test_a_large_search_goes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "SWITCH", 100)
    whole = search(program_of(), "reference")
    found = search(program_of())
    assert not found.exact
    assert (found.verdict, found.states, found.transitions) == (Verdict.HOLDS, whole.states, whole.transitions)
    for limits, reason in ((Limits(states=150), "states"), (Limits(seconds=1e-9), "seconds"), (Limits(memory=1), "memory")):
        assert search(program_of(), limits=limits).reason == reason


@has_compiler
def test_every_executor_says_the_same() -> None:
    seen: list[Progress] = []
    results = [search(program_of(), e, on_progress=seen.append, progress=True) for e in ("auto", "reference", "native")]
    assert len({(r.verdict, r.states, r.transitions, r.depth) for r in results}) == 1
    assert search(program_of(), "native", exact=True).exact
    assert search(program_of(), strategy=DepthFirst()).verdict is Verdict.HOLDS


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_the_reference_runs_and_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "SWITCH", 100)
    assert why_not_native() == "no C compiler: install cc"
    assert search(program_of()).exact


def test_what_the_reference_cannot_do_is_refused() -> None:
    with pytest.raises(LangError, match="use the native executor"):
        search(program_of(), "reference", collect=True)
