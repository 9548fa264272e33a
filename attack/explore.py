"""A search of our own over what `interpreter` can do, and what is wrong there by the definitions of `docs/language.md`.

`explore` sees every state, breadth first. `Judgement` says which rules are broken in the first level where any is, whether there is a
deadlock, a livelock, two orders of locks; and how long the shortest traces to them are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from attack.interpreter import END, Interpreter, State, Way

__all__ = ["Graph", "Judgement", "explore", "judge", "livelocked", "shortest_round"]


@dataclass
class Graph:
    """States by number in order of discovery; `ways`: the steps from each, `targets`: where they lead (-1: to an error)."""

    interpreter: Interpreter
    states: list[State]
    depth: list[int]
    ways: list[list[Way]] = field(default_factory=list)
    targets: list[list[int]] = field(default_factory=list)
    whole: bool = True

    def able(self, number: int) -> set[int]:
        """The threads that can take a step."""
        return {w.thread for w in self.ways[number]}

    def alive(self, number: int) -> set[int]:
        """The threads that have not ended."""
        return {i for i, (todo, _) in enumerate(self.states[number][1]) if todo != END}


@dataclass
class Judgement:
    """What is wrong. `rules`: what may be told, each with the lengths that its shortest trace may have; empty: it holds.

    `outcomes`: the shared states of all final states; `edges`: which lock was taken with which held (by class, or by name within
    one class).
    """

    rules: dict[str, set[int]]
    outcomes: set[tuple[object, ...]]
    edges: set[tuple[str, str]]
    every: set[str] = field(default_factory=set)


def explore(interpreter: Interpreter, most: int) -> Graph:
    """Every state, or `most` of them."""
    graph = Graph(interpreter, [interpreter.initial], [0])
    number = {interpreter.initial: 0}
    for place, state in enumerate(graph.states):
        if len(graph.states) > most:
            graph.whole = False
            break
        ways = list(interpreter.ways(state))
        targets = []
        for way in ways:
            if way.state is None:
                targets.append(-1)
                continue
            if way.state not in number:
                number[way.state] = len(graph.states)
                graph.states.append(way.state)
                graph.depth.append(graph.depth[place] + 1)
            targets.append(number[way.state])
        graph.ways.append(ways)
        graph.targets.append(targets)
    return graph


def judge(graph: Graph, progress: bool = True) -> Judgement:
    """What is wrong in a whole graph."""
    interpreter = graph.interpreter
    wrong: list[tuple[int, str, int]] = []  # in which level a search comes to it, what, the trace's length
    outcomes = set()
    for number, ways in enumerate(graph.ways):
        depth = graph.depth[number]
        wrong += [(depth, way.rule, depth + 1) for way in ways if way.state is None]
        if interpreter.is_final(graph.states[number]):
            outcomes.add(graph.states[number][0])
        elif not ways:
            wrong.append((depth, "deadlock", depth))
    judgement = Judgement({}, outcomes, lock_edges(graph), {rule for _, rule, _ in wrong})
    if wrong:
        first = min(level for level, _, _ in wrong)
        for level, rule, length in wrong:
            if level == first:
                judgement.rules.setdefault(rule, set()).add(length)
    elif progress and (states := livelocked(graph)):
        first = min(graph.depth[n] for n in states)
        judgement.rules["livelock"] = {first}
    return judgement


# Livelocks.


def livelocked(graph: Graph) -> set[int]:
    """The states on fair cycles in which a thread other than a daemon has not ended."""
    found: set[int] = set()
    daemons = {i for i, t in enumerate(graph.interpreter.description.threads) if t.daemon}
    todo = [set(range(len(graph.ways)))]
    while todo:
        for part in components(graph, todo.pop()):
            alive = graph.alive(min(part))
            if alive <= daemons:
                continue
            moving = {w.thread for n in part for w, to in zip(graph.ways[n], graph.targets[n], strict=True) if to in part}
            resting = alive - moving
            # Who takes no step stands where it stands: the same entry in every state of the part.
            own = {t: graph.states[min(part)][1][t][0] for t in resting}
            queued = {t for t in resting if graph.interpreter.stands_at_lock(own[t])}
            if any(all(t in graph.able(n) for n in part) for t in resting - queued):
                continue
            unfair = {n for n in part if graph.able(n) & queued}
            if unfair:
                todo.append(part - unfair)
            else:
                found |= part
    return found


def components(graph: Graph, among: set[int]) -> list[set[int]]:
    """The strongly connected parts that have a cycle: by what can be reached from a state and what reaches it."""
    back: dict[int, list[int]] = {n: [] for n in among}
    for n in among:
        for to in graph.targets[n]:
            if to in back:
                back[to].append(n)
    left, parts = [among], []
    while left:
        rest = left.pop()
        # Peel what cannot lie on a cycle: states without a way in or out of the rest.
        outward = {n: sum(to in rest for to in graph.targets[n]) for n in rest}
        inward = {n: sum(m in rest for m in back[n]) for n in rest}
        ends = [n for n in rest if not outward[n] or not inward[n]]
        rest = set(rest)
        while ends:
            n = ends.pop()
            if n not in rest:
                continue
            rest.discard(n)
            for to in graph.targets[n]:
                if to in rest:
                    inward[to] -= 1
                    if not inward[to]:
                        ends.append(to)
            for m in back[n]:
                if m in rest:
                    outward[m] -= 1
                    if not outward[m]:
                        ends.append(m)
        if not rest:
            continue
        start = min(rest)
        ahead = reached(start, rest, graph.targets)
        behind = reached(start, rest, back)
        parts.append(ahead & behind)
        left += [part for part in (ahead - behind, behind - ahead, rest - ahead - behind) if part]
    return [part for part in parts if len(part) > 1 or min(part) in graph.targets[min(part)]]


def reached(start: int, among: set[int], ways: dict[int, list[int]] | list[list[int]]) -> set[int]:
    """What can be reached from a state, itself too."""
    seen, todo = {start}, [start]
    for n in todo:
        for to in ways[n]:
            if to in among and to not in seen:
                seen.add(to)
                todo.append(to)
    return seen


def shortest_round(graph: Graph, start: int, inside: set[int], most: int = 50_000) -> int:
    """How many steps the shortest fair way from a state back to it has; 0 where that is too much to look at."""
    alive = graph.alive(start)
    queued = {t for t in alive if graph.interpreter.stands_at_lock(graph.states[start][1][t][0])}
    nobody: frozenset[int] = frozenset()
    todo = [(start, nobody, frozenset(alive), nobody, 0)]  # who moved, who could always, who could once
    seen = {todo[0][:4]}
    for n, moved, always, once, length in todo:
        if len(todo) > most:
            return 0
        able = frozenset(graph.able(n))
        for way, to in zip(graph.ways[n], graph.targets[n], strict=True):
            now = (to, moved | {way.thread}, always & able, once | able)
            if to == start and all(t in now[1] or t not in (now[3] if t in queued else now[2]) for t in alive):
                return length + 1
            if to in inside and now not in seen:
                seen.add(now)
                todo.append((*now, length + 1))
    return 0


# The order of locks.


def lock_edges(graph: Graph) -> set[tuple[str, str]]:
    """What is taken with what held, by steps that wait for a lock: classes of locks, or the locks of one class."""
    keys = graph.interpreter.keys
    names = [k for k in keys if k in ("m0", "m1", "rw", "spin") or k.endswith(" lock")]
    edges: set[tuple[str, str]] = set()

    def held(values: dict[str, object], me: int) -> set[str]:
        readers = values["rw readers"]
        assert isinstance(readers, int)
        return {n for n in names if values[n] == me} | ({"rw"} if readers >> (me - 1) & 1 else set())

    for state, ways in zip(graph.states, graph.ways, strict=False):
        before = dict(zip(keys, state[0], strict=True))
        for way in ways:
            if way.state is None or not graph.interpreter.takes_lock(state[1][way.thread][0]):
                continue
            had = held(before, way.thread + 1)
            if had:
                taken = held(dict(zip(keys, way.state[0], strict=True)), way.thread + 1) - had
                for a in had:
                    for b in taken:
                        edges.add((a, b) if lock_class(a) == lock_class(b) else (lock_class(a), lock_class(b)))
    return edges


def lock_class(name: str) -> str:
    """Locks of one field are one class."""
    return name[:-6] if name[-5:] == " lock" else name


def has_cycle(edges: set[tuple[str, str]]) -> bool:
    """Whether edges lead back to where they began."""
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)
    for start in after:
        seen, todo = set(after[start]), list(after[start])
        for name in todo:
            for to in after.get(name, ()):
                if to not in seen:
                    seen.add(to)
                    todo.append(to)
        if start in seen:
            return True
    return False
