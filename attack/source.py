"""The first rendering: programs as source text of the protocol language, many in one module, so that one compilation does for all.

Every statement that can be a step has a line of its own; `Text.lines` says which.
"""

from __future__ import annotations

import itertools
import linecache
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attack.description import Description, Function, Thread, Tree, World, walk
from secondsight.lang import Machine
from secondsight.lang import program as program_module

__all__ = ["Text", "begin_names", "module_of", "program_of", "render"]

HEADER = """\
from __future__ import annotations
from typing import Annotated, Literal
from secondsight.lang import *

Small = Annotated[int, Bounds({low}, {high})]
Number = Annotated[int, Bounds(-1, 5)]

class Item(Record):
    interchangeable = {interchangeable}
    n: Small
    on: bool
    next: Ref[Item]

class Box(Record):
    v: Small
    lock: Mutex

class Node(Record):
    lock: Mutex
    v: Small = 1

class World(Record):
    a: Small
    b: Small
    c: Small
    m0: Mutex
    m1: Mutex
    rw: RwLock
    spin: SpinLock
    slot0: Ref[Item]
    slot1: Ref[Item]
    node: Ref[Node]
    seq: SequenceNumber = 2
    copy0: SequenceNumber
    copy1: SequenceNumber

items = shared_array(Item, "items")
boxes = shared_array(Box, "boxes")
nodes = pool(Node, "nodes")
world = shared(World)

@tracepoint
def seen(n: Small) -> None: ...

@rule("seen", on=seen)
def seen_rule(n: Small) -> None:
    require(n < 2 or world.a < 2, "seen", "two at once")

def limited(most: int):
    def limit(n: Small) -> Small:
        few: Annotated[int, Bounds(0, most)] = min(max(n, 0), most)
        return few

    return limit

closed = limited(2)
Numbers = Annotated[list[Small], Most(3)]

def pure(n: Small) -> Small:
    if n > 1:
        return n - 1
    return 1
"""


class Text:
    """A module's text; `lines`: where each statement (by its identity) stands."""

    def __init__(self, descriptions: Sequence[Description]) -> None:
        self.descriptions = descriptions
        self.out = HEADER.format(**vars(descriptions[0].world)).splitlines()
        self.lines: dict[int, int] = {}
        for number, description in enumerate(descriptions):
            self.prefix = f"p{number}_"
            for name, function in description.functions.items():
                self._function(self.prefix + name, function)
            for place, thread in enumerate(description.threads):
                same = next(k for k, other in enumerate(description.threads) if other.body == thread.body)
                if same == place:
                    self._thread(f"{self.prefix}t{place}", thread)
                else:
                    self._same_thread(f"{self.prefix}t{place}", f"{self.prefix}t{same}", thread, description.threads[same])
        self.text = "\n".join(self.out) + "\n"

    def _function(self, name: str, function: Function) -> None:
        parameters = ", ".join(f"x{i}: Small" for i in range(function.parameters))
        gives = any(node[0] == "return" and len(node) > 1 for line in function.body for node in walk(line))
        self.out += ["", *(["@atomic"] if function.atomic else []), f"def {name}({parameters}) -> {'Small' if gives else 'None'}:"]
        self._locals(function.body, function.parameters)
        self._body(function.body, "    ")

    def _thread(self, name: str, thread: Thread) -> None:
        self.out += ["", f"def {name}() -> None:"]
        self._locals(thread.body, 0)
        self._body(thread.body, "    ")

    def _same_thread(self, name: str, first: str, thread: Thread, other: Thread) -> None:
        """A thread that does what another does begins with the same function: they may be equal."""
        self.out += ["", f"{name} = {first}"]
        for mine, theirs in zip(walk(thread.body), walk(other.body), strict=True):
            if id(theirs) in self.lines:
                self.lines[id(mine)] = self.lines[id(theirs)]

    def _locals(self, body: Sequence[Tree], parameters: int) -> None:
        """Every local has a value from the beginning."""
        own = {f"x{i}" for i in range(parameters)}
        names = {part for line in body for node in walk(line) for part in node[1:] if isinstance(part, str)} - own
        for name in sorted(n for n in names if n[1:].isdigit()):
            if name[0] == "x":
                self.out.append(f"    {name}: Small = {zero(self.descriptions[0].world)}")
            elif name[0] == "l":
                self.out.append(f"    {name}: Numbers = []")
            elif name[0] == "s":
                self.out.append(f"    {name}: SequenceNumber = 0")
            elif name[0] == "n":
                self.out.append(f"    {name}: Number = -1")
            elif name[0] in "rd":
                self.out.append(f"    {name}: Ref[{'Item' if name[0] == 'r' else 'Node'}] = None")

    def _body(self, body: Sequence[Tree], indent: str) -> None:
        for statement in body:
            self._statement(statement, indent)
        if not body:
            self.out.append(indent + "pass")

    def _line(self, statement: Tree, indent: str, text: str) -> None:
        self.out.append(indent + text)
        self.lines[id(statement)] = len(self.out)

    def _statement(self, s: Tree, indent: str) -> None:
        inner = indent + "    "
        match s:
            case ["if", test, then, other]:
                self._line(s, indent, f"if {truth(test)}:")
                self._body(then, inner)
                if other:
                    self.out.append(indent + "else:")
                    self._body(other, inner)
            case ["while" | "forever", *test, body]:
                self._line(s, indent, f"while {truth(test[0]) if test else 'True'}:")
                self._body(body, inner)
            case ["for", name, count, body]:
                self._line(s, indent, f"for {name} in range({count}):")
                self._body(body, inner)
            case ["each", name, body]:
                self._line(s, indent, f"for {name} in items:")
                self._body(body, inner)
            case ["over", name, of, body]:
                self._line(s, indent, f"for {name} in {of}:")
                self._body(body, inner)
            case ["if try", lock, body, other, *how]:
                self._line(s, indent, f"if {lock_of(lock)}.{how[0] if how else 'trylock'}():")
                self._body(body, inner)
                if other:
                    self.out.append(indent + "else:")
                    self._body(other, inner)
            case ["with", how, lock, body]:
                ways = {"lock": "", "read": ".reading()", "write": ".writing()"}
                self._line(s, indent, f"with {lock_of(lock)}{ways[how]}:")
                self._body(body, inner)
            case ["atomic", body]:
                self._line(s, indent, "with atomic:")
                self._body(body, inner)
            case ["call", name, arguments, target]:
                call = f"{self.prefix}{name}({', '.join(map(number, arguments))})"
                self._line(s, indent, call if target is None else f"{target} = {call}")
            case ["put call", place, name, arguments]:
                self._line(s, indent, f"{place_of(place)} = {self.prefix}{name}({', '.join(map(number, arguments))})")
            case _:
                self._line(s, indent, simple(s))


def zero(world: World) -> int:
    """What a number is at the beginning: 0 or the nearest bound."""
    return min(max(0, world.low), world.high)


def simple(s: Tree) -> str:
    """A statement of one line."""
    match s:
        case ["let" | "nlet" | "rlet" | "dlet" as kind, name, value]:
            return f"{name} = {(number if kind[-4:] in ('let', 'nlet') else item if kind == 'rlet' else node)(value)}"
        case ["exchange", first, second, a, b]:
            return f"{first}, {second} = {number(a)}, {number(b)}"
        case ["list", name, elements]:
            return f"{name} = [{', '.join(map(number, elements))}]"
        case ["append", name, value]:
            return f"{name}.append({number(value)})"
        case ["put element", name, place, value]:
            return f"{name}[{number(place)}] = {number(value)}"
        case ["put", place, value]:
            return f"{place_of(place)} = {number(value)}"
        case ["add", place, value]:
            return f"{place_of(place)} += {number(value)}"
        case ["on", of, test]:
            return f"{item(of)}.on = {truth(test)}"
        case ["slot", place, value]:
            return f"world.slot{place} = {item(value)}"
        case ["next", of, value]:
            return f"{item(of)}.next = {item(value)}"
        case ["world node", value]:
            return f"world.node = {node(value)}"
        case ["slet", name, value]:
            return f"{name} = {sequence(value)}"
        case ["copy", place, value]:
            return f"world.copy{place} = {sequence(value)}"
        case ["advance"]:
            return "world.seq += 1"
        case ["make odd"]:
            return "world.seq |= 1"
        case ["break" | "continue" | "pass" as kind]:
            return str(kind)
        case ["return"]:
            return "return"
        case ["return", value]:
            return f"return {number(value)}"
        case ["do", method, lock]:
            return f"{lock_of(lock)}.{method}()"
        case ["try", name, lock, *how]:
            return f"{name} = int({lock_of(lock)}.{how[0] if how else 'trylock'}())"
        case ["wait", test]:
            return f"wait_until({truth(test)})"
        case ["choose", name, count]:
            return f"{name} = choose({count if isinstance(count, int) else number(count)})"
        case ["choose item", name, test]:
            return f"{name} = choose({'items' if test is None else f'q for q in items if {truth(test)}'})"
        case ["require", test]:
            return f"require({truth(test)}, 'made-up', 'it does not hold')"
        case ["assert", test]:
            return f"assert {truth(test)}, 'it does not hold'"
        case ["seen", value]:
            return f"seen({number(value)})"
        case ["alloc", name]:
            return f"{name} = nodes.alloc()"
        case ["free", of]:
            return f"nodes.free({node(of)})"
    raise ValueError(s)


def number(n: Tree) -> str:
    """A number."""
    match n:
        case ["int", value]:
            return str(value)
        case ["local", name]:
            return str(name)
        case ["me"]:
            return "current()"
        case ["get", place]:
            return place_of(place)
        case ["bin", op, a, b]:
            return f"({number(a)} {op} {number(b)})"
        case ["min" | "max" as op, a, b]:
            return f"{op}({number(a)}, {number(b)})"
        case ["if", test, a, b]:
            return f"({number(a)} if {truth(test)} else {number(b)})"
        case ["bool", test]:
            return f"int({truth(test)})"
        case ["length", name]:
            return f"len({name})"
        case ["element", name, place]:
            return f"{name}[{number(place)}]"
        case ["sum", value]:
            return f"sum({number(value)} for q in items)"
        case ["count", test]:
            return f"count({truth(test)} for q in items)"
        case ["index", of]:
            return f"items.index({item(of)})"
        case ["call", name, value]:
            return f"{name}({number(value)})"
    raise ValueError(n)


def truth(t: Tree) -> str:
    """A test."""
    match t:
        case ["cmp", op, a, b]:
            return f"{number(a)} {op} {number(b)}"
        case ["and" | "or" as op, a, b]:
            return f"({truth(a)} {op} {truth(b)})"
        case ["not", a]:
            return f"not ({truth(a)})"
        case ["on", of]:
            return f"{item(of)}.on"
        case ["is none", of]:
            return f"{item(of)} is None"
        case ["no node", of]:
            return f"{node(of)} is None"
        case ["same", a, b]:
            return f"{item(a)} is {item(b)}"
        case ["mine", lock]:
            return f"{lock_of(lock)}.held_by_me()"
        case ["among", a, name]:
            return f"{number(a)} in {name}"
        case ["any" | "all" as op, a]:
            return f"{op}({truth(a)} for q in items)"
        case ["seq same" | "seq less" as op, a, b]:
            return f"{sequence(a)} {'==' if op == 'seq same' else '<'} {sequence(b)}"
        case ["seq odd", a]:
            return f"{sequence(a)} & 1 == 1"
        case ["seq none", a]:
            return f"{sequence(a)} == 0"
    raise ValueError(t)


def sequence(s: Tree) -> str:
    """A sequence number."""
    match s:
        case ["seq"]:
            return "world.seq"
        case ["copy", place]:
            return f"world.copy{place}"
        case ["slocal", name]:
            return str(name)
        case ["no seq"]:
            return "0"
        case ["before"]:
            return "(world.seq - 1)"
    raise ValueError(s)


def place_of(p: Tree) -> str:
    """A number that is stored."""
    match p:
        case ["cell", name]:
            return f"world.{name}"
        case ["box", index]:
            return f"boxes[{number(index)}].v"
        case ["item", of]:
            return f"{item(of)}.n"
        case ["node", of]:
            return f"{node(of)}.v"
        case ["owner", lock]:
            return f"{lock_of(lock)}.owner"
        case ["readers"]:
            return "world.rw.readers"
    raise ValueError(p)


def item(r: Tree) -> str:
    """An item, or none."""
    match r:
        case ["none"]:
            return "None"
        case ["rlocal", name]:
            return str(name)
        case ["items", index]:
            return f"items[{number(index)}]"
        case ["slot", place]:
            return f"world.slot{place}"
        case ["next", of]:
            return f"{item(of)}.next"
    raise ValueError(r)


def node(d: Tree) -> str:
    """A node of the pool, or none."""
    match d:
        case ["none"]:
            return "None"
        case ["dlocal", name]:
            return str(name)
        case ["world node"]:
            return "world.node"
        case ["nodes", index]:
            return f"nodes[{number(index)}]"
    raise ValueError(d)


def lock_of(lock: Tree) -> str:
    """A lock."""
    match lock:
        case ["m", place]:
            return f"world.m{place}"
        case ["rw" | "spin" as name]:
            return f"world.{name}"
        case ["box lock", index]:
            return f"boxes[{number(index)}].lock"
        case ["node lock", of]:
            return f"{node(of)}.lock"
    raise ValueError(lock)


_count = itertools.count()


def begin_names(number: int) -> None:
    """Name modules from a number on: the same programs then have the same text everywhere."""
    global _count
    _count = itertools.count(number * 1000)


@contextmanager
def module_of(text: str) -> Iterator[types.ModuleType]:
    """A text as a module whose lines can be shown."""
    name = f"attacked_{next(_count)}"
    module = types.ModuleType(name)
    module.__file__ = f"<{name}>"
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    sys.modules[name] = module
    try:
        exec(compile(text, module.__file__, "exec"), module.__dict__)
        yield module
    finally:
        del sys.modules[name], linecache.cache[module.__file__]


def program_of(
    module: types.ModuleType, number: int, description: Description, room: Sequence[int] = ()
) -> program_module.Program:
    """The program of a description in a module; `room`: its code is that of all programs with these numbers."""
    machine = Machine({"items": description.world.items, "boxes": 2, "nodes": description.world.nodes})
    with machine:  # all of it is state, whatever of it this program uses
        _ = module.world.a, module.items[0].n, module.boxes[0].v, module.nodes[0].v
    threads = [
        program_module.Thread(f"t{i}", getattr(module, f"p{number}_t{i}"), (), daemon=thread.daemon)
        for i, thread in enumerate(description.threads)
    ]
    among = [f"p{place}_t{i}" for place in room for i in range(3)]
    functions = tuple(vars(module)[name] for name in among if name in vars(module))
    return program_module.build(machine, threads, [module.seen_rule], room=program_module.Room(3, functions) if room else None)


def render(descriptions: Sequence[Description]) -> Text:
    """The text of programs in one world."""
    return Text(descriptions)
