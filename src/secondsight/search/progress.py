"""Livelock: what it is, and how the reference executor finds it.

A *cycle* is a way of at least one step through the reachable states that ends where it began: threads can follow it for
ever. It is *fair* if each thread that has not ended

* takes a step in it, or
* cannot take one in some state of it; one that stands at a lock (`lock_steps`) cannot take one in any state of it.

The first is *weak fairness*: a thread that could always go on does go on. The second is *strong fairness*, for those who wait
for a lock: the kernel's mutexes hand themselves over, its rw_semaphores keep others back for who waits, its spinlocks have
queues, so that a thread that waits for a lock that is free again and again does get it. It is not assumed of `trylock`, which waits for nothing (a loop
around it goes round), nor of `wait_until`: who is woken may find the condition gone again. What `choose` gives is not the
scheduler's doing: it may be the same for ever. Daemons are scheduled as fairly as all others.

A fair cycle in which a thread other than a daemon has not ended is a *livelock*. If from some state no final state can be
reached, whatever the scheduler does, then there is a deadlock or a livelock by this: from there the fairest scheduler of
all goes on for ever.

Every fair cycle lies in a strongly connected part of the graph. One in which each thread that takes no step is kept from it as
it must be is fair as a whole: take the cycle through all of it. If a thread that stands at a lock and takes no step could
take one in some of the states, these are left out, and what remains is cut into parts again.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from secondsight.lang import ir
from secondsight.lang.cfg import CallTo
from secondsight.lang.program import Program
from secondsight.search.steps import steps_of

__all__ = ["Edges", "Stand", "inside_loops", "lock_steps"]


class Stand(NamedTuple):
    """How threads stand in a state, bit t for thread t: `can`: who can take a step; `alive`: who has not ended; `locking`: who stands at a lock.

    movers: whose step each of those is that lead from it, in the order of the search.
    """

    can: int
    alive: int
    locking: int
    movers: list[int]


class Edges:
    """The graph that a search saw, states by their numbers in order of discovery.

    targets: where each step leads, the steps from state n from `starts[n]` on. How the threads stand in a state is asked of `look`, and only of
    those on cycles: most programs have none.
    """

    def __init__(self, daemons: int) -> None:
        self.daemons = daemons
        self.targets = array("L")
        self.starts = array("L")
        self._stands: dict[int, Stand] = {}

    def livelocked(self, look: Callable[[int], Stand]) -> set[int]:
        """The states that lie on a fair cycle in which a thread other than a daemon has not ended."""
        count = len(self.starts)
        self.starts.append(len(self.targets))
        left = self._unpeeled(count)
        if not left:
            return set()
        label = array("L", bytes(array("L").itemsize * count))  # which part a state belongs to
        labels = 0
        found: set[int] = set()
        todo: list[tuple[Iterable[int], int]] = [(left, 0)]
        while todo:
            states, within = todo.pop()
            for part in self._parts(states, label, within):
                labels += 1
                for n in part:
                    label[n] = labels
                fair = self._fair(part, label, look)
                if fair is None:
                    continue
                if len(fair) == len(part):
                    found |= set(part)
                else:
                    labels += 1
                    for n in fair:
                        label[n] = labels
                    todo.append((fair, labels))
        return found

    def _stand(self, n: int, look: Callable[[int], Stand]) -> Stand:
        known = self._stands.get(n)
        if known is None:
            known = self._stands[n] = look(n)
        return known

    def _unpeeled(self, count: int) -> list[int]:
        """The states that a cycle leads to: the others are peeled off, first those that no step leads to. In most programs none is left."""
        targets, starts = self.targets, self.starts
        ways_in = [0] * count
        for to in targets:
            ways_in[to] += 1
        todo = [n for n, ways in enumerate(ways_in) if not ways]
        for n in todo:
            for to in targets[starts[n] : starts[n + 1]]:
                ways_in[to] -= 1
                if not ways_in[to]:
                    todo.append(to)
        return [n for n, ways in enumerate(ways_in) if ways] if len(todo) < len(ways_in) else []

    def _fair(self, part: list[int], label: array[int], look: Callable[[int], Stand]) -> list[int] | None:
        """A part's states in which the fair cycles lie: all of them if it is fair, fewer if only some can be, None for none."""
        stands = {n: self._stand(n, look) for n in part}
        first = stands[part[0]]
        alive = first.alive  # the same in all of it: who has ended does not begin again
        if not alive & ~self.daemons:
            return None
        moving = 0
        for n in part:
            for mover, to in zip(stands[n].movers, self.targets[self.starts[n] : self.starts[n + 1]], strict=True):
                if label[to] == label[n]:
                    moving |= 1 << mover
        resting = alive & ~moving  # these stand where they stand
        locking = resting & first.locking
        always = resting & ~locking
        for n in part:
            always &= stands[n].can
        if always:
            return None
        return [n for n in part if not stands[n].can & locking]

    def _parts(self, states: Iterable[int], label: array[int], within: int) -> Iterator[list[int]]:
        """The strongly connected parts, those without a cycle left out, of the states with one label (Tarjan)."""
        targets, starts, count = self.targets, self.starts, len(label)
        order, low = array("L", [0]) * count, array("L", [0]) * count  # order: when it was come to, from 1 on
        waiting = bytearray(count)
        stack: list[int] = []
        came = 0
        for root in states:
            if order[root]:
                continue
            path = [(root, starts[root])]
            while path:
                n, edge = path.pop()
                if not order[n]:
                    came += 1
                    order[n] = low[n] = came
                    stack.append(n)
                    waiting[n] = 1
                if edge < starts[n + 1]:
                    path.append((n, edge + 1))
                    to = targets[edge]
                    if not order[to] and label[to] == within:
                        path.append((to, starts[to]))
                    elif waiting[to]:
                        low[n] = min(low[n], order[to])
                    continue
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[n])
                if low[n] == order[n]:
                    part: list[int] = []
                    while not part or part[-1] != n:
                        part.append(stack.pop())
                        waiting[part[-1]] = 0
                    if len(part) > 1 or n in targets[starts[n] : starts[n + 1]]:
                        yield part


def lock_steps(program: Program) -> frozenset[int]:
    """The counters at which a thread waits for a lock: the step may wait, and for nothing but locks."""
    return frozenset(program.code.fact("lock steps", lambda: _lock_steps(program)))


def _lock_steps(program: Program) -> list[int]:
    steps = steps_of(program)
    does = [(counter.number, steps.does(counter.block)) for counter in program.counters]
    return [number for number, one in does if one.waits and not one.waits_for_more]


def inside_loops(program: Program) -> list[frozenset[int]]:
    """For each thread the counters between two of which it may go for ever: those inside of `while` loops.

    What the functions called there do is inside too. A thread that takes infinitely many steps takes, from some time on,
    only steps from one of these to another, and begins infinitely many rounds of a `while` loop: there is no recursion, and
    the rounds of a `for` loop are counted before the first.
    """
    known = dict(program.code.fact("inside loops", lambda: _inside_loops(program)))
    return [frozenset(known[root.number]) for root, _ in program.roots]


def _inside_loops(program: Program) -> list[tuple[int, list[int]]]:
    """For each function that a thread may begin with, by the number of its frame."""
    numbers = {function: number for number, function in enumerate(program.frames)}
    return [(numbers[root], _inside(program, root)) for root in program.code.linked.roots.values()]


def _inside(program: Program, root: ir.Function) -> list[int]:
    reached, todo = {root: False}, [root]  # by function: whether it may have been called inside of a loop
    for function in todo:
        for block in program.frames[function].flow.blocks:
            if isinstance(block.end, CallTo):
                callee, inside = block.end.function, block.in_loop or reached[function]
                if callee not in reached or inside > reached[callee]:
                    reached[callee] = inside
                    todo.append(callee)
    return [c.number for c in program.counters if c.function in reached and (reached[c.function] or c.block.in_loop)]
