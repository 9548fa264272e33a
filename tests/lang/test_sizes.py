"""Ranges and sets whose size is a bound: `Index`, `End`, `Bits`."""

from __future__ import annotations

import pytest
from generated import module_of

from secondsight.lang import LangError, LeftRange, Machine, Refused
from secondsight.lang.native import Native
from secondsight.lang.plain import replay
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Request, Result, breadth_first
from secondsight.search.native import native_search

TEXT = """
from __future__ import annotations
from typing import Annotated, Literal
from secondsight.lang import *

Place = Index["pages"]
Behind = Annotated[int, End("pages")]

class Span(Value):
    first: Place
    pages: Bits[Literal["pages"]]

class Table(Record):
    at: Place
    end: Behind
    pages: Bits[Literal["pages"]]
    places: Array[Place, 3]
    sets: Array[Bits["pages"], 2]
    by_name: Array[Place, "pages"]
    out: Array[I16, 8]

table = shared(Table)
"""


def told(body: str, pages: int = 4, more: str = "") -> tuple[Result, Result, Program, list[int]]:
    """What both executors say of a thread that does `body`, and what it left in `table.out`."""
    text = TEXT + more + "\ndef main() -> None:\n" + "\n".join("    " + line for line in body.split("\n")) + "\n"
    with module_of(text) as module:
        program = build(Machine({"pages": pages}), [Thread("main", module.main)])
        slow, fast = breadth_first(Reference(program)), native_search(Native(program), Request(workers=1))
        assert (slow.verdict, slow.violation, str(slow.error), slow.states) == (fast.verdict, fast.violation, str(fast.error), fast.states)
        trace = slow.error_trace or (slow.violation.trace if slow.violation else None)
        state, steps, states = Reference(program).initial, [], []
        if trace is None:
            reference = Reference(program)
            while ways := reference.successors(state):
                state = ways[0].state or b""
                steps.append((0, ways[0].choices))
                states.append(state)
            replay(program, steps, states)
        else:
            last = trace.replay(program)[-1]
            wanted = slow.violation.rule if slow.violation else getattr(slow.error, "rule", None)
            assert getattr(last.error, "rule", None) == wanted
        values = {path: value for path, value, _ in program.layout.fields(state[: program.layout.shared_size])}
        return slow, fast, program, [values[path] or 0 for path in values if ".out[" in path]


GIVES = {  # statements -> what they leave in `table.out`
    "table.pages = {1, 3}\ntable.out[0] = len(table.pages)\ntable.out[1] = int(1 in table.pages)\ntable.out[2] = int(2 in table.pages)": [2, 1],
    "x: Bits[Literal['pages']] = {2}\nx |= {0}\nx = x - {2}\ntable.out[0] = len(x)\ntable.out[1] = int(0 in x)": [1, 1],
    "table.pages |= {choose(1) + 2}\ntable.out[0] = int(table.pages == {2})": None,
    "table.pages = Bits(range(1, 4))\nfor at in table.pages:\n    table.out[at] = 5": [0, 5, 5, 5],
    "table.pages = Bits([0, 2])\nfor at in table.pages - {0}:\n    table.pages = Bits()\n    table.out[at] = 5": [0, 0, 5],
    "table.pages = {0, 3}\ntable.out[0] = count(at > 0 for at in table.pages)\ntable.out[1] = int(any(at == 3 for at in table.pages))": [1, 1],
    "table.pages = {3}\ntable.pages ^= {3, 1}\nx = choose(at for at in table.pages)\ntable.out[0] = x": [1],
    "x = {1} if table.at == 0 else {2}\ntable.out[0] = int(1 in x)\ntable.out[1] = int(bool(x - {1}))": [1, 0],
    "table.sets[1] = {2}\ntable.sets[0] = table.sets[1] | {0}\ntable.out[0] = len(table.sets[0] & table.sets[1])": [1],
    "span = Span(1, {1, 2})\nfor at in span.pages:\n    if at == span.first:\n        continue\n    table.out[0] = at": [2],
    "i = 3\ntable.out[0] = int(i in table.pages or -1 in table.pages or 99 in table.pages)": [0],
    "table.end = 4\ntable.at = table.end - 1\ntable.places[2] = 3\ntable.out[0] = table.at + table.places[2]": [6],
    "table.pages = {1}\nif not table.pages - {1} and table.pages:\n    table.out[0] = 1": [1],
}


@pytest.mark.parametrize("body", GIVES)
def test_what_sets_and_places_are(body: str) -> None:
    if GIVES[body] is None:
        with pytest.raises(Refused, match="augmented"):
            told(body)
        return
    slow, _, _, out = told(body)
    assert slow.verdict.value == "holds", slow.error or slow.violation
    expected = GIVES[body] or []
    assert out[: len(expected)] == expected


@pytest.mark.parametrize("body", ["table.at = 4", "table.end = 5", "table.pages = {4}", "table.pages = {table.end + 62}", "table.places[0] = table.end - 1",
                                  "x: Place = table.end + 4", "table.pages |= {1, 4}", "table.at = 0\nspan = Span(table.end + 4, {0})", "table.at = 0\nspan = Span(3, {table.end + 4})"])  # fmt: skip
def test_what_lies_outside_is_an_error(body: str) -> None:
    slow, _, _, _ = told(body)
    assert isinstance(slow.error, LeftRange)


def test_every_machine_has_its_own_size() -> None:
    sizes = {}
    for pages in (2, 4, 9, 20):
        slow, _, program, _ = told("table.at = len(table.sets) - 1\ntable.end = table.at + 1", pages)
        assert slow.verdict.value == "holds"
        sizes[pages] = program.layout.shared_size
    assert sizes[2] <= sizes[4] < sizes[9] < sizes[20]  # what takes so few bits may share a byte
    with pytest.raises(LangError, match="62 places"):
        told("table.at = 0", 63)


REFUSED = {
    "x = choose(table.pages)": "choose among bits", "x = table.out[table.pages]": "an index of type bits",
    "table.pages = 3": "set of places", "table.at = table.pages": "set of places", "table.pages += {1}": "between two sets",
    "x = table.pages + 1": "between two sets", "x = table.pages < {1}": "between two sets", "x = table.pages == 3": "between two sets",
    "x = ~table.pages": "integer", "x = {1: 2}": "dict", "x = {i for i in table.pages}": "comprehension", "x = 1\nx = {1}": "another name",
    "x = table.pages in table.pages": "number", "x = Bits(table.at)": "Bits", "x = Bits(range(0, 4, 2))": "stride", "x = Bits(range(table.out[0], 3))": "within",
}  # fmt: skip


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_no_set(body: str) -> None:
    with pytest.raises(Refused, match=REFUSED[body]):
        told(body)


def test_an_array_of_places_at_module_level_is_refused() -> None:
    with pytest.raises(LangError, match="a field of a record"):
        told("table.at = 0", more="many = shared_array(Place, 3)\n")


def test_a_set_is_shown_as_one() -> None:
    _, _, program, _ = told("table.pages = {1, 3}")
    shown = {path.partition(".")[2]: text for path, _, text in program.layout.fields(program.initial_shared)}
    assert shown["table.pages"] == "{}"
