"""Stopping in pdb at a step of a trace, in the user's own frame."""

from __future__ import annotations

import io
import re

import pytest
from models import FIRST, model

from secondsight.lang import LangError
from secondsight.lang.debug import Debugger, stop_at

TEXT = """
def helper(n: U8) -> U8:
    world.n = n
    m = n + 1
    world.log[0] = m
    return 3
def main() -> None:
    x = helper(4)
    world.log[1] = x
def other() -> None:
    world.log[2] = 9
"""
SCHEDULE: list[tuple[int, tuple[int, ...]]] = [(1, ()), (0, ()), (0, ()), (0, ())]


def talk(number: int, *commands: str) -> tuple[list[str], int]:
    """What pdb says to some commands, and how many steps ran."""
    said = io.StringIO()
    debugger = Debugger(stdin=io.StringIO("\n".join(commands) + "\n"), stdout=said, nosigint=True, readrc=False)
    with model(TEXT, "main", "other") as program:
        steps = stop_at(program, SCHEDULE, number, debugger)
    return said.getvalue().replace("(Pdb) ", "").splitlines(), len(steps)


def test_it_stops_on_the_users_line_with_the_users_locals() -> None:
    said, steps = talk(2, "p n", "p world.n", "p world.log[2]", "next", "p world.n", "continue")
    assert said[0].endswith(f"({FIRST + 1})helper()")
    assert said[1] == "-> world.n = n"
    assert said[2:5] == ["4", "0", "9"]
    assert said[5].endswith(f"({FIRST + 2})helper()")
    assert said[6:] == ["-> m = n + 1", "4"]
    assert steps == 4


def test_a_record_and_an_array_are_what_is_in_them() -> None:
    said, _ = talk(2, "p world.log", "items[0]", "p nothing_at_all", "continue")
    assert said[2].endswith(".world.log: 8> [0, 0, 9, 0, 0, 0, 0, 0]")
    assert re.fullmatch(r"<.*items\[0\]> n=0, kind=.*, on=false, next=None, lock=<.*lock>, small=0, row=.*", said[3])
    assert said[4] == "*** NameError: name 'nothing_at_all' is not defined"


def test_it_steps_over_boundaries_into_the_caller() -> None:
    said, _ = talk(3, "next", "next", "next", "next", "where", "continue")
    assert any(line.endswith(f"({FIRST + 6})main()") for line in said)


def test_quit_ends_the_run() -> None:
    said, steps = talk(3, "quit")
    assert len(said) == 2
    assert steps == 2


def test_a_step_that_is_not_there() -> None:
    with pytest.raises(LangError, match="steps 1 to 4"):
        talk(5)
