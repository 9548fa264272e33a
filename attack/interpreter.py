"""The second rendering: a description as CPython closures over a dict state. It shares nothing with `secondsight.lang` but
`docs/language.md`.

What a thread has still to do is a linked list of entries, each known by a number; a step takes entries from its front until
the next one has a step boundary. A state is hashable: the shared values in a fixed order, and for each thread its list and
those of its locals that it may still read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from attack.description import WITH_NUMBERS, Description, Tree, World, walk
from attack.locks import FAIR, Blocked, Failed, held_at_end, lock, locks, queue, trylock, unlock
from attack.values import Moment, Values, alive, followed, reads, touches

__all__ = ["END", "Interpreter", "State", "Way", "has_queues", "reads_lock"]

END = 0
Locals = tuple[tuple[str, Any], ...]
State = tuple[tuple[Any, ...], tuple[tuple[int, Locals], ...]]
"""The shared values, and for each thread the number of what it has still to do, and its locals."""


@dataclass(frozen=True, slots=True)
class Way:
    """One step: who takes it, with which choices, to which state; or the rule that it breaks."""

    thread: int
    choices: tuple[int, ...]
    state: State | None
    rule: str = ""


def initial_state(world: World) -> dict[str, Any]:
    """The shared state, by names of our own."""
    zero = min(max(0, world.low), world.high)
    state: dict[str, Any] = {"a": zero, "b": zero, "c": zero, "slot0": None, "slot1": None, "world node": None, "seq": 2, "copy0": 0, "copy1": 0}
    state |= dict.fromkeys(locks(world), 0) | {"rw readers": 0, "rw waiting": 0}
    for i in range(world.items):
        state |= {f"item{i} n": zero, f"item{i} on": 0, f"item{i} next": None}
    for i in range(2):
        state |= {f"box{i}": zero}
    for i in range(world.nodes):
        state |= {f"node{i}": 1, f"node{i} used": 0}
    return state


class Interpreter(Values):
    """Runs a description; see the module."""

    def __init__(self, description: Description, queues: bool | None = None) -> None:
        super().__init__(description.world)
        self.description = description
        self.queues = has_queues(description) if queues is None else queues
        self.entries: list[tuple[tuple[Any, ...], int]] = [(("end",), END)]
        self.known: dict[tuple[tuple[Any, ...], int], int] = {}
        self.statements: dict[int, Tree] = {}
        self.alive: dict[int, frozenset[str]] = {END: frozenset()}
        start = initial_state(self.world)
        self.keys = tuple(start)
        self.bodies = [self.body(thread.body, END) for thread in description.threads]
        self.start_error = ""
        begun = []
        for place, body in enumerate(self.bodies):
            moment = Moment(dict(start), {}, place + 1, [])
            try:
                begun.append(self._run(moment, body, started=True))
            except Failed as failed:
                self.start_error = self.start_error or failed.rule
        self.initial: State = (tuple(start.values()), tuple(begun))

    # Steps.

    def ways(self, state: State) -> Iterator[Way]:
        """Every step from a state, in the order of threads and choices."""
        for thread in range(len(state[1])):
            yield from self.thread_ways(state, thread)

    def thread_ways(self, state: State, thread: int) -> Iterator[Way]:
        """The steps of one thread."""
        shared, threads = state
        todo, own = threads[thread]
        if todo == END:
            return
        script: list[int] | None = []
        while script is not None:
            moment = Moment(dict(zip(self.keys, shared, strict=True)), dict(own), thread + 1, script)
            try:
                after = self._run(moment, todo)
                whole = (*threads[:thread], after, *threads[thread + 1 :])
                yield Way(thread, tuple(moment.made), (tuple(moment.shared.values()), whole))
            except Blocked:
                pass
            except Failed as failed:
                yield Way(thread, tuple(moment.made), None, failed.rule)
            script = following(moment.made, moment.sizes)

    def is_final(self, state: State) -> bool:
        """Whether every thread that is no daemon has ended."""
        return all(t.daemon or own[0] == END for t, own in zip(self.description.threads, state[1], strict=True))

    def at(self, todo: int) -> tuple[str, Tree]:
        """The kind of the entry that a thread's next step begins with, and its statement."""
        entry = self.entries[todo][0]
        return entry[0], self.statements.get(entry[1], [])

    def stands_at_lock(self, todo: int) -> bool:
        """Whether the next step waits for a lock, and for nothing else: who stands so is scheduled with strong fairness."""
        if todo == END:
            return False
        kind, statement = self.at(todo)
        return kind in ("statement", "queued") and self._waits(statement) == {"lock"}

    def takes_lock(self, todo: int) -> bool:
        """Whether the next step waits for a lock that it takes: what it holds then comes before that in the order of locks."""
        if todo == END:
            return False
        kind, statement = self.at(todo)
        return kind in ("statement", "queued") and "lock" in self._waits(statement)

    def _waits(self, s: Tree) -> set[str]:
        match s:
            case ["with", *_]:
                return {"lock"}
            case ["do", method, _]:
                return {"lock"} if method in ("lock", "read_lock", "write_lock") else set()
            case ["wait", _]:
                return {"condition"}
            case ["atomic", body]:
                return set().union(*(self._waits_inside(x) for x in body))
            case ["call", name, *_] | ["put call", _, name, _] if self.description.functions[name].atomic:
                return set().union(*(self._waits_inside(x) for x in self.description.functions[name].body))
        return set()

    def _waits_inside(self, s: Tree) -> set[str]:
        """What a statement of an atomic block may wait for, the blocks inside of it too."""
        inside = [part for part in s if isinstance(part, list) and (not part or isinstance(part[0], list)) and s[0] not in WITH_NUMBERS]
        return self._waits(s).union(*(self._waits_inside(x) for body in inside for x in body))

    # Entries.

    def entry(self, kind: tuple[Any, ...], rest: int) -> int:
        """The number of a list that begins with an entry."""
        if (kind, rest) not in self.known:
            self.known[kind, rest] = len(self.entries)
            self.entries.append((kind, rest))
        return self.known[kind, rest]

    def body(self, body: Iterable[Tree], rest: int) -> int:
        """Statements, then the rest."""
        for statement in reversed(list(body)):
            self.statements[id(statement)] = statement
            rest = self.entry(("statement", id(statement)), rest)
        return rest

    def _has_boundary(self, todo: int) -> bool:
        kind, *about = self.entries[todo][0]
        if kind in ("release", "queued", "store"):
            return True
        if kind not in ("statement", "loop"):
            return False
        s = self.statements[about[0]]
        if s[0] in ("let", "nlet", "rlet", "dlet", "slet", "if", "while", "require", "assert", "return"):
            return any(touches(part) for part in s[1:2] if isinstance(part, list)) or (s[0][-3:] == "let" and touches(s[2]))
        if s[0] in ("exchange", "list", "append", "put element"):
            return any(touches(part) for part in s[2:] if isinstance(part, list))
        if s[0] == "over":
            return False
        if s[0] == "put call":
            return self.description.functions[s[2]].atomic or any(map(touches, s[3]))
        if s[0] == "call":
            return self.description.functions[s[1]].atomic or any(map(touches, s[2]))
        return s[0] not in ("forever", "for", "each", "break", "continue", "pass")

    def _run(self, moment: Moment, todo: int, started: bool = False) -> tuple[int, Locals]:
        """Run to the next boundary, or to the end: what there is to do then, and the locals that matter then."""
        rounds = 0
        while todo != END:
            if moment.depth == 0 and started and self._has_boundary(todo):
                break
            started, rounds = True, rounds + 1
            if rounds > 5000:
                raise Failed("model-error")
            (kind, *about), rest = self.entries[todo]
            todo = getattr(self, "_" + kind)(moment, rest, *about)
        if todo == END:
            held_at_end(self.world, moment.shared, moment.me)
            return END, ()
        kind = self.entries[todo][0]
        if kind[0] == "statement" and self.statements[kind[1]][0] == "while":  # the first round begins as all others
            todo = self.entry(("loop", kind[1]), self.entries[todo][1])
        return todo, self.kept(moment, self.live(todo))

    def kept(self, m: Moment, names: Iterable[str]) -> Locals:
        """The values of some locals; those that have none yet are as at the beginning."""
        names = set(names)
        found = []
        for name in sorted({name.partition(" ")[0] for name in names}):
            value = m.own.get(name, self.begun(name))
            if name[0] == "l" and name not in names:  # of a list whose elements nobody reads its length
                value = (self.zero,) * len(value)
            if name[0] == "l" and f"{name} length" not in names:
                raise ValueError(f"{name} is read, and its length is not")
            found.append((name, value))
        return tuple(found)

    def _statement(self, m: Moment, rest: int, about: int) -> int:
        s, value = self.statements[about], self.value
        match s:
            case ["let", name, n]:
                m.own[name] = self.ranged(value(n)(m))
            case ["nlet" | "rlet" | "dlet" | "slet", name, r]:
                m.own[name] = value(r)(m)
            case ["exchange", one, other, a, b]:
                values = value(a)(m), value(b)(m)
                m.own[one], m.own[other] = map(self.ranged, values)
            case ["list", name, elements]:
                values = tuple(value(n)(m) for n in elements)
                m.own[name] = tuple(map(self.ranged, values))
            case ["append", name, n]:
                elements = (*m.own.get(name, ()), self.ranged(value(n)(m)))
                if len(elements) > 3:
                    raise Failed("left-range")
                m.own[name] = elements
            case ["put element", name, place, n]:
                number, elements = self.ranged(value(n)(m)), m.own.get(name, ())
                at = self.indexed(value(place)(m), len(elements))
                m.own[name] = (*elements[:at], number, *elements[at + 1 :])
            case ["put call", _, name, arguments]:
                return self._call(m, rest, name, [self.ranged(value(n)(m)) for n in arguments], "store", about)
            case ["put", place, n]:
                number = value(n)(m)
                key = self.place(m, place)
                m.shared[key] = number if place[0] in ("owner", "readers") else self.ranged(number)
            case ["add", place, n]:
                key = self.place(m, place)
                m.shared[key] = self.ranged(m.shared[key] + value(n)(m))
            case ["on", r, test]:
                number = int(value(test)(m))
                m.shared[f"item{followed(value(r)(m))} on"] = number
            case ["slot", place, r]:
                m.shared[f"slot{place}"] = value(r)(m)
            case ["next", r, to]:
                target = value(to)(m)
                m.shared[f"item{followed(value(r)(m))} next"] = target
            case ["world node", d]:
                m.shared["world node"] = value(d)(m)
            case ["copy", place, n]:
                m.shared[f"copy{place}"] = value(n)(m)
            case ["advance"]:
                m.shared["seq"] += 1
                if m.shared["seq"] > 255:
                    raise Failed("left-range")
            case ["make odd"]:
                m.shared["seq"] |= 1
            case ["if", test, then, other]:
                return self.body(then if value(test)(m) else other, rest)
            case ["while" | "forever", *_]:
                return self._loop(m, rest, about)
            case ["for" | "each" | "over" as kind, *_]:
                return self.entry((kind, about, 0), rest)
            case ["break" | "continue" as kind]:
                return self._unwind(m, rest, kind, None)
            case ["return", *n]:
                return self._unwind(m, rest, "return", self.ranged(value(n[0])(m)) if n else None)
            case ["do", method, of]:
                key = alive(m, self.lock(m, of))
                if method.endswith("unlock") or method == "write_downgrade":
                    unlock(m.shared, m.me, key, method)
                else:
                    return self._take(m, rest, about, key, method)
            case ["try", name, of, *how]:
                m.own[name] = self.ranged(int(trylock(m.shared, m.me, alive(m, self.lock(m, of)), *how)))
            case ["if try", of, then, other, *how]:
                return self.body(then if trylock(m.shared, m.me, alive(m, self.lock(m, of)), *how) else other, rest)
            case ["with", how, of, _]:
                return self._take(m, rest, about, alive(m, self.lock(m, of)), "lock" if how == "lock" else f"{how}_lock")
            case ["atomic", body]:
                m.depth += 1
                return self.body(body, self.entry(("leave",), rest))
            case ["wait", test]:
                if m.shared["spin"] == m.me:
                    raise Failed("sleep-in-atomic")
                if not value(test)(m):
                    raise Blocked
            case ["choose", name, count]:
                m.own[name] = self.ranged(m.choose(count if isinstance(count, int) else value(count)(m)))
            case ["choose item", name, test]:
                among = [i for i in range(self.world.items) if test is None or self.of_item(m, test, i)]
                m.own[name] = among[m.choose(len(among))]
            case ["require", test]:
                if not value(test)(m):
                    raise Failed("made-up")
            case ["assert", test]:
                if not value(test)(m):
                    raise Failed("assertion")
            case ["seen", n]:
                if not (self.ranged(value(n)(m)) < 2 or m.shared["a"] < 2):
                    raise Failed("seen")
            case ["alloc", name]:
                free = [i for i in range(self.world.nodes) if m.shared[f"node{i} used"] != 1]
                if not free:
                    raise Failed("out-of-records")
                m.shared[f"node{free[0]} used"] = 1
                m.own[name] = free[0]
            case ["free", d]:
                place = followed(value(d)(m))
                if m.shared[f"node{place} used"] != 1:
                    raise Failed("double-free" if m.shared[f"node{place} used"] else "model-error")
                m.shared |= {f"node{place}": 1, f"node{place} used": 2, f"node{place} lock": 0}
            case ["call", name, arguments, target]:
                return self._call(m, rest, name, [self.ranged(value(n)(m)) for n in arguments], target)
            case ["pass"]:
                pass
            case _:
                raise ValueError(s)
        return rest

    def _take(self, m: Moment, rest: int, about: int, key: str, method: str) -> int:
        """Take a lock; or stand in its queue first, where the statement does nothing else."""
        if method == "write_lock" and self.queues and m.depth == 0 and queue(m.shared, m.me):
            return self.entry(("queued", about, key, method), rest)
        return self._queued(m, rest, about, key, method)

    def _queued(self, m: Moment, rest: int, about: int, key: str, method: str) -> int:
        lock(m.shared, m.me, key, method)
        s = self.statements[about]
        if s[0] == "do":
            return rest
        return self.body(s[3], self.entry(("release", about, key, method.replace("lock", "unlock")), rest))

    def _loop(self, m: Moment, rest: int, about: int) -> int:
        s = self.statements[about]
        if s[0] == "while" and not self.value(s[1])(m):
            return rest
        return self.body(s[-1], self.entry(("loop", about), rest))

    def _for(self, m: Moment, rest: int, about: int, place: int) -> int:
        _, name, count, body = self.statements[about]
        if place >= count:
            return rest
        m.own[name] = place
        return self.body(body, self.entry(("for", about, place + 1), rest))

    def _each(self, m: Moment, rest: int, about: int, place: int) -> int:
        _, name, body = self.statements[about]
        if place >= self.world.items:
            return rest
        m.own[name] = place
        return self.body(body, self.entry(("each", about, place + 1), rest))

    def _over(self, m: Moment, rest: int, about: int, place: int) -> int:
        _, name, of, body = self.statements[about]
        elements = m.own.get(of, ())
        if place >= len(elements):
            return rest
        m.own[name] = elements[place]
        return self.body(body, self.entry(("over", about, place + 1), rest))

    def _store(self, m: Moment, rest: int, about: int, number: int) -> int:
        """What a function returned goes to its place."""
        place = self.statements[about][1]
        key = self.place(m, place)
        m.shared[key] = number if place[0] in ("owner", "readers") else self.ranged(number)
        return rest

    def _release(self, m: Moment, rest: int, about: int, key: str, method: str) -> int:
        unlock(m.shared, m.me, alive(m, key), method)
        return rest

    def _leave(self, m: Moment, rest: int) -> int:
        m.depth -= 1
        return rest

    def _call(self, m: Moment, rest: int, name: str, arguments: list[int], target: str | None, about: int = 0) -> int:
        function = self.description.functions[name]
        live = self._placing(self.statements[about][1]) | self.live(rest) if target == "store" else self.live(rest) - {target}
        back = self.entry(("back", target, self.kept(m, live), about), rest)
        m.own = {f"x{i}": value for i, value in enumerate(arguments)}
        if function.atomic:
            m.depth += 1
            back = self.entry(("leave",), back)
        return self.body(function.body, back)

    @staticmethod
    def _placing(place: Tree) -> frozenset[str]:
        """The locals that finding a place reads."""
        return reads(place)

    def _back(self, m: Moment, rest: int, target: str | None, kept: Locals, about: int, value: int | None = None) -> int:
        m.own = dict(kept)
        if target == "store":
            assert value is not None
            if m.depth or self.is_local_call(about):
                return self._store(m, rest, about, value)
            return self.entry(("store", about, value), rest)
        if target is not None:
            m.own[target] = value
        return rest

    def _unwind(self, m: Moment, todo: int, what: str, value: int | None) -> int:
        """Leave blocks until the loop, or the function, that is left or goes on."""
        while todo != END:
            entry, rest = self.entries[todo]
            if entry[0] == "release":
                return self.entry(entry, self.entry(("unwind", what, value), rest))
            if entry[0] == "leave":
                m.depth -= 1
            elif entry[0] == "back" and what == "return":
                return self._back(m, rest, entry[1], entry[2], entry[3], value)
            elif entry[0] in ("loop", "for", "each", "over") and what != "return":
                return todo if what == "continue" else rest
            todo = rest
        return END

    def is_local_call(self, about: int) -> bool:
        """Whether a function that is called for a place in the state has no boundary: then the store is in the call's step."""
        return self.description.functions[self.statements[about][2]].atomic

    # Locals that may still be read.

    def live(self, todo: int) -> frozenset[str]:
        """The locals that what a thread has still to do, in its present function, may read before it writes them."""
        if todo not in self.alive:
            entry, rest = self.entries[todo]
            match entry:
                case ("statement" | "loop", about) | ("queued", about, _, _):
                    self.alive[todo] = self._before(self.statements[about], self.live(rest), *self._jumps(rest))
                case ("store", about, _):
                    self.alive[todo] = self.live(rest) | self._placing(self.statements[about][1])
                case ("for" | "each" | "over", about, _):
                    self.alive[todo] = self._before(self.statements[about], self.live(rest), frozenset(), frozenset())
                case ("unwind", "break" | "continue" as what, _):
                    self.alive[todo] = self._jumps(rest)[what == "continue"]
                case ("unwind", *_) | ("back", *_):
                    self.alive[todo] = frozenset()
                case _:
                    self.alive[todo] = self.live(rest)
        return self.alive[todo]

    def _jumps(self, todo: int) -> tuple[frozenset[str], frozenset[str]]:
        """What is live where `break` leads to, and `continue`."""
        while todo != END:
            entry, rest = self.entries[todo]
            if entry[0] in ("loop", "for", "each", "over"):
                return self.live(rest), self.live(todo)
            todo = END if entry[0] == "back" else rest
        return frozenset(), frozenset()

    def _before(self, s: Tree, after: frozenset[str], leave: frozenset[str], again: frozenset[str]) -> frozenset[str]:
        def inside(body: list[Tree], then: frozenset[str], out: frozenset[str], on: frozenset[str]) -> frozenset[str]:
            for line in reversed(body):
                then = self._before(line, then, out, on)
            return then

        match s:
            case ["let" | "nlet" | "rlet" | "dlet" | "slet" | "choose item" | "try", name, value, *_]:
                return (after - {name}) | reads(value)
            case ["choose", name, count]:
                return (after - {name}) | reads(None if isinstance(count, int) else count)
            case ["alloc", name]:
                return after - {name}
            case ["if" | "if try", test, then, other, *_]:
                return reads(test) | inside(then, after, leave, again) | inside(other, after, leave, again)
            case ["while" | "forever", *test, body]:
                head = (reads(test[0]) | after) if test else frozenset()
                while (wider := head | inside(body, head, after, head)) != head:
                    head = wider
                return head
            case ["for", name, _, body] | ["each", name, body]:
                head = after
                while (wider := head | (inside(body, head, after, head) - {name})) != head:
                    head = wider
                return head
            case ["over", name, of, body]:
                head = after | {of, f"{of} length"}
                while (wider := head | (inside(body, head, after, head) - {name})) != head:
                    head = wider
                return head
            case ["exchange", one, other, a, b]:
                return (after - {one, other}) | reads(a) | reads(b)
            case ["list", name, elements]:
                return (after - {name, f"{name} length"}).union(*map(reads, elements))
            case ["append", name, n]:
                return after | reads(n) | {f"{name} length"}
            case ["put element", name, place, n]:
                return after | reads(n) | reads(place) | {f"{name} length"}
            case ["put call", place, _, arguments]:
                return (after | self._placing(place)).union(*map(reads, arguments))
            case ["with", _, of, body]:
                return reads(of) | inside(body, after, leave, again)
            case ["atomic", body]:
                return inside(body, after, leave, again)
            case ["call", _, arguments, target]:
                return (after - {target}) | frozenset().union(*map(reads, arguments))
            case ["break"]:
                return leave
            case ["continue"]:
                return again
            case ["return", *value]:
                return reads(value[0]) if value else frozenset()
        return after | reads(s)


def has_queues(description: Description) -> bool:
    """Whether two threads can read the lock or try it: one that has it, and one that comes. Only then writers stand in its queue."""
    return FAIR and sum(reads_lock(description, thread.body) for thread in description.threads) > 1


def reads_lock(description: Description, body: list[Tree]) -> bool:
    """Whether something can become a reader, or stop to be one, or try the lock, in what it calls too."""
    nodes = [node for line in body for node in walk(line)]
    called = {node[1] for node in nodes if node[0] == "call" and node[1] in description.functions}
    called |= {node[2] for node in nodes if node[0] == "put call"}
    return any(
        (node[0] == "do" and node[1] in ("read_lock", "read_unlock", "write_downgrade")) or node[:2] == ["with", "read"]
        or (node[0] in ("try", "if try") and node[-1] in ("read_trylock", "write_trylock"))
        for node in nodes
    ) or any(reads_lock(description, description.functions[name].body) for name in called)  # fmt: skip


def following(made: list[int], sizes: list[int]) -> list[int] | None:
    """The next way of making choices; None after the last."""
    for place in reversed(range(len(made))):
        if made[place] + 1 < sizes[place]:
            return [*made[:place], made[place] + 1]
    return None
