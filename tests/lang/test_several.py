"""Lists on the stack, tuples and `Value`s as results, several assignments at once: the same in every executor."""

from __future__ import annotations

import pytest
from test_sizes import told

from secondsight.lang import BadIndex, LangError, LeftRange, OutOfRecords, Refused
from secondsight.lang.native import Native
from secondsight.lang.reference import Reference

MORE = """
class Thing(Record):
    n: U8
    next: Ref[Thing]

class Head(Record):
    first: Ref[Thing]
    kept: U8

things = shared_array(Thing, 4)
head = shared(Head)
Things = Annotated[list[Thing], Most("pages")]

def both(n: U8) -> tuple[U8, I16]:
    return n + 1, -n

def stepped(n: U8) -> tuple[U8, Ref[Thing]]:
    head.kept = n
    head.kept = n + 1
    return head.kept, things[0]

@atomic
def gathered(least: U8) -> Things:
    found: Things = []
    for thing in things:
        if thing.n >= least:
            found.append(thing)
    return found

def gathered_in_steps(least: U8) -> Things:
    found: Things = []
    for thing in things:
        if thing.n >= least:
            found.append(thing)
    head.kept = 1
    return found

@atomic
def total(some: Things) -> I16:
    sum = 0
    for thing in some:
        sum += thing.n
    return sum

def total_in_steps(some: Things) -> I16:
    sum = 0
    for thing in some:
        sum += thing.n
    return sum

def span_of(n: Place) -> Span:
    with atomic:
        return Span(n, {n})

def span_in_steps(n: Place) -> Span:
    table.at = n
    return Span(n, {n, 0})

def handed_on(n: U8) -> tuple[U8, I16]:
    return both(n)

@atomic
def one_of(n: U8) -> tuple[U8, I16]:
    if n > 2:
        return both(n)
    return 7, 8
"""

GIVES = {
    "x, y = both(3)\ntable.out[0] = x\ntable.out[1] = y": [4, -3],
    "x, y = handed_on(3)\ntable.out[0] = x\ntable.out[1] = y": [4, -3],
    "x, y = one_of(3)\ntable.out[0] = x\ntable.out[1] = y\nx, y = one_of(1)\ntable.out[2] = x\ntable.out[3] = y": [4, -3, 7, 8],
    "x, y = stepped(3)\ntable.out[0] = x\ntable.out[1] = things.index(y) if y is not None else -1": [4, 0],
    "x = 1\ny = 2\nx, y = y, x\ntable.out[0] = x\ntable.out[1] = y": [2, 1],
    "table.out[0] = 1\ntable.out[0], table.out[1] = 5, table.out[0]": [5, 1],
    "x: List[U8, 3] = [4, 5]\nx.append(6)\nx[0] = x[1] + 1\ntable.out[0] = x[0]\ntable.out[1] = len(x)\ntable.out[2] = x[choose(1) + 2]": [6, 3, 6],
    "x: List[U8, 3] = []\ntable.out[0] = int(bool(x)) if x else 9\nx = [1]\nif x:\n    table.out[1] = 1\nx = []\nif not x:\n    table.out[2] = 1": [9, 1, 1],
    "x: List[U8, 3] = [1, 3]\ntable.out[0] = int(3 in x)\ntable.out[1] = int(2 in x)\ntable.out[2] = count(v > 1 for v in x)\ntable.out[3] = int(0 in x)": [1, 0, 1, 0],
    "x: List[I16, 3] = []\nfor i in range(3):\n    x.append(i * 10)\nfor v in x:\n    table.out[v // 10] = v": [0, 10, 20],
    "x: List[U8, 4] = [1]\nfor v in x:\n    if len(x) < 4:\n        x.append(v + 1)\n    table.out[v - 1] = v": [1, 2, 3, 4],
    "x: List[U8, 4] = [1, 2, 3]\nfor v in x:\n    if v == 2:\n        continue\n    if v == 3:\n        break\n    table.out[0] += v": [1],
    "things[1].n = 3\nthings[3].n = 4\nx = gathered(1)\ntable.out[0] = len(x)\ntable.out[1] = total(x)\ntable.out[2] = int(things[3] in x)": [2, 7, 1],
    "things[1].n = 3\nthings[3].n = 4\nx = gathered_in_steps(1)\ntable.out[0] = len(x)\ny = total_in_steps(x)\ntable.out[1] = y\nx = gathered(4)\ntable.out[2] = len(x)": [2, 7, 1],
    "x = gathered(0)\nfor thing in x:\n    thing.n = 2\n    head.first = thing\ntable.out[0] = total(x)": [8],
    "s = span_of(2)\ntable.out[0] = s.first\ntable.out[1] = int(2 in s.pages)\ns = span_in_steps(1)\ntable.out[2] = len(s.pages)": [2, 1, 2],
    "s = Span(1, {1})\ns = span_in_steps(s.first + 1)\ntable.out[0] = s.first": [2],
    "x: List[Ref[Thing], 2] = [None, things[2]]\ntable.out[0] = int(x[0] is None)\nhead.first = x[1]\ntable.out[1] = int(head.first in x)": [1, 1],
}


@pytest.mark.parametrize("body", GIVES)
def test_what_they_are(body: str) -> None:
    slow, _, _, out = told(body, more=MORE)
    assert slow.verdict.value == "holds", slow.error or slow.violation
    assert out[: len(GIVES[body])] == GIVES[body]


ERRORS = {
    "x: List[U8, 3] = [1]\ntable.out[0] = x[1]": BadIndex,
    "table.out[0] = 0\nx: List[U8, 3] = [1]\nx[1] = 3": BadIndex,
    "x: List[U8, 3] = [1]\ni = table.at - 1\ntable.out[0] = x[i]": BadIndex,
    "table.at = 0\nx: List[U8, 1] = [1]\nx.append(2)": LeftRange,
    "table.at = 0\nx: List[U8, 'pages'] = [1, 1, 1, 1]\nx.append(2)": OutOfRecords,
    "table.at = 0\nx: List[U8, 4] = []\nx.append(table.out[0] - 1)": LeftRange,
    "x: List[U8, 4] = [1]\nx[0] = table.out[0] - 1": LeftRange,
    "table.at = 0\nx, y = both(255)": LeftRange,
}


@pytest.mark.parametrize("body", ERRORS)
def test_errors(body: str) -> None:
    slow, _, _, _ = told(body, more=MORE)
    assert isinstance(slow.error, ERRORS[body]), slow


REFUSED = {
    "x = both(1)": "x, y = f", "x, y, z = both(1)": "2 names", "x, y = 1, 2, 3": "3 values", "x, (y, z) = 1, 2": "within", "x, y = table.at": "several names",
    "table.at = both(1)": "x, y = f", "x = gathered(1)[0]": "then its parts", "x = []": "type", "x: List[U8, 3] = table.at": "list|List",
    "x: List[U8, 3] = []\ny = x": "second name", "x: List[U8, 3] = []\ntable.at = x": "list", "x: List[U8, 3] = []\nx.pop()": "append",
    "x: List[U8, 3] = []\nx = 3": "list", "x = 3\nx: List[U8, 3] = []": "elsewhere", "x: List[U8, 3] = [1, 2, 3, 4]": "elements", "x: list[U8] = []": "bound",
    "x: List[Thing, 3] = [None]": "None", "x: List[U8, 3] = []\ny = total(x)": "argument", "y = total(things)": "5 parts", "x: List[Table, 3] = []\nx.append(things[0])": "wanted",
    "with atomic:\n    x = 1\n    x, table.out[x] = 2, both(1)": "several values", "x = 1 if table.at else both(1)": "several|sometimes",
}  # fmt: skip


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_refused(body: str) -> None:
    with pytest.raises(Refused, match=REFUSED[body]):
        told(body, more=MORE)


@pytest.mark.parametrize(
    ("function", "wrong"),
    [
        ("def f(x: Things) -> None:\n    x.append(things[0])", "caller's own"),
        ("def f(x: Things) -> None:\n    x[0] = things[0]", "caller's own"),
        ("def f(x: Things) -> None:\n    x = []", "caller's own"),
        ("def f(x: Things) -> Things:\n    return x", "has it already"),
        ("def f(x: Things) -> tuple[U8, U8]:\n    return 1", "returns tuple"),
        ("def f(x: Things) -> tuple[U8, U8]:\n    return 1, 2, 3", "3 values"),
        ("def f(x: Things) -> tuple[U8, ...]:\n    return 1, 2, 3", "one type for each"),
        ("def f(x: list[Thing]) -> None:\n    pass", "needs a bound"),
        ("def f(x: tuple[U8, U8]) -> None:\n    pass", "parameter cannot be"),
        ("def f(x: Things) -> Span:\n    return 3", "returns Span"),
    ],
)
def test_functions_that_are_refused(function: str, wrong: str) -> None:
    with pytest.raises(Refused, match=wrong):
        told("y = gathered(1)\nf(y)", more=MORE + "\n" + function + "\n")


def test_a_program_without_them_has_none_of_it() -> None:
    _, _, program, _ = told("table.at = 1")
    assert "SS_RESULTS i" not in Native(program).source.partition("typedef struct")[0].replace("#define SS_RESULTS\n", "")
    assert "part0" not in Reference(program).source


CLASSES = """
class Shape(Record):
    n: U8

    def sizes(self) -> tuple[U8, U8]:
        return self.n, 1

    @atomic
    def listed(self) -> List[U8, 3]:
        return [self.n]

class Wide(Shape):
    def sizes(self) -> tuple[U8, U8]:
        self.n = 7
        return self.n, 2

    @atomic
    def listed(self) -> List[U8, 3]:
        return [1, 2, 3]

class Holder(Record):
    shape: Ref[Shape]

shapes = shared_array(Shape, 1)
wides = shared_array(Wide, 1)
holder = shared(Holder)
"""


def test_a_method_that_is_chosen_when_it_runs() -> None:
    body = (
        "holder.shape = wides[0]\nshape = holder.shape\nassert shape is not None\nx, y = shape.sizes()\ntable.out[0] = x\ntable.out[1] = y\n"
        "some = shape.listed()\ntable.out[2] = len(some)\nshape = shapes[0]\nx, y = shape.sizes()\ntable.out[3] = y"
    )
    slow, _, _, out = told(body, more=CLASSES)
    assert slow.verdict.value == "holds", slow.error or slow.violation
    assert out[:4] == [7, 2, 3, 1]


def test_classes_that_return_different_things_are_refused() -> None:
    other = CLASSES.replace("    def sizes(self) -> tuple[U8, U8]:\n        self.n = 7\n        return self.n, 2", "    def sizes(self) -> U8:\n        return 2")
    with pytest.raises(Refused, match="returns"):
        told("holder.shape = wides[0]\nshape = holder.shape\nassert shape is not None\nx, y = shape.sizes()", more=other)


@pytest.mark.parametrize("kind", ["List[U8, 3]", "tuple[U8, U8]", "Span"])
def test_they_are_no_fields(kind: str) -> None:
    with pytest.raises(LangError, match="a field cannot be"):
        told("table.at = 0\nodd.n = 1", more=f"class Odd(Record):\n    n: U8\n    x: {kind}\n\nodd = shared(Odd)\n")
