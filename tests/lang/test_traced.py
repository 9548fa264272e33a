"""What the traced executor says a step calls is what plain execution calls there: on random walks, with arguments and results."""

from __future__ import annotations

import random

import pytest

from secondsight.contract import ADVERSARIES
from secondsight.contract.check import driver_program
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.devices.small import IgnoresParts, LeavesUnderItsLock, RefusesAndStays, RemembersByAddress, UnpinsBeforeItStops
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.plain import PlainRun, PlainStep
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference, Successor
from secondsight.lang.traced import Traced, TracedEvent

LOCKS = {name for kind in (Lock, *Lock.__subclasses__(), RwLock) for name in (f.__qualname__ for f in vars(kind).values() if callable(f))}
"""Within a lock's function the two differ: a thread stands in a queue before the call there, and in the middle of it here."""

Said = tuple[str, str]


def walk(program: Program, seed: int) -> tuple[list[list[Said]], list[list[Said]], dict[int, list[Said]], dict[int, list[Said]]]:
    """A random walk: what each step calls and frees in plain execution, and as the traced executor says it; and by thread what returns."""
    traced, drawn = Traced(program), random.Random(seed)
    state: bytes | None = traced.initial
    plain_calls, traced_calls = list[list[Said]](), list[list[Said]]()
    plain_returns, traced_returns = dict[int, list[Said]](), dict[int, list[Said]]()
    with PlainRun(program) as run:
        while state is not None:
            ways = [way for thread in range(len(program.threads)) for way in traced.traced_steps(state, thread)]
            if not ways:
                break
            way, events = drawn.choice(ways)
            step = run.step(way.thread, way.choices)
            assert str(step.error) == str(way.error)
            calls, returns = of_plain(step)
            plain_calls.append(calls)
            plain_returns.setdefault(way.thread, []).extend(returns)
            calls, returns = of_traced(traced, events)
            traced_calls.append(calls)
            traced_returns.setdefault(way.thread, []).extend(returns)
            state = way.state
    return plain_calls, traced_calls, plain_returns, traced_returns


def of_plain(step: PlainStep) -> tuple[list[Said], list[Said]]:
    seen = [e for e in step.events if e.name not in LOCKS and e.name != "thread_bit"]
    calls = [(e.name, repr({k: repr(v) for k, v in e.arguments.items()})) for e in seen if e.kind == "call"]
    frees = [("free", f"{e.where.file}:{e.where.line}") for e in seen if e.kind == "free" and e.where is not None]
    return calls + frees, [(e.name, repr(e.value)) for e in seen if e.kind == "return"]


def of_traced(traced: Traced, events: tuple[TracedEvent, ...]) -> tuple[list[Said], list[Said]]:
    calls, frees, returns = list[Said](), list[Said](), list[Said]()
    for kind, number, values in events:
        if kind == "free":
            frees.append(("free", f"{traced.places[number].file}:{traced.places[number].line}"))
            continue
        function = traced.functions[number]
        assert function.source is not None
        name = function.source.__qualname__
        if name in LOCKS or name == "thread_bit":
            continue
        if kind == "call":
            calls.append((name, repr({k: repr(v) for k, v in traced.given(function, values).items()})))
        else:
            returns.append((name, repr(traced.came_back(function, values[0]))))
    return calls + frees, returns


@pytest.mark.parametrize(
    ("driver", "adversary"),
    [(Mirror, "punch-hole"), (RefusesAndStays, "open"), (IgnoresParts, "part"), (LeavesUnderItsLock, "exit"), (UnpinsBeforeItStops, "close"), (RemembersByAddress, "two-processes")],
    ids=lambda v: getattr(v, "__name__", v),
)  # fmt: skip
def test_a_step_calls_what_it_calls_in_plain_execution(driver: type[Device], adversary: str) -> None:
    for seed, scenario in enumerate(ADVERSARIES[adversary].scenarios[:2]):
        plain_calls, traced_calls, plain_returns, traced_returns = walk(driver_program(driver, scenario), seed)
        assert traced_calls == plain_calls
        assert sum(map(len, plain_calls)) > 10
        for thread, returns in traced_returns.items():  # a return within `with lock:` is noted there before the lock is given back
            assert returns == plain_returns[thread][: len(returns)]
            assert len(plain_returns[thread]) - len(returns) <= 3


def test_it_takes_the_steps_of_the_program() -> None:
    program = driver_program(Mirror, ADVERSARIES["munmap"].scenarios[0])
    reference, traced = Reference(program), Traced(program)
    assert traced.initial == reference.initial
    seen, todo = {reference.initial}, [reference.initial]
    for state in todo:
        if len(seen) > 500:
            break
        for thread in range(len(program.threads)):
            ways = [way for way, _ in traced.traced_steps(state, thread)]
            assert [(w.choices, w.state) for w in ways] == [(w.choices, w.state) for w in reference.thread_successors(state, thread)]
            new: list[Successor] = [w for w in ways if w.state is not None and w.state not in seen]
            seen.update(w.state for w in new if w.state is not None)
            todo += [w.state for w in new if w.state is not None]
