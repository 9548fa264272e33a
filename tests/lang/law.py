"""The law that all executors obey, as functions that check it on one program."""

from __future__ import annotations

from collections.abc import Callable

from secondsight.lang.errors import LangError
from secondsight.lang.plain import PlainRun, WouldBlock, compare
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference, Successor

Graph = dict[bytes, list[Successor]]


def graph_of(reference: Reference, limit: int) -> tuple[Graph, dict[bytes, int], bool]:
    """Every state with its successors, and its depth, found the simple way; and whether that is all of them."""
    depth = {reference.initial: 0}
    graph: Graph = {}
    todo = [reference.initial]
    for state in todo:
        if len(graph) >= limit:
            return graph, depth, False
        graph[state] = reference.successors(state)
        for successor in graph[state]:
            if successor.state is not None and successor.state not in depth:
                depth[successor.state] = depth[state] + 1
                todo.append(successor.state)
    return graph, depth, True


def outcome(error: LangError | None) -> tuple[str, int] | None:
    """An error as every executor must tell it: the rule, and the line (of the call, for a None that is passed on)."""
    if error is None:
        return None
    rule: str = getattr(error, "rule", type(error).__name__)
    where = getattr(error, "where", None)
    return rule, 0 if where is None or rule in ("none-followed", "model-error") else where.line


def assert_dead_is_zero(program: Program, state: bytes) -> None:
    """Every bit of the threads' regions that holds nothing alive must be zero, and nothing alive lies on anything else."""
    for index, base in enumerate(program.bases):
        alive = (1 << 8 * program.counter_width) - 1
        number = int.from_bytes(state[base : base + program.counter_width], "big")
        if number:
            counter = program.counters[number - 1]
            frame, live = counter.frame, set(counter.block.live_in)
            while True:
                slots = [frame.slots[var] for var in live & set(frame.slots)]
                slots += [frame.return_slot] if frame.return_slot is not None else []
                for slot in slots:
                    bits = ((1 << slot.bits) - 1) << 8 * slot.at + slot.shift
                    assert not alive & bits, f"thread {index}: {slot} lies on something else that is alive"
                    alive |= bits
                if frame.return_slot is not None:
                    site = frame.return_slot.number(state, base)
                    call = frame.sites[site - 1] if site else None
                else:
                    call = None if frame.is_root else frame.sites[0]
                if call is None:
                    break
                frame = next(f for f in program.frames.values() if any(b.end is call for b in f.flow.blocks))
                live = frame.flow.live_across(call)
        region = int.from_bytes(state[base : base + program.region], "little")
        assert not region & ~alive, f"thread {index}: bits {region & ~alive:#x} of its region are dead and not zero"


def walk_both(program: Program, reference: Reference, draw: Callable[[int], int], length: int = 30) -> str:
    """One random schedule in the reference and in plain execution, compared after every step; how it ended."""
    state = reference.initial
    with PlainRun(program) as run:
        compare(run, state)
        for _ in range(length):
            ways = reference.successors(state)
            active = {w.thread for w in ways}
            blocked = [i for i in range(len(program.threads)) if reference.counter(state, i) and i not in active]
            if blocked and (not ways or draw(12) == 0):
                try:
                    done = run.step(blocked[draw(len(blocked))], (0, 0, 0, 0, 0, 0)[: 6 if not ways else 0])
                except WouldBlock:
                    return "blocked"
                except LangError:
                    return "blocked"  # it makes other choices before it blocks than were tried here
                raise AssertionError(f"a thread that the reference calls blocked runs: {done}")
            if not ways:
                return "ended"
            way = ways[draw(len(ways))]
            done = run.step(way.thread, way.choices)
            assert outcome(done.error) == outcome(way.error), (outcome(done.error), outcome(way.error), done.error, way.error)
            if way.state is None:
                return "error"
            compare(run, way.state)
            assert_dead_is_zero(program, way.state)
            state = way.state
    return "long"
