"""Statements that may say more at once: a call that can be interrupted and then shared state, `while f():`, `:=`, `with a, b:`, `match`."""

from __future__ import annotations

import pytest
from models import broken, holds, model
from test_sizes import told

from secondsight.lang import Refused

STEPPED = """
class Cell(Record):
    n: U8
    m: U8
    lock: Mutex
    other: Mutex
    kind: Kind
    next: Ref[Cell]

class Kind(IntEnum):
    A = 0
    B = 1
    C = 2

cell = shared(Cell)
cells = shared_array(Cell, 3)

def next_number() -> U8:
    cell.n = cell.n + 1
    cell.m = cell.n
    return cell.m

def two() -> tuple[U8, U8]:
    cell.n = cell.n + 1
    cell.m = cell.n
    return cell.m, cell.n

@atomic
def at_once() -> U8:
    cell.n = cell.n + 1
    return cell.n
"""

GIVES = {
    "table.out[0] = next_number()\ntable.out[1] = next_number() + table.out[0]": [1, 3],
    "i = 1\ntable.out[i] = next_number()": [0, 1],
    "while next_number() < 3:\n    table.out[0] += 1": [2],
    "while next_number() < 3 + cell.n - cell.n:\n    table.out[0] += 1": [2],
    "while (n := next_number()) < 3:\n    table.out[n] = n\ntable.out[0] = n": [3, 1, 2],
    "while (n := cell.n) < 2:\n    cell.n = n + 1\n    table.out[n] = 7": [7, 7],
    "while (n := at_once()) != 3:\n    if n == 1:\n        continue\n    table.out[n] = n": [0, 0, 2],
    "if (n := next_number()) == cell.m and n > 0:\n    table.out[0] = n": [1],
    "if not next_number() == cell.n + 1:\n    table.out[0] = 5": [5],
    "x = next_number() + cell.n\ntable.out[0] = x": [2],
    "cell.m, table.out[0] = two()\ntable.out[1], x = two()\ntable.out[2] = x": [1, 2, 2],
    "with cell.lock, cell.other:\n    table.out[0] = int(cell.lock.held_by_me() and cell.other.held_by_me())\ntable.out[1] = int(cell.other.held_by_me())": [1, 0],
    "with atomic, cell.lock:\n    table.out[0] = 1": [1],
    "for i, x in enumerate(cells):\n    x.n = i * 2\nfor x in reversed(cells):\n    table.out[0] = x.n\n    table.out[1] = table.out[1] * 4 + x.n": [0, 72],
    "for i in reversed(range(3)):\n    table.out[2 - i] = i\nn = 4\nfor i in reversed(range(1, n)):\n    table.out[6 - i] = i": [2, 1, 0, 3, 2, 1],
    "for i in reversed(range(3, 0, -1)):\n    table.out[i] = i": [0, 1, 2, 3],
    "for i, x in enumerate(cells):\n    table.out[i] = i + 1\nfor x in range(2):\n    table.out[3] += x": [1, 2, 3, 1],
    "x: List[U8, 3] = [5, 6]\nfor i, v in enumerate(x):\n    table.out[i] = v": [5, 6],
    "cells[1].n = 3\ntable.out[0] = sum(c.n for c in cells) + sum(c.n for c in cells if c.n < 3)\ntable.out[1] = sum(i for i in range(cells[1].n))": [3, 3],
    "cell.next = cells[1]\ntable.out[0] = int(cell.next in cells)\ntable.out[1] = int(7 in table.places or 0 not in table.places)": [1, 0],
    "match cell.kind:\n    case Kind.A | Kind.B:\n        table.out[0] = 1\n    case _:\n        table.out[0] = 2": [1],
    "x = next_number()\nmatch x:\n    case 7:\n        table.out[0] = 1\n    case 1 if cell.n == 1:\n        table.out[0] = 2": [2],
    "match cell.next:\n    case None:\n        table.out[0] = 4": [4],
    "match next_number():\n    case 1:\n        table.out[0] = 4": [4],
}


@pytest.mark.parametrize("body", GIVES)
def test_what_they_do(body: str) -> None:
    slow, _, _, out = told(body, more="from enum import IntEnum\n" + STEPPED)
    assert slow.verdict.value == "holds", slow.error or slow.violation
    assert out[: len(GIVES[body])] == GIVES[body]


REFUSED = {
    "x = cell.n + next_number()": "touches shared", "cell.n += next_number()": "touches shared", "x = next_number() + next_number()": "second call",
    "x = 1 + (y := 2)": ":=", "for i, x in enumerate(range(3)):\n    pass": "enumerate",
    "for i, (x, y) in enumerate(cells):\n    pass": "variables", "for x in reversed({1}):\n    pass": "reversed", "x = cell.n in 3": "array", "if cell.n and (x := 2):\n    pass": ":=", "match cell.n:\n    case x:\n        pass": "match",
    "match cell:\n    case Cell(n=3):\n        pass": "match",
}  # fmt: skip


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_refused(body: str) -> None:
    with pytest.raises(Refused, match=REFUSED[body]):
        told(body, more="from enum import IntEnum\n" + STEPPED)


def test_between_the_call_and_the_store_others_run() -> None:
    text = """
def number() -> U8:
    world.n = 1
    return 2

def main() -> None:
    world.log[0] = number()

def other() -> None:
    require(not (world.n == 1 and world.log[0] == 0), "between", "seen between the two")
"""
    assert broken(text, "main", "other")[0] == "between"
    with model(text, "main", "other") as program:
        assert [c.kind for c in program.counters].count("after") == 1


def test_a_lock_is_taken_after_the_other() -> None:
    text = """
def main() -> None:
    with world.lock, items[0].lock:
        world.n = 1

def other() -> None:
    with items[0].lock:
        with world.lock:
            world.n = 2
"""
    assert broken(text, "main", "other", lock_order=False)[0] == "deadlock"
    holds(text, "main", "main")
