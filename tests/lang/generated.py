"""Programs of the language, generated: every construct, nested to a small depth, as source text with lines of its own.

`sources()` is a Hypothesis strategy of texts; `program_of` makes a text a module (its lines are in `linecache`, so that
positions work) and builds its two or three threads on a small machine.
"""

from __future__ import annotations

import itertools
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from generated_forms import Forms
from generated_header import HEADER
from hypothesis import strategies as st

from secondsight.lang import Machine
from secondsight.lang.program import Program, Thread, build


class Scope:
    """What a statement may use: names by kind, and where it stands."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.ints: list[str] = []
        self.bools: list[str] = []
        self.nodes: list[str] = []
        self.maybe: list[str] = []
        self.spans: list[str] = []
        self.jobs: list[str] = []
        self.given: list[str] = []
        self.lists: list[str] = []
        self.fixed: set[str] = set()
        self.used: set[str] = set()
        self.atomic = self.loop = False
        self.spinning = self.locked = False
        self.level = 0

    def inner(self, **changes: Any) -> Scope:
        """The scope of a block inside."""
        made = Scope(self.writer)
        for name, value in self.__dict__.items():
            made.__dict__[name] = value.copy() if isinstance(value, (list, set)) else value
        made.level += 1
        made.__dict__.update(changes)
        return made


class Writer(Forms):
    """Writes one program; `draw(n)` is any of 0..n-1."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self.draw = draw
        self.names = itertools.count()
        self.helpers: list[tuple[str, str, list[str], str]] = []  # name, kind (plain, atomic, pure), parameters, result
        self.result = "None"
        self.is_helper = False
        self.budget = 0

    def pick(self, *options: Any) -> Any:
        return options[self.draw(len(options))]

    def chance(self, percent: int) -> bool:
        return self.draw(100) < percent

    # Expressions.

    def number(self, scope: Scope, touch: bool, depth: int = 2) -> str:
        """An integer expression; `touch`: it may read shared state."""
        leaves = [lambda: str(self.draw(6) - 1), lambda: "LIMIT", lambda: f"table[{self.draw(3)}]", lambda: "len(nodes)"]
        leaves += [lambda: self.pick(*scope.ints)] * (3 if scope.ints else 0)
        leaves += [lambda: f"{self.pick(*scope.spans)}.{self.pick('start', 'end')}"] * (1 if scope.spans else 0)
        if some := [*scope.lists, *scope.given]:
            name = self.pick(*some)
            leaves += [lambda: f"len({name})", lambda: f"({name}[0] if {name} else 2)", lambda: f"count(v > 1 for v in {name})"]
            leaves += [lambda: f"{name}[{self.index(scope, 2)}]"] if self.chance(30) else []
        if touch:
            leaves += [
                lambda: f"{self.node(scope)}.{self.pick('small', 'wide', 'slot.n', 'slots[1].n', 'numbers[2]', 'BONUS')}",
                lambda: f"{self.node(scope)}.slots[{self.index(scope, 2)}].n",
                lambda: f"{self.node(scope)}.numbers[{self.index(scope, 3)}]",
                lambda: self.pick("world.turn", "world.total"),
                lambda: f"container_of({self.node(scope)}.{self.pick('slot', 'slot', 'slot', 'slots[1]')}, Node, \"slot\").small",
                lambda: f"count(m.small > {self.draw(3)} for m in nodes{self.pick('', ' if m.slot.on')})",
                lambda: f"count(m.on for m in {self.node(scope)}.slots)",
                lambda: f"sum(m.{self.pick('small', 'wide', 'small % 3')} for m in nodes{self.pick('', ' if m.slot.on')})",
                lambda: f"{self.pick('len(', 'count(m > 0 for m in ')}{self.places(scope)})",
            ]
        if depth <= 0 or self.chance(40):
            return str(self.pick(*leaves)())
        a = self.number(scope, touch, depth - 1)
        b = self.number(scope, touch, depth - 1)
        form = self.draw(9)
        if form == 0:
            return f"({a} {self.pick('+', '-', '*')} {b})"
        if form == 1:
            return f"({a} {self.pick('//', '%')} {self.pick('2', '3', f'({b} * {b} + 1)')})"
        if form == 2:
            return f"({a} {self.pick('&', '|', '^')} {b})"
        if form == 3:
            return f"({a} {self.pick('<<', '>>')} {self.draw(3)})"
        if form == 4:
            return f"{self.pick('min', 'max')}({a}, {b})"
        if form == 5:
            return f"abs({a})"
        if form == 6:
            return f"({a} if {self.truth(scope, touch, depth - 1)} else {b})"
        if form == 7:
            return self.pick(f"int({self.truth(scope, touch, depth - 1)})", f"-{a}", f"~{a}")
        pure = [h for h in self.helpers if h[1] == "pure"]
        if pure:
            return f"{self.pick(*pure)[0]}({self.small(scope, touch, depth - 1)})"
        return a

    def small(self, scope: Scope, touch: bool, depth: int = 2) -> str:
        """An integer expression that mostly fits `Small`."""
        text = self.number(scope, touch, depth)
        return text if self.chance(18) else f"({text}) % 4" if self.chance(60) else f"min(max({text}, -2), 5)"

    def index(self, scope: Scope, size: int) -> str:
        """An index, nearly always inside."""
        if scope.ints and self.chance(40):
            name = self.pick(*scope.ints)
            return name if self.chance(40 if name in scope.fixed else 5) else f"{name} % {size}"
        return str(self.draw(size))

    def truth(self, scope: Scope, touch: bool, depth: int = 1) -> str:
        """A truth value."""
        forms = [
            lambda: (
                f"{self.number(scope, touch, depth)} {self.pick('<', '<=', '==', '!=', '>', '>=')} {self.number(scope, touch, depth)}"
            ),
            lambda: f"{self.number(scope, touch, 0)} in ({self.draw(3)}, {self.number(scope, touch, 0)}, 4)",
            lambda: f"{self.draw(2)} <= {self.number(scope, touch, 0)} < {self.number(scope, touch, 0)}",
        ]
        forms += [lambda: str(self.pick(*scope.bools))] * (1 if scope.bools else 0)
        forms += [lambda: f"{self.pick(*scope.maybe)} is {self.pick('', 'not ')}None"] * (1 if scope.maybe else 0)
        if some := [*scope.lists, *scope.given]:
            name = self.pick(*some)
            forms += [lambda: f"{self.number(scope, touch, 0)} {self.pick('', 'not ')}in {name}", lambda: f"len({name}) > 1"]
        if touch:
            forms += [
                lambda: f"{self.node(scope)}.slot.on",
                lambda: f"{self.node(scope)}.next is {self.pick('None', 'not None', self.node(scope))}",
                lambda: f"{self.node(scope)}.slot.kind {self.pick('==', '!=')} Kind.{self.pick('A', 'B', 'C')}",
                lambda: f"bool({self.node(scope)}.flags & Flags.{self.pick('R', 'W', 'X')})",
                lambda: f"{self.pick('any', 'all')}(m.small {self.pick('<', '>')} {self.draw(3)} for m in nodes)",
                lambda: f"any(q.n > {self.draw(2)} for q in {self.node(scope)}.slots if not q.on)",
                lambda: f"world.{self.pick('lock', 'spin', 'rw')}.held_by_me()",
                lambda: f"{self.number(scope, touch, 0)} {self.pick('', 'not ')}in {self.places(scope)}",
                lambda: f"{self.places(scope)} {self.pick('==', '!=')} {self.places(scope)}",
                lambda: f"{self.number(scope, touch, 0)} {self.pick('', 'not ')}in {self.node(scope)}.numbers",
                lambda: f"{self.node(scope)}{self.pick('', '.next')} in nodes",
            ]
        if depth > 0 and self.chance(30):
            a, b = self.truth(scope, touch, depth - 1), self.truth(scope, touch, depth - 1)
            return self.pick(f"({a} and {b})", f"({a} or {b})", f"(not {a})", f"({a} and not ({b}))")
        return str(self.pick(*forms)())

    def places(self, scope: Scope) -> str:
        """A set of places."""
        node = self.node(scope)
        one = f"{{{self.index(scope, 3)}}}"
        return str(self.pick(f"{node}.marks", f"{node}.marks", f"({node}.marks {self.pick('|', '-', '&', '^')} {one})", "Bits(range(1, 3))"))

    def node(self, scope: Scope) -> str:
        """A node that is surely there."""
        forms = ["nodes[0]", "nodes[1]", "fasts[0]"]
        if scope.nodes:
            forms = [*forms, *scope.nodes, *scope.nodes]
        if scope.ints:
            forms.append(f"nodes[{self.pick(*scope.ints)} % 2]")
        if scope.maybe and self.chance(15):
            return str(self.pick(*scope.maybe))
        return str(self.pick(*forms))

    # Statements.

    def block(self, scope: Scope, least: int = 1) -> list[str]:
        """Some statements."""
        lines: list[str] = []
        for _ in range(least + self.draw(3)):
            if self.budget <= 0:
                break
            self.budget -= 1
            lines += self.statement(scope)
        return lines or ["pass"]

    def nested(self, head: str, scope: Scope, **changes: Any) -> list[str]:
        return [head, *("    " + line for line in self.block(scope.inner(**changes)))]

    def fresh(self) -> str:
        return f"x{next(self.names)}"

    def statement(self, scope: Scope) -> list[str]:
        """One statement (or a few that belong together)."""
        makers: list[Callable[[Scope], list[str]]] = [self.local, self.local, self.store, self.store, self.store, self.check]
        makers += [self.reference, self.choice, self.call, self.call, self.bundle, self.pool, self.listed, self.exchange, self.by_number]
        if scope.level < 3:
            makers += [self.branch, self.branch, self.loop, self.loop, self.lock, self.atomic, self.pick(self.matched, self.both, self.stacked)]
        makers += [self.wait] if self.chance(50) else [self.leave]
        return self.pick(*makers)(scope)  # type: ignore[no-any-return]

    def local(self, scope: Scope) -> list[str]:
        free = [n for n in scope.ints if n not in scope.fixed]
        if free and self.chance(30):
            name = self.pick(*free)
            return [f"{name} {self.pick('+=', '-=', '|=', '*=')} {self.draw(3)}", f"{name} = {name} % 7"]
        if free and self.chance(40):
            return [f"{self.pick(*free)} = {self.number(scope, self.chance(60))}"]
        name = self.fresh()
        if self.chance(25):
            value = f"bool({self.truth(scope, self.chance(40))})" if self.chance(60) else "world.turn > 1"
            scope.bools.append(name)
            return [f"{name} = {value}"]
        value = self.small(scope, self.chance(60))
        scope.ints.append(name)
        return [f"{name}: Small = {value}"] if self.chance(20) else [f"{name} = {value}"]

    def store(self, scope: Scope) -> list[str]:
        node = self.node(scope)
        form = self.draw(11)
        small = self.small(scope, True)
        if form == 0:
            return [f"{node}.small = {small}"]
        if form == 1:
            return [f"{node}.wide = ({self.number(scope, True)}) % 90"]
        if form == 2:
            return [f"{node}.numbers[{self.index(scope, 3)}] = {small}"]
        if form == 3:
            return [f"{node}.slots[{self.index(scope, 2)}].n {self.pick('=', '+=')} ({self.number(scope, True)}) % 5"]
        if form == 4:
            return [f"{node}.slot.kind = Kind.{self.pick('A', 'B', 'C')}", f"{node}.slot.on = {self.truth(scope, True)}"]
        if form == 5:
            return [f"{node}.flags {self.pick('|= Flags.W', '&= ~Flags.W', '= Flags.R | Flags.X', '^= Flags.R')}"]
        if form == 6:
            return [f"{node}.next = {self.pick('None', self.node(scope), 'world.first')}"]
        if form == 7:
            return [f"world.first = {self.pick('None', self.node(scope), node + '.next')}"]
        if form == 9:
            return [f"{node}.marks {self.pick('=', '|=', '-=', '&=')} {self.pick(self.places(scope), '{1}', 'Bits()')}"]
        if form == 8:
            return [f"world.turn = (world.turn + {self.draw(3)}) % 3"]
        return ["world.total += 1", "if world.total > 3:", "    world.total = 0"]

    def check(self, scope: Scope) -> list[str]:
        if self.chance(50):
            return [f"seen({self.node(scope)}, {self.small(scope, True)})"]
        test = self.truth(scope, self.chance(70)) if self.chance(25) else f"{self.node(scope)}.small < 9"
        return [self.pick(f"require({test}, 'made-up', 'it does not hold')", f"assert {test}, 'it does not hold'")]

    def reference(self, scope: Scope) -> list[str]:
        name = self.fresh()
        if self.chance(50):
            scope.nodes.append(name)
            return [f"{name}: Node = {self.node(scope.inner(nodes=[n for n in scope.nodes if n != name]))}"]
        line = f"{name}: Ref[Node] = {self.pick('None', 'world.first', self.node(scope) + '.next')}"
        if self.chance(60):
            return [line, *self.nested(f"if {name} is not None:", scope, nodes=[*scope.nodes, name])]
        scope.maybe.append(name)
        return [line]

    def choice(self, scope: Scope) -> list[str]:
        name = self.fresh()
        if self.chance(60):
            line = f"{name} = choose({self.pick('2', '3', 'len(nodes)', 'LIMIT')})"
            scope.ints.append(name)
            return [line]
        what = self.pick("nodes", "m for m in nodes if m.small < 3", "m for m in nodes if not m.slot.on or m.small >= 0")
        scope.nodes.append(name)
        return [f"{name} = choose({what})"]

    def arguments(self, scope: Scope, kinds: list[str], touch: bool) -> str:
        made = []
        for kind in kinds:
            if kind == "n":
                made.append(self.small(scope, touch, 1))
            elif kind == "node":
                made.append(self.node(scope))
            elif kind == "list":
                made.append(self.pick(*scope.lists, *scope.given))
            else:
                made.append(self.pick(*scope.spans) if scope.spans else f"Span({self.draw(3)}, 1, Kind.B)")
        return ", ".join(made)

    def call(self, scope: Scope) -> list[str]:
        some = bool(scope.lists or scope.given)
        usable = [h for h in self.helpers if h[1] != "pure" and (some or "list" not in h[2])]
        if self.chance(30) or not usable:
            node = self.pick(*(scope.nodes or ["nodes[0]", "fasts[0]"]))
            name = self.fresh()
            line = f"{name} = {node}.{self.pick('bump', 'poke')}({self.small(scope, True, 1)})"
            scope.ints.append(name)
            return [line]
        helper, kind, kinds, result = self.pick(*usable)
        text = f"{helper}({self.arguments(scope, kinds, True)})"
        if result == "None":
            return [text]
        if result == "tuple[Small, Small]":
            first, second = self.fresh(), self.fresh()
            scope.ints += [first, second]
            return [f"{first}, {second} = {text}"]
        if result == "Smalls":
            name = self.fresh()
            scope.lists.append(name)
            return [f"{name} = {text}"]
        if result == "Span":
            name = self.fresh()
            scope.spans.append(name)
            return [f"{name} = {text}"]
        if result == "Ref[Node]":
            name = self.fresh()
            scope.maybe.append(name)
            return [f"{name} = {text}"]
        if self.chance(30):
            name, other = self.fresh(), self.number(scope, self.chance(40), 0)
            more = {"ints": [*scope.ints, name]} if self.chance(40) else {}
            test = f"({name} := {text})" if more else text
            if self.chance(30):
                count = self.fresh()
                body = self.nested(f"while {test} {self.pick('>', '==')} {other}:", scope, loop=True, **more)
                return [f"{count} = 0", body[0], f"    {count} += 1", f"    if {count} > 1:", "        break", *body[1:]]
            return self.nested(f"if {test} {self.pick('>', '==')} {other}:", scope, **more)
        if self.chance(25):
            return [f"{self.node(scope)}.{self.pick('small', 'numbers[1]', 'wide')} = {text}{self.pick('', ' + world.turn')}"]
        if self.result == "Small" and self.chance(20) and not scope.spinning:
            return [*self.nested(f"if {self.truth(scope, True)}:", scope)[:1], f"    return {text}"]
        name = self.fresh()
        local, shared = self.number(scope, False, 0), self.number(scope, True, 1)
        scope.ints.append(name)
        if kind == "atomic" and self.chance(40):
            return [f"{name} = {shared} % 3 + {text}"]
        return [f"{name} = {self.pick(text, f'{local} - {text}', f'{text} % 3', f'min({text}, {local})')}"]

    def bundle(self, scope: Scope) -> list[str]:
        if scope.spans and self.chance(40):
            name = self.pick(*scope.spans)
            return [f"{name} = Span({name}.end, {name}.start, {self.pick('Kind.C', name + '.kind')})"]
        name = self.fresh()
        line = f"{name} = Span({self.small(scope, True, 1)}, {self.small(scope, True, 1)}, Kind.{self.pick('A', 'B')})"
        scope.spans.append(name)
        return [line]

    def pool(self, scope: Scope) -> list[str]:
        if scope.jobs and self.chance(50):
            name = scope.jobs.pop() if self.chance(85) else scope.jobs[-1]
            return [f"{name}.left = {self.small(scope, True, 1)}", f"jobs.free({name})"]
        name = self.fresh()
        scope.jobs.append(name)
        lines = [f"{name} = jobs.alloc()", f"{name}.owner = {self.node(scope)}"]
        return lines if self.chance(70) else ["with atomic:", *("    " + line for line in lines)]

    def listed(self, scope: Scope) -> list[str]:
        """A list on the stack."""
        if scope.lists and self.chance(70):
            name = self.pick(*scope.lists)
            form = self.draw(5)
            if form == 0:
                return [f"{name} = []"]
            if form == 1:
                return [f"if {name}:", f"    {name}[0] = {self.small(scope, True, 1)}"]
            if form == 2 and name not in scope.used:
                return self.nested(f"for {name}_v in {name}:", scope, ints=[*scope.ints, f"{name}_v"], used={*scope.used, name}, loop=True)
            add = f"{name}.append({self.small(scope, True, 1)})"
            return [add] if self.chance(20) else [f"if len({name}) < 3:", f"    {add}"]
        name = self.fresh()
        elements = [self.small(scope, True, 1) for _ in range(self.draw(3))]
        scope.lists.append(name)
        return [f"{name}: {self.pick('Smalls', 'List[Small, 3]')} = [{', '.join(elements)}]"]

    def exchange(self, scope: Scope) -> list[str]:
        """Several assignments at once."""
        free = [n for n in scope.ints if n not in scope.fixed]
        if len(free) > 1 and self.chance(60):
            a, b = self.pick(*free), self.pick(*free)
            return [f"{a}, {b} = {self.pick(b, self.number(scope, True, 1))}, {a}"] if a != b else self.local(scope)
        node = self.node(scope)
        return [f"{node}.small, world.turn = {self.small(scope, True, 1)}, ({self.number(scope, True, 1)}) % 3"]

    def branch(self, scope: Scope) -> list[str]:
        lines = self.nested(f"if {self.truth(scope, self.chance(60))}:", scope)
        if self.chance(30):
            lines += self.nested(f"elif {self.truth(scope, self.chance(60))}:", scope)
        return lines + (self.nested("else:", scope) if self.chance(50) else [])

    def loop(self, scope: Scope) -> list[str]:
        name = self.pick("i", "k") if self.chance(50) else self.fresh()
        form = self.draw(7)
        if name in scope.used:
            name = self.fresh()
        outer, scope = scope, scope.inner(level=scope.level, used={*scope.used, name})
        inside: dict[str, Any] = {"loop": True}
        if form < 2:
            limit = self.pick("2", "len(nodes)", "1, 3", "2, 0, -1", "world.turn", f"min({self.number(scope, False, 0)}, 2)")
            fixed = scope.fixed if self.chance(20) else {*scope.fixed, name}
            lines = self.nested(f"for {name} in range({limit}):", scope, ints=[*scope.ints, name], fixed=fixed, **inside)
            if name[0] == "x" and limit in ("2", "1, 3", "2, 0, -1") and self.chance(50):
                after = self.fresh()
                outer.ints.append(after)
                lines.append(f"{after} = {name}")
            return lines
        if form == 2:
            what = self.pick(f"{name} in nodes", f"{name} in reversed(nodes)", f"{name}_i, {name} in enumerate(nodes)")
            inside["ints"] = [*scope.ints, *([f"{name}_i"] if "_i" in what else [])]
            return self.nested(f"for {what}:", scope, nodes=[*scope.nodes, name], **inside)
        if form == 3:
            node = self.node(scope)
            body = self.nested(f"for {name} in {node}.slots:", scope, **inside)
            free = [n for n in scope.ints if f"nodes[{n} % 2]" in node and n not in scope.fixed]
            moved = [f"    {n} = ({n} + 1) % 2" for n in free]
            return [*body[:1], f"    {name}.n = ({name}.n + 1) % 3", *moved, *body[1:]]
        if form == 6:
            inside["ints"] = [*scope.ints, name]
            return self.nested(f"for {name} in {self.places(scope)}:", scope, fixed={*scope.fixed, name}, **inside)
        if form == 4:
            count = self.fresh()
            body = self.nested(f"while {count} < 2 and {self.truth(scope, self.chance(50))}:", scope, **inside)
            return [f"{count} = 0", body[0], f"    {count} += 1", *body[1:]]
        count = self.fresh()
        body = self.nested("while True:", scope, **inside)
        return [f"{count} = 0", body[0], f"    {count} += 1", f"    if {count} > {1 + self.draw(2)}:", "        break", *body[1:]]

    def lock(self, scope: Scope) -> list[str]:
        mine = (
            ["nodes[1].lock", "fasts[0].lock"] if self.is_helper else ["world.lock", "world.rw.reading()", "world.rw.writing()"]
        )
        if scope.locked and self.chance(95):
            return self.store(scope)
        if self.chance(15):
            return self.nested("with world.spin:", scope, spinning=True, locked=True)
        free = [n for n in scope.ints if n not in scope.fixed]
        if free and self.is_helper and self.chance(40):
            name = self.pick(*free)
            body = self.nested(f"with nodes[{name} % 2].lock:", scope, locked=True)
            return [*body[:1], f"    {name} = ({name} + 1) % 2", *body[1:]]
        if self.chance(15):
            lock = self.pick("nodes[0].lock", "world.lock")
            body = self.nested(f"if {lock}.trylock():", scope, locked=True, loop=False)
            return [*body, f"    {lock}.unlock()"] if not any("return" in line for line in body) else body
        return self.nested(f"with {self.pick(*mine)}:", scope, locked=True)

    def atomic(self, scope: Scope) -> list[str]:
        return self.nested("with atomic:", scope, atomic=True)

    def wait(self, scope: Scope) -> list[str]:
        if scope.spinning and self.chance(90):
            return self.store(scope)
        return [f"wait_until({self.pick('world.turn < 2', 'nodes[0].small < 3', self.truth(scope, True))})"]

    def leave(self, scope: Scope) -> list[str]:
        if not scope.level:
            return self.store(scope)
        if scope.loop and self.chance(70):
            return [f"if {self.truth(scope, self.chance(50))}:", f"    {self.pick('break', 'continue')}"]
        if self.result == "None":
            return [f"if {self.truth(scope, self.chance(50))}:", "    return"]
        value = self.value_of(scope) or self.pick("None", self.node(scope))
        return [f"if {self.truth(scope, False)}:", f"    return {value}"]

    # Functions.

    def value_of(self, scope: Scope) -> str:
        """A value of the result's type; of a reference, none."""
        if self.result == "tuple[Small, Small]":
            return f"{self.small(scope, True, 1)}, {self.small(scope, True, 1)}"
        if self.result == "Span":
            return self.pick(*scope.spans) if scope.spans else f"Span({self.small(scope, True, 1)}, 1, Kind.B)"  # type: ignore[no-any-return]
        if self.result == "Smalls":
            own = [n for n in scope.lists if n != "p0" and n != "p1"]
            return self.pick(*own) if own else f"[{self.small(scope, True, 1)}]"  # type: ignore[no-any-return]
        return self.small(scope, True) if self.result == "Small" else ""

    def function(self, name: str, kind: str) -> list[str]:
        """A whole function; helpers are noted for callers."""
        scope = Scope(self)
        self.result = "Small" if kind == "pure" else "None" if kind == "thread" else self.pick(
            "Small", "None", "Ref[Node]", "tuple[Small, Small]", "Smalls", "Span"
        )  # fmt: skip
        self.is_helper = kind != "thread"
        self.budget = 9 if kind == "thread" else 5
        kinds = ["n"] if kind in ("pure", "thread") else [self.pick("n", "node", "span", "list") for _ in range(1 + self.draw(2))]
        params = []
        for i, k in enumerate(kinds):
            params.append(f"p{i}: {({'n': 'Small', 'node': 'Node', 'span': 'Span', 'list': 'Smalls'})[k]}")
            {"n": scope.ints, "node": scope.nodes, "span": scope.spans, "list": scope.given}[k].append(f"p{i}")
        if kind == "pure":
            return [f"def {name}(p0: Small) -> Small:", f"    return {self.pick('(p0 + 1) % 4', 'LIMIT - 1', 'p0 % 3')}"]
        body = self.block(scope, 2 if kind == "thread" else 1)
        if kind == "plain":
            body.insert(0, "world.turn = (world.turn + 1) % 3")
        end = {"None": [], "Small": [f"return {self.small(scope, True)}"], "Ref[Node]": ["return world.first"]}.get(self.result)
        end = [f"return {self.value_of(scope)}"] if end is None else end
        head = [f"def {name}({', '.join(params)}) -> {self.result}:"]
        return [*(["@atomic"] if kind == "atomic" else []), *head, *("    " + line for line in [*body, *end])]

    def program(self) -> str:
        """The whole text."""
        lines: list[str] = []
        for i in range(1 + self.draw(3)):
            name, kind = f"f{i}", self.pick("plain", "plain", "atomic", "pure")
            text = self.function(name, kind)
            head = next(line for line in text if line.startswith("def "))
            inside = head[head.index("(") + 1 : head.index(")")]
            kinds = [{"Small": "n", "Node": "node", "Span": "span", "Smalls": "list"}[p.rpartition(" ")[2]] for p in inside.split(", ")]
            self.helpers.append((name, kind, kinds, head.rpartition("-> ")[2].rstrip(":")))
            lines += ["", *text]
        for i in range(2):
            lines += ["", *self.function(f"thread{i}", "thread")]
        return HEADER + "\n".join(lines) + "\n"


@st.composite
def sources(draw: st.DrawFn) -> str:
    """Programs as source text."""
    return Writer(lambda n: draw(st.integers(0, n - 1))).program()


_COUNT = itertools.count()


@contextmanager
def module_of(text: str) -> Iterator[types.ModuleType]:
    """A text as a module whose lines can be shown."""
    name = f"generated_{next(_COUNT)}"
    module = types.ModuleType(name)
    module.__file__ = f"<{name}>"
    linecache.cache[module.__file__] = (len(text), None, text.splitlines(keepends=True), module.__file__)
    sys.modules[name] = module
    try:
        exec(compile(text, module.__file__, "exec"), module.__dict__)
        yield module
    finally:
        del sys.modules[name]


def program_of(module: types.ModuleType, threads: int = 2) -> Program:
    """The program of a generated module."""
    machine = Machine({"nodes": 2, "jobs": 2}, data={"table": [1, 0, 3], "choices": [2, 0, 1]})
    with machine:
        module.nodes[1].slot.on = True
        module.nodes[1].small = 2
        module.world.first = module.nodes[1]
        module.fasts[0].next = module.nodes[0]
    started = [Thread(f"t{i}", getattr(module, f"thread{i % 2}"), (i,)) for i in range(threads)]
    return build(machine, started, [module.seen_small])
