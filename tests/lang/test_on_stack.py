"""`with pool.on_stack() as record:`: a record that is there as long as the block, whichever way it is left."""

from __future__ import annotations

import textwrap

import pytest
from models import broken, model

from secondsight.lang.native import Native
from secondsight.lang.plain import PlainRun
from secondsight.lang.reference import Reference
from secondsight.search import Request, Verdict, breadth_first
from secondsight.search.native import native_search

BODIES = {  # what is done with `x` in the block, and what `world.n` is in the end
    "x.n = 3\nworld.n = x.n": 3,
    "x.n = 3\nworld.n = x.n\nreturn": 3,
    "x.n = 3\nworld.n = early(x)": 3,
    "for i in range(3):\n    if i == 1:\n        break\n    x.n += 1\nworld.n = x.n": 1,
    "for i in range(3):\n    x.n += 1\n    if i < 2:\n        continue\n    world.n = x.n\n    return": 3,
    "with x.lock:\n    x.n = 2\n    world.n = x.n\n    return": 2,
    "with atomic:\n    x.n = 2\n    world.n = x.n": 2,
    "if world.n == 0:\n    world.n = 4\nelse:\n    return": 4,
    "world.n = loops()": 5,
}
HELPERS = """
def early(x: Item) -> U8:
    return x.n

def loops() -> U8:
    while True:
        with jobs2.on_stack() as y:
            y.n = 5
            if y.n == 5:
                return y.n
"""
SECOND = 'jobs2 = pool(Item, "items")\n'


def of(body: str, head: str = "with jobs.on_stack() as x:") -> str:
    main = "def main() -> None:\n" + textwrap.indent(f"{head}\n{textwrap.indent(body, '    ')}", "    ")
    return f"{SECOND}{HELPERS}\n{main}\n"


@pytest.mark.parametrize("body", BODIES)
def test_every_way_out_gives_the_record_back(body: str) -> None:
    with model(of(body)) as program:
        slow, fast = breadth_first(Reference(program)), native_search(Native(program), Request(workers=1))
        assert (slow.verdict, slow.error) == (Verdict.HOLDS, None)
        assert (fast.verdict, fast.states, fast.transitions) == (slow.verdict, slow.states, slow.transitions)
        with PlainRun(program) as run:
            while not run.threads[0].ended:
                run.step(0, ())
            machine = program.machine
            by_name = {d.name.rpartition(".")[2]: machine.state(d) for d in program.layout.declarations}
            assert by_name["world"].n == BODIES[body]
            for pool in (by_name[name] for name in ("jobs", "jobs2") if name in by_name):
                assert not any(pool.is_used(x) for x in pool)


def test_one_thread_at_a_time_has_the_only_record() -> None:
    both = of("x.n = 1\nworld.n = x.n") + "\ndef other() -> None:\n    with jobs.on_stack() as x:\n        x.n = 2\n"
    rule, _ = broken(both, "main", "other")
    assert rule == "out-of-records"


def test_what_refers_to_it_afterwards_breaks_the_rule() -> None:
    rule, line = broken(of("world.item = x") + "    y = world.item\n    assert y is not None\n    world.n = y.n\n")
    assert rule == "use-after-free"
    assert line == of("world.item = x").count("\n") + 3


def test_what_is_returned_is_read_before() -> None:
    text = "def three() -> U8:\n    with jobs.on_stack() as x:\n        x.n = 3\n        return x.n\n\ndef main() -> None:\n    world.n = three()\n    require(world.n == 3, 'three')\n"
    with model(text) as program:
        assert breadth_first(Reference(program)).verdict is Verdict.HOLDS


def test_several_results() -> None:
    text = """
    def two() -> tuple[U8, U8]:
        with jobs.on_stack() as x:
            x.n = 3
            return x.n, x.n + 1

    def main() -> None:
        a, b = two()
        require(a == 3 and b == 4, "two")
    """
    with model(text) as program:
        assert breadth_first(Reference(program)).verdict is Verdict.HOLDS


def test_other_things_in_a_with_are_refused_as_before() -> None:
    rule_text = "def main() -> None:\n    with jobs as x:\n        world.n = 1\n"
    with pytest.raises(Exception, match="with"):
        broken(rule_text)
