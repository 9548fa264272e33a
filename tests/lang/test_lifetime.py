"""Records of a pool that were freed: the rule `use-after-free`, in every executor, with and without reductions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from models import FIRST, broken, model

from secondsight.lang.errors import FreedTwice, UseAfterFree
from secondsight.lang.lifetime import lifetimes_of
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, build
from secondsight.lang.reference import Reference
from secondsight.report import mail
from secondsight.search import Request, Verdict, breadth_first, executors
from secondsight.search.auto import search
from secondsight.search.native import native_search

USES = {  # what is done with `x`, which was freed -> the rule that is broken, or none
    "world.n = x.n": "use-after-free",
    "x.n = 3": "use-after-free",
    "x.n += 1": "use-after-free",
    "x.on = True": "use-after-free",
    "x.next = None": "use-after-free",
    "y = x.next": "use-after-free",
    "world.n = x.row[1]": "use-after-free",
    "x.row[1] = 3": "use-after-free",
    "y = x.get()": "use-after-free",
    "world.n = x.take()": "use-after-free",
    "x.lock.lock()": "use-after-free",
    "with x.lock:\n    world.n = 1": "use-after-free",
    "if x.lock.trylock():\n    world.n = 1": "use-after-free",
    "world.n = count(v > 1 for v in x.row)": "use-after-free",
    "world.log[7] = jobs[0].n": "use-after-free",
    "world.n = count(j.on for j in jobs)": "use-after-free",
    "wait_until(x.n == 0)": "use-after-free",
    "jobs.free(x)": "double-free",
    "l = x.lock\nl.lock()": "use-after-free",
    "world.n = jobs.index(x)": "",
    "world.n = int(jobs.is_used(x))": "",
    "world.item = x\nworld.n = int(world.item is x)": "",
    "l = x.lock\nworld.n = len(x.row)": "",
    "y = jobs.alloc()\nworld.n = x.n + y.n": "",
}


def pool_of(program: Program) -> Any:
    """The pool of jobs, by hand."""
    return next(program.machine.state(d) for d in program.layout.declarations if d.name == "jobs")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("atomically", [False, True])
def test_every_way_of_using_what_was_freed(use: str, atomically: bool) -> None:
    body = ["x = jobs.alloc()", "jobs.free(x)", *(["with atomic:"] if atomically else []), *("    " * atomically + line for line in use.split("\n"))]
    text = "def main() -> None:\n" + "\n".join("    " + line for line in body)
    with model(text) as program:
        slow, fast = breadth_first(Reference(program)), native_search(Native(program), Request(workers=1))
        assert slow.error is None
        assert (slow.violation.rule if slow.violation else "") == USES[use]
        assert (fast.verdict, fast.violation) == (slow.verdict, slow.violation)
    if USES[use]:
        rule, _ = broken(text)  # replayed in plain execution
        assert rule == USES[use]


RACE = """
def user() -> None:
    x = world.item
    if x is not None:
        world.n = x.n
        x.n = 7

def owner() -> None:
    world.item = jobs.alloc()
    x = world.item
    world.item = None
    if x is not None:
        jobs.free(x)
"""


@pytest.mark.parametrize("reduced", [False, True])
def test_a_race_is_found_with_and_without_reductions(reduced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "FEW", 1)
    monkeypatch.setattr(executors, "NARROWING", 1)
    with model(RACE, "user", "owner") as program:
        plainly = breadth_first(Reference(program), Request(livelock=True))
        assert plainly.violation is not None
        assert plainly.violation.rule == "use-after-free"
        found = search(program, Request(executor="native", workers=1, reductions=Reductions() if reduced else Reductions.none(), livelock=True))
        assert found.violation is not None
        assert found.violation.rule == "use-after-free"
        assert len(found.violation.trace) == len(plainly.violation.trace)


def test_the_trace_tells_which_line_freed_the_record() -> None:
    with model(RACE, "user", "owner") as program:
        letter = mail("a race", program, breadth_first(Reference(program)))
        line = next(i for i, row in enumerate(RACE.split("\n"), FIRST) if "jobs.free(x)" in row) - 1
        assert re.search(rf"owner freed it\s+at\s+\S+:{line}", letter), letter
        assert "jobs.free(x)" in letter.split("---", 1)[1]


def test_by_hand() -> None:
    with model("def main() -> None:\n    jobs.free(jobs.alloc())") as program:
        machine, pool = program.machine, pool_of(program)
        with machine:
            x = pool.alloc()
            x.n = 3
            pool.free(x)
            with pytest.raises(UseAfterFree, match=r"Item\.n"):
                _ = x.n
            with pytest.raises(UseAfterFree):
                x.row[0] = 1
            with pytest.raises(FreedTwice):
                pool.free(x)
            assert x.lock is not None
            assert isinstance(x, type(pool.alloc()))
            assert x.n == 0


def test_what_was_freed_before_the_program_begins_counts_as_never_allocated() -> None:
    with model("def main() -> None:\n    world.n = jobs[0].n\n    jobs.free(jobs.alloc())") as program:
        pool = pool_of(program)
        with program.machine:
            pool.free(pool.alloc())
            again = build(program.machine, program.threads)
        assert again.initial_shared == program.initial_shared
        assert breadth_first(Reference(again)).verdict is Verdict.HOLDS
        assert pool._states() == b"\2"


def test_a_program_that_frees_nothing_looks_nowhere() -> None:
    with model("def main() -> None:\n    x = jobs.alloc()\n    x.n = 3") as program:
        assert not lifetimes_of(program).freed_at
        assert "uf(" not in Reference(program).source
        assert "uf(" not in Native(program).source
