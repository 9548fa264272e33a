"""The verb `hold_point`: nothing in an ordinary program, a step boundary with a name in one built with `holds=True`."""

from __future__ import annotations

import random

import pytest
from law import walk_both
from models import model, verdict

from secondsight.lang import Refused
from secondsight.lang.reference import Reference
from secondsight.search import breadth_first

TEXT = """
def add(n: U8) -> None:
    hold_point("before")
    with world.lock:
        hold_point("inside")
        world.n = world.n + n
        if n == 1:
            hold_point("one")
    for i in range(2):
        hold_point("round")
        if i == n:
            return
    hold_point("after")

def main() -> None:
    hold_point("first")
    add(1)

def second() -> None:
    add(2)
"""
BARE = "\n".join(line for line in TEXT.splitlines() if "hold_point" not in line and "n == 1" not in line)


def test_it_is_nothing_in_an_ordinary_program() -> None:
    with model(TEXT, "main", "second") as marked, model(BARE, "main", "second") as bare:
        assert (len(marked.counters), marked.size) == (len(bare.counters), bare.size)
        assert not any(c.hold for c in marked.counters)
        found, wanted = (breadth_first(Reference(p)) for p in (marked, bare))
        assert (found.states, found.transitions, found.depth) == (wanted.states, wanted.transitions, wanted.depth)


def test_in_a_program_with_hold_points_each_is_a_place_of_its_own() -> None:
    with model(TEXT, "main", "second", holds=True) as marked:
        names = sorted(c.hold for c in marked.counters if c.hold)
        assert names == ["after", "before", "first", "inside", "one", "round"]
        reference = Reference(marked)
        assert [marked.counters[reference.counter(reference.initial, i) - 1].hold for i in (0, 1)] == ["first", "before"]
        assert breadth_first(reference).verdict.value == "holds"


def test_plain_execution_stops_where_the_reference_does() -> None:
    with model(TEXT, "main", "second", holds=True) as marked:
        reference = Reference(marked)
        ends = [walk_both(marked, reference, random.Random(seed).randrange, 60) for seed in range(30)]
        assert set(ends) == {"ended", "blocked"} and ends.count("ended") > 10


def test_by_hand_it_does_nothing() -> None:
    from secondsight.lang import hold_point

    hold_point("anywhere")


@pytest.mark.parametrize(
    "body", ["with atomic:\n        hold_point('x')", "x = hold_point('x')", "hold_point(text + text)", "hold_point()"]
)
def test_it_is_refused_where_nobody_can_be_held(body: str) -> None:
    with pytest.raises(Refused), model(f"def main() -> None:\n    {body}\n"):
        pass


def test_in_an_atomic_function_it_is_refused_and_in_one_called_from_there_it_is_nothing() -> None:
    with pytest.raises(Refused), model("@atomic\ndef one() -> None:\n    hold_point('x')\ndef main() -> None:\n    one()\n"):
        pass
    inner = "def one() -> None:\n    hold_point('x')\n    world.n = 1\ndef main() -> None:\n    with atomic:\n        one()\n"
    with model(inner, holds=True) as made:
        assert not any(c.hold for c in made.counters)


def test_an_if_around_a_hold_point_keeps_no_local_alive() -> None:
    around = "def main() -> None:\n    x = world.n\n    world.n = 1\n    if x == 0:\n        hold_point('x')\n    world.n = 2\n"
    assert verdict(around).states == verdict(around.replace("    if x == 0:\n        hold_point('x')\n", "")).states
    with model(around) as made:
        assert not any(made.counters[i].block.live_in for i in range(len(made.counters)))
