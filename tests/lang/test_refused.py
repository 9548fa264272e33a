"""What is outside the language is refused when the model is loaded: where, what is wrong, what to write instead."""

from __future__ import annotations

import ast
import linecache

import pytest
from models import FIRST, model

from secondsight.lang import LangError, Refused

BODIES = {  # a statement -> a word of what is wrong
    "try:\n        world.n = 1\n    except ValueError:\n        pass": "try",
    "try:\n        world.n = 1\n    except* ValueError:\n        pass": "try",
    "raise ValueError()": "raise",
    "match world.n:\n        case x:\n            pass": "match",
    "del world": "del",
    "x = 1\n    del x": "del",
    "global real": "global",
    "import os": "import",
    "from os import path": "import",
    "def inner() -> None: ...": "nested function",
    "async def inner() -> None: ...": "async",
    "class Inner: ...": "class",
    "x = y = 1": "several targets",
    "(x, y) = items": "several names",
    "[x] = items": "several names",
    "x: U8": "without a value",
    "world.n: U8 = 1": "field",
    "x: float = 1": "float",
    "x: Nowhere = 1": "not defined",
    "x: Item = 1": "wanted",
    "x: World = None": "None",
    "x = None": "not known",
    "x = 1.5": "float",
    "x = 'a'": "str",
    "x = text": "str",
    "x = real": "float",
    "x = b'a'": "bytes",
    "x = 1j": "complex",
    "x = ...": "ellipsis",
    "x = f'{world.n}'": "formatted",
    "x = lambda: 1": "lambda",
    "x = [1, 2]": "list",
    "x = (1, 2)": "tuple",
    "x = {1: 2}": "dict",
    "x = world.n + {1}": "sets",
    "x = [i for i in range(3)]": "comprehension outside any(), all(), count(), sum() and choose()",
    "with open('a') as f:\n        pass": "not in a file",
    "x = {i for i in range(3)}": "comprehension",
    "x = {i: i for i in range(3)}": "comprehension",
    "x = (i for i in range(3))": "comprehension",
    "x = (y := 1)": ":=",
    "x = world.log[1:2]": "slice",
    "x = world.log[1:2:1]": "slice",
    "world.log[0:1] = 3": "slice",
    "x = world.log['a']": "str",
    "x = world.log[world.item]": "index",
    "x = world.n[0]": "not an array",
    "x = table.n": "field",
    "x = world.n / 2": "Div",
    "x = world.n ** 2": "Pow",
    "x = world.n @ 2": "MatMult",
    "x = 1 // 0": "zero",
    "x = 1 << 1000": "shift",
    "x = 1 << -1": "shift",
    "x = world.n + world.item": "arithmetic",
    "x = -world.item": "integer",
    "x = world.item < items[0]": "compared",
    "x = world.item == 3": "==",
    "x = world.item is others[0]": "never",
    "x = world.n is 3": "`is` between integers",
    "x = world.n in items": "in",
    "x = world.n in (1, 2) == True": "chain",
    "x = 1 < choose(3) < 5": "chain",
    "x = choose(3) in (1, 2)": "before `in`",
    "x = world.n and 3": "used as a value",
    "x = world.item or items[0]": "used as a value",
    "x = items": "array",
    "x = world.log": "array",
    "world.log = items": "array",
    "world.item = 3": "wanted",
    "world.n = world.item": "reference",
    "world.item = others[0]": "wanted",
    "items[0] = items[1]": "as a whole",
    "world.lock = world.lock": "as a whole",
    "world.nothing = 1": "no field",
    "x = world.nothing": "no field",
    "x = nothing": "not defined",
    "x = y": "not defined",
    "x = x + 1": "no value",
    "x += 1": "no value",
    "if world.n:\n        x = 1\n    world.n = x": "no value",
    "for i in range(world.n):\n        pass\n    world.n = i": "no value",
    "while world.n:\n        x = 1\n    world.n = x": "no value",
    "world.n += choose(2)": "augmented",
    "world.log[choose(2)] += 1": "augmented",
    "world.n": "nothing uses",
    "world.n + 1": "nothing uses",
    "world.n == 3": "nothing uses",
    "yield": "yield",
    "x = yield 3": "yield",
    "yield from items": "yield",
    "print(world.n)": "--show N",
    "x = len(3)": "len",
    "x = len()": "arguments",
    "x = len(items, items)": "arguments",
    "x = len(obj=items)": "arguments",
    "x = abs()": "arguments",
    "x = min(1)": "arguments",
    "x = min(1, 2, key=abs)": "arguments",
    "x = min(items)": "",
    "x = sum(items)": "generator",
    "x = sorted(items)": "called",
    "x = any(items)": "generator",
    "x = any([i.n for i in items])": "generator",
    "x = any(i.n for i in items for j in items)": "generator",
    "x = any(a for a, b in items)": "variables",
    "x = any(i for i in world)": "array",
    "x = any(i for i in range(0, 4, 2))": "stride",
    "x = any(i.take() > 1 for i in items)": "generator",
    "x = choose()": "arguments",
    "x = choose(world.item)": "choose",
    "choose(3)": "value",
    "x = current(1)": "arguments",
    "x = Kind(1, 2)": "arguments",
    "x = Kind(world.n)": "gaps",
    "x = Span(1, 2, 3)": "arguments",
    "x = Span(begin=1)": "begin",
    "x = Span()": "needs",
    "x = Span(1).nothing": "no field",
    "x = Span(1, 2)\n    world.n = x": "Span",
    "x = Span(1, 2)\n    x = 3": "Value",
    "x = 3\n    x = Span(1, 2)": "Value",
    "x = Span(1, 2)\n    x.start = 3": "assigned",
    "Span(1, 2)": "value",
    "x = Item()": "called",
    "Item()": "value",
    "require(world.n)": "rule",
    "require()": "rule",
    "require(world.n, 'a', 'b', 'c')": "arguments",
    "require(world.n, rule=world.n)": "text",
    "require(True, text + text)": "text",
    "x = require(True, 'a')": "value",
    "assert world.n, world.n": "computed",
    "wait_until()": "arguments",
    "wait_until(world.n, world.n)": "arguments",
    "wait_until(items[0].take() > 1)": "wait",
    "x = wait_until(True)": "value",
    "out_of_records()": "arguments",
    "out_of_records(world.n)": "text",
    "x = event(items[0], 1)": "value",
    "event(items[0])": "",
    "jobs.free()": "arguments",
    "jobs.free(3)": "wanted",
    "jobs.free(others[0])": "wanted",
    "x = jobs.free(items[0])": "",
    "x = items.alloc()": "array",
    "x = items.index()": "arguments",
    "x = items.index(others[0])": "wanted",
    "x = jobs.is_used()": "arguments",
    "items.append(3)": "array",
    "x = items.count(3)": "array",
    "plain()": "needs",
    "plain(1, 2)": "arguments",
    "plain(m=1)": "m",
    "plain(1, n=1)": "n",
    "plain(*items)": "",
    "plain(**items)": "",
    "plain(world.item)": "reference",
    "plain(None)": "",
    "world.n = world.n + plain(1)": "touches",
    "x = plain(1) + plain(2)": "second call",
    "x = plain(plain(1))": "second call",
    "x = 1 if world.n else plain(1)": "sometimes",
    "x = world.n == 1 or plain(1) == 1": "sometimes",
    "x = 0 < 1 < plain(1)": "sometimes",
    "while world.n == plain(1):\n        pass": "touches",
    "while world.n:\n        pass\n    else:\n        pass": "else",
    "for i in range(3):\n        pass\n    else:\n        pass": "else",
    "for i, j in items:\n        pass": "variables",
    "for i in 3:\n        pass": "loop",
    "for i in world.log:\n        pass": "loop",
    "for i in range():\n        pass": "arguments",
    "for i in range(0, 3, 0):\n        pass": "stride",
    "for i in range(0, 3, world.n):\n        pass": "stride",
    "for i in range(0, choose(3)):\n        pass": "range",
    "for world.n in range(3):\n        pass": "variables",
    "with world:\n        pass": "with",
    "with world.lock as x:\n        pass": "with",
    "with world.rw:\n        pass": "with",
    "with world.rw.reading(1):\n        pass": "arguments",
    "with open('a'):\n        pass": "",
    "super().get()": "super",
    "x = Item.get()": "first argument",
    "x = Item.get(others[0])": "wanted",
    "items[0].nothing()": "no method",
    "world.n.get()": "no method",
    "items[0].fields()": "classmethod",
    "while True:\n        continue\n        nowhere()": "nowhere",
    "return 3": "None",
    "x = world.n if world.item else None": "",
    "x = 1\n    x = items[0]": "",
    "x = items[0]\n    x = others[0]": "",
    "x: U8 = 1\n    x: Item = items[0]": "elsewhere",
    "main()": "recursion",
}
FUNCTIONS = {  # a whole text -> a word of what is wrong
    "async def main() -> None:\n    pass": "async",
    "async def main() -> None:\n    async for i in items:\n        await i": "async",
    "async def main() -> None:\n    async with world.lock:\n        pass": "async",
    "def main(*a: int) -> None:\n    pass": "args",
    "def main(**a: int) -> None:\n    pass": "args",
    "def main(*, a: int = 1) -> None:\n    pass": "args",
    "def main(a: int = 1, /) -> None:\n    pass": "args",
    "def main():\n    pass": "return annotation",
    "def main() -> float:\n    return 1": "float",
    "def main() -> Nowhere:\n    return 1": "annotation",
    "def main() -> Array[U8, 3]:\n    return world.log": "return",
    "def main() -> int:\n    return None": "",
    "def main() -> int:\n    return": "return a value",
    "def main() -> int:\n    pass": "without returning",
    "def main() -> int:\n    if world.n:\n        return 1": "without returning",
    "def main() -> int:\n    while True:\n        if world.n:\n            break": "without returning",
    "def helper(a) -> None:\n    pass\ndef main() -> None:\n    helper(1)": "no annotation",
    "def helper(a: float) -> None:\n    pass\ndef main() -> None:\n    helper(1)": "float",
    "def helper(a: Array[U8, 3]) -> None:\n    pass\ndef main() -> None:\n    helper(world.log)": "parameter",
    "def helper(a: U8 = 'a') -> None:\n    pass\ndef main() -> None:\n    helper()": "str",
    "def deco(f): return f\n@deco\ndef main() -> None:\n    pass": "decorator",
    "def a() -> None:\n    b()\ndef b() -> None:\n    a()\ndef main() -> None:\n    a()": "recursion",
    "def a() -> U8:\n    return b()\ndef b() -> U8:\n    return a()\ndef main() -> None:\n    x = a()": "recursion",
    "f = lambda: 1\ndef main() -> None:\n    x = f()": "",
    "import functools\nf = functools.partial(plain, 1)\ndef main() -> None:\n    x = f()": "called",
    "class Odd(Record):\n    n: U8\n    @staticmethod\n    def f(n: U8) -> U8:\n        return n\nodd = shared(Odd)\ndef main() -> None:\n    x = odd.f(1)": "staticmethod",
    "class Odd(Record):\n    n: U8\n    @property\n    def f(self) -> U8:\n        return 1\nodd = shared(Odd)\ndef main() -> None:\n    x = odd.f": "no field",
    "class Odd(Item):\n    def get(self, n: U8) -> int:\n        return n\nodd = shared(Odd)\ndef main() -> None:\n    odd.n = 1\n    if world.item is not None:\n        x = world.item.get()": "other parameters",
    "@rule('r', on=event)\ndef r(item: Item) -> None:\n    pass\ndef main() -> None:\n    event(items[0], 1)": "rule",
}


def refused(text: str, rules: tuple[str, ...] = ()) -> Refused:
    with pytest.raises(Refused) as caught, model(text, rules=rules):
        pass
    return caught.value


def check(error: Refused, word: str) -> None:
    """File, line, column, the source line, what is wrong, what to write instead."""
    assert error.where.line >= FIRST
    assert error.where.column >= 1
    line = linecache.getline(error.where.file, error.where.line).rstrip()
    assert error.source.rstrip() == line
    assert str(error).startswith(f"{error.where.file}:{error.where.line}:{error.where.column}: ")
    assert line in str(error)
    assert "instead: " in str(error)
    assert word.lower() in str(error).lower(), str(error)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("body", BODIES)
def test_statements_outside_the_language(body: str) -> None:
    error = refused(f"def main() -> None:\n    {body}\n")
    check(error, BODIES[body])


@pytest.mark.parametrize("text", FUNCTIONS)
def test_functions_outside_the_language(text: str) -> None:
    check(refused(text, ("r",) if "@rule" in text else ()), FUNCTIONS[text])


def test_every_kind_of_statement_and_expression_was_tried() -> None:
    texts = [*(f"def main():\n    {b}" for b in BODIES), *FUNCTIONS]
    seen = {type(n) for text in texts for n in ast.walk(ast.parse(text))}
    known = {c for base in (ast.stmt, ast.expr) for c in base.__subclasses__()}
    missing = {c.__name__ for c in known - seen if not c.__name__.startswith("_")}
    assert missing <= {"Nonlocal", "TypeAlias", "TemplateStr", "Interpolation"}  # the first is below, the others are not in 3.11


def test_nonlocal_and_closures() -> None:
    text = """
        def make(n):
            def main() -> None:
                nonlocal n
                n = 3
            return main
        main = make(2)
    """
    check(refused(text), "nonlocal")


def test_a_machine_that_lacks_something_says_so() -> None:
    with pytest.raises(LangError, match="bound 'elsewhere' was not given: pass elsewhere="):
        with model("more = shared_array(Item, 'elsewhere')\ndef main() -> None:\n    more[0].n = 1"):
            pass
    with pytest.raises(LangError, match="table 'elsewhere' was not given: pass data="):
        with model("more = const('elsewhere', U8)\ndef main() -> None:\n    world.n = more[0]"):
            pass
    with pytest.raises(LangError, match=r"outside int 0\.\.3"):
        with model("more = const('table', Annotated[int, Bounds(0, 3)])\ndef main() -> None:\n    world.n = more[0]"):
            pass
    with pytest.raises(LangError, match=r"Bad\.x: .*float"):
        with model("class Bad(Record):\n    x: float\nbad = shared(Bad)\ndef main() -> None:\n    bad.x = 1"):
            pass
    with pytest.raises(LangError, match="@atomic"):
        with model("@atomic\ndef main() -> None:\n    world.n = 1"):
            pass
