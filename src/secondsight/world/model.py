"""A scenario on the model: its program, and every outcome it can have.

`program` makes the machine as the setup leaves it (run in plain execution, operation by operation, by the same interpreter
that the threads run) and the checked program of its threads. `outcomes` searches all interleavings and reads the results
in every final state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import secondsight.world.operations  # noqa: F401  what is interpreted has been declared
from secondsight.devices.buffer_device import BufferDevice
from secondsight.devices.device import Device
from secondsight.devices.exclusive import Exclusive
from secondsight.devices.fenced_importer import FencedImporter
from secondsight.devices.mirror import Mirror
from secondsight.devices.private_gpu import PrivateGpu
from secondsight.devices.small.resetting import Resets
from secondsight.devices.userfault_handler import monitor, serve
from secondsight.lang.errors import LangError
from secondsight.lang.machines import Machine
from secondsight.lang.modules import is_ours, set_up
from secondsight.lang.program import Program, Room, Thread
from secondsight.lang.records import Record
from secondsight.lang.standins import Shared, unwrap
from secondsight.lang.types import ArrayType, error_name
from secondsight.linux.errno import SIGBUS, SIGSEGV
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.mm_types import IntervalNotifier, of_nobody
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.page_alloc_slowpath import direct_reclaim, failing_allocations
from secondsight.linux.vmscan_direct import perform_reclaim
from secondsight.scenario.data import DIFFERS, OK, SKIPPED, Outcome, Place, Scenario, collect
from secondsight.scenario.ops import ArgType, HandleType, Op, ScenarioError
from secondsight.search import Result
from secondsight.search.auto import search
from secondsight.search.request import Request
from secondsight.world import tables
from secondsight.world.declare import ACTS, on_model
from secondsight.world.encoder import Encoder
from secondsight.world.endless import ending
from secondsight.world.enough import with_enough
from secondsight.world.interpreter import end_when_killed, made, run_final, run_in_turn, run_ops

__all__ = ["only_outcome", "Together", "done_together", "has_succeeded", "outcomes", "program", "read_outcome", "shape_of", "value_in", "value_of", "watched"]


def only_outcome(scenario: Scenario, release: str | None = None) -> Outcome:
    """The outcome of a scenario without threads and without a device, run in plain execution without a search. Raises `LangError`
    where it does not fit the model."""
    if scenario.threads or scenario.chooses or any(place.op.declared.serves for place in scenario.places()):
        raise ValueError(f"{scenario.name} has threads, or something that nothing decides: it may have several outcomes")
    encoder = Encoder(scenario, release)
    machine = Machine(encoder.bounds(None, {}), data=encoder.data(True))
    with machine:
        mem_init()
        proc_caches_init()
        spaces = [mm_alloc() for _ in encoder.processes]
        _unborn(encoder)
        for i, place in enumerate(encoder.places):
            if on_model(place.op).begins is not None:
                _set_up(place.op, i, encoder, spaces[encoder.rows["process"][i]], None)
        tables.process.running = 1
        if len(spaces) == 1:
            run_ops(0, len(encoder.places), spaces[0], None, True)
        else:
            for other in tables.other_processes:
                other.running = 1
            run_in_turn(0, len(encoder.places), None)
        return read_outcome(scenario, bytes(128 + result.value for result in tables.results))


ShapeKey = tuple[tuple[tuple[str, int], ...], tuple[int, ...]]
"""The bounds of a scenario's machine, and the operations of its families."""

Together = Mapping[ShapeKey, frozenset[int]]
"""By shape, the numbers of what its programs do."""

_OF_RESULTS = ("results", "successes")


def program(
    scenario: Scenario,
    driver: type[Device] | None = None,
    rules: Iterable[Callable[..., Any]] = (),
    wanted: dict[str, int] | None = None,
    holds: bool = False,
    release: str | None = None,
    closes: bool = False,
    results: bool = True,
    together: Callable[[], Together] = dict,
) -> Program:
    """The checked program of a scenario; its devices, if it has any, are driven by `driver` (default: a right one).

    `wanted` raises bounds; `holds`: with hold points, for forced runs; `release`: see `outcomes`; `closes`: when all threads
    have ended the driver is closed, if it is open still, and rules may look at what it holds (`all_quiet`). Without `results` those
    of the operations are not kept, but for whether an access of the device succeeded (`has_succeeded`). `together`: what other
    programs of its shape do, as `done_together` says; its code is then made for that. Raises `LangError` for a bound that is too small, a driver outside the language, or one that cannot be opened.
    """
    encoder = Encoder(scenario, release, results)
    places = encoder.places
    driver = (driver or _default(places)) if scenario.has_device else None
    _suits(scenario, driver)
    closes = closes and driver is not None
    if driver is not None and len(encoder.devices) > 1:
        _says_whose_it_is(driver)
    waits = bool(scenario.final) or closes or encoder.forks or any(p.op.kind == "exit" or ArgType.PROCESS in p.op.declared.types for p in places)
    pools: dict[type[Record], int] = {} if driver is None else {driver: len(encoder.devices)}
    sizes = encoder.bounds(driver, wanted or {})
    beside = () if driver is None else together().get(_key(encoder.bounds(driver, {}) if wanted else sizes, encoder), ())
    machine = Machine(sizes, pools, encoder.data(waits, closes), encoder.only(driver is not None, beside))
    machine.rules = list(rules)
    alone = not scenario.threads
    with _one_at_a_time, set_up(driver.__name__ if driver is not None else scenario.name), machine:
        mem_init()
        proc_caches_init()
        spaces = [mm_alloc() for _ in encoder.processes]
        _unborn(encoder)
        driven = [machine.pool(driver).alloc() for _ in encoder.devices] if driver is not None else []
        if len(driven) > 1:
            for i, one in enumerate(driven):
                tables.devices[i].device = one
        device = driven[0] if driven else None
        for i, place in enumerate(places):
            if place.section == "setup" and (not alone or on_model(place.op).begins is not None):
                own = driven[encoder.rows["device"][i]] if driven else None
                _set_up(place.op, i, encoder, spaces[encoder.rows["process"][i]], own)
        if alone:
            threads = [_alone(places, spaces, device)]
        else:
            threads = _threads(encoder, spaces, device, closes, driver is not None and driver.promise == "process")
        if driver is not None:
            threads += _daemons(driver, driven, alone)
        threads += _handlers(encoder, spaces)
        threads += _reclaims(encoder)
        _begin_to_fail(encoder)
        threads += _ends(encoder, spaces)
        for number, mm in enumerate(spaces):
            process = tables.other_processes[number - 1] if number else tables.process
            process.running = int(alone) or sum(1 for t in threads if t.function is run_ops and t.arguments[-1] and t.arguments[2] is mm)
        tables.process.others = sum(1 for t in threads if t.function is run_ops and not t.arguments[-1])
        room = Room(1 if alone and len(threads) == 1 else max(4, len(threads)), (run_ops, run_final))
        return Program(machine, threads, rules, holds, room)


def _default(places: list[Place]) -> type[Device]:
    """The driver of a scenario that is asked about without one: the reference mirror, or what can do what that cannot."""
    if any(place.op.declared.makes is HandleType.BUFFER for place in places):
        return FencedImporter
    if any(place.op.kind in ("device_migrate", "device_evict") for place in places):
        return PrivateGpu
    if any(place.op.kind == "device_reset" for place in places):
        return Resets
    return Exclusive if any(place.op.kind == "device_exclusive" for place in places) else Mirror


def _suits(scenario: Scenario, driver: type[Device] | None) -> None:
    """Raise `ScenarioError` where the scenario's devices are attached to a buffer and the driver is none for that, or the other way round."""
    places = list(scenario.places())
    on_buffers = [p.op for p in places if p.op.declared.makes is HandleType.BUFFER or p.op.kind == "attached_device"]
    on_memory = [p.op for p in places if p.op.declared.makes is HandleType.DEVICE and p.op.kind != "attached_device"]
    if driver is None and on_buffers:
        raise ScenarioError("a buffer, and no device that is attached to it", "attach one: s.attached_device(buffer)", on_buffers[0].site)
    if driver is not None and issubclass(driver, BufferDevice):
        if on_memory:
            remedy = "attach its devices: s.attached_device(buffer)"
            raise ScenarioError(f"{driver.__name__} works on a buffer, and has to mirror a process's memory here", remedy, on_memory[0].site)
    elif driver is not None and on_buffers:
        remedy = "give a class derived from secondsight.BufferDevice"
        raise ScenarioError(f"{driver.__name__} mirrors a process's memory, and has to work on a buffer here", remedy, on_buffers[0].site)


def _daemons(driver: type[Device], driven: list[Any], alone: bool) -> list[Thread]:
    """The threads of the drivers' own: a worker where there is one, unless nobody else has a thread; and the engine of a device that does jobs."""
    loops = [("worker", "work")] * (driver.work is not Device.work)
    if issubclass(driver, BufferDevice):
        loops.append(("engine", "engine"))
    elif alone:
        return []
    several = len(driven) > 1
    return [Thread(f"{name}{i + 1 if several else ''}", getattr(one, loop), daemon=True) for name, loop in loops for i, one in enumerate(driven)]


_HOW_SERVED: dict[str, tuple[Any, ...]] = {"uffd_serve": (serve,), "uffd_monitor": (monitor, False), "uffd_monitor_wp": (monitor, True)}
"""By the operation: the function of the thread that answers, and what it is told beside the process, the character and the owner."""


def _handlers(encoder: Encoder, spaces: list[Any]) -> list[Thread]:
    """The threads that answer a userfaultfd's messages."""
    rows = [(encoder.rows["process"][i], encoder.rows["value"][i], place.op.kind) for i, place in enumerate(encoder.places) if place.op.declared.serves]
    told = {encoder.rows["process"][i] for i, p in enumerate(encoder.places) if p.op.declared.makes is HandleType.USERFAULTFD and p.op.args["forks"]}
    served = [(one, letter, owner, kind) for owner, letter, kind in rows for one in _descendants(encoder.parents, owner) if one == owner or owner in told]
    return [
        Thread("handler" if len(served) == 1 else f"handler{n + 1}", function, (spaces[one], letter, spaces[owner], *more), daemon=True)
        for n, (one, letter, owner, kind) in enumerate(served)
        for function, *more in [_HOW_SERVED[kind]]
    ]


def _reclaims(encoder: Encoder) -> list[Thread]:
    """The thread that reclaims for those who allocate, where memory is short from now on."""
    short = sum(encoder.rows["pages"][i] for i, place in enumerate(encoder.places) if place.op.kind == "memory_pressure")
    if short == 0:
        return []
    direct_reclaim[0].short = short
    return [Thread("direct reclaim", perform_reclaim, daemon=True)]


def _begin_to_fail(encoder: Encoder) -> None:
    """So many allocations fail from now on."""
    failing = sum(encoder.rows["pages"][i] for i, place in enumerate(encoder.places) if place.op.kind == "allocations_fail")
    if failing > 0:
        failing_allocations[0].left = failing


def _ends(encoder: Encoder, spaces: list[Any]) -> list[Thread]:
    """The ends of the processes that somebody kills."""
    killed = sorted({encoder.rows["value"][i] for i, place in enumerate(encoder.places) if place.op.kind == "kill"})
    return [Thread(f"end of {encoder.processes[number]}", end_when_killed, (number, spaces[number]), daemon=True) for number in killed]


def _descendants(parents: list[int], process: int) -> list[int]:
    """A process, and those that come of it by fork."""
    found = [process]
    for child, parent in enumerate(parents):
        if child != parent and parent in found:
            found.append(child)
    return found


def shape_of(scenario: Scenario, driver: type[Device], wanted: dict[str, int]) -> ShapeKey:
    """What programs of a driver that keep no results have in common if they share their code, as far as the scenario decides it."""
    encoder = Encoder(scenario, results=False)
    return _key(encoder.bounds(driver, wanted), encoder)


def _key(sizes: dict[str, int], encoder: Encoder) -> ShapeKey:
    return tuple(sorted((name, number) for name, number in sizes.items() if name not in _OF_RESULTS)), encoder.families


def done_together(scenarios: Iterable[Scenario], driver: type[Device]) -> Together:
    """By shape, the kinds of operation that scenarios of that shape have, all together.

    A scenario that the driver's machine has no room for is left out: its program will say so.
    """
    found: dict[ShapeKey, set[int]] = {}
    for scenario in scenarios:
        with suppress(LangError):
            encoder = Encoder(scenario, results=False)
            found.setdefault(_key(encoder.bounds(driver, {}), encoder), set()).update(encoder.kinds())
    return {shape: frozenset(kinds) for shape, kinds in found.items()}


def _says_whose_it_is(driver: type[Device]) -> None:
    """Raise `LangError` where a subscription of the driver's own does not say whose it is: rules take it for every device's then."""
    modules = {cls.__module__ for cls in driver.__mro__ if not is_ours(cls.__module__)}
    for kind in _derived(IntervalNotifier):
        if kind.__module__ in modules and kind.driver is of_nobody:
            remedy = "give it `def driver(self) -> Ref[Driver]`, which returns the device's record"
            raise LangError(f"{kind.__name__} does not say whose subscription it is, and there are several devices: {remedy}")


def _derived(kind: type[Any]) -> Iterator[type[Any]]:
    for one in kind.__subclasses__():
        yield one
        yield from _derived(one)


def _unborn(encoder: Encoder) -> None:
    """A process that is still to be forked is as one that has gone."""
    for number, parent in enumerate(encoder.parents):
        if parent != number:
            tables.other_processes[number - 1].exiting = True


_one_at_a_time = threading.RLock()
"""The current machine is one for the process: while one scenario is set up, another thread waits."""


def _alone(places: list[Place], spaces: list[Any], device: Any) -> Thread:
    """The one thread of a scenario that has none: it does everything, in one process or in several by turns."""
    if len(spaces) == 1:
        return Thread("main", run_ops, (0, len(places), spaces[0], device, True))
    return Thread("main", run_in_turn, (0, len(places), device))


def _threads(encoder: Encoder, spaces: list[Any], device: Any, closes: bool, accesses: bool) -> list[Thread]:
    """The scenario's threads, and the one that comes after them. `accesses`: the device's are the process's own."""
    threads = []
    scenario, places = encoder.scenario, encoder.places
    first = sum(1 for p in places if p.section == "setup")
    for number, thread in enumerate(scenario.threads):
        count = sum(1 for p in places if p.thread == number)
        begin = first if count or len(spaces) == 1 else 0  # by its first row a thread knows its process: row 0 is the first one's
        space = spaces[encoder.processes.index(thread.process)]
        threads.append(Thread(thread.name, run_ops, (begin, begin + count, space, device, thread.is_own(accesses))))
        first += count
    if scenario.final or closes:
        threads.append(Thread("after", run_final, (first, len(places), spaces[0], device)))
    return threads


def _set_up(op: Op, i: int, encoder: Encoder, mm: Any, device: Any) -> None:
    """One operation of the setup, in plain execution."""
    begins = on_model(op).begins
    if begins is None:
        act = ACTS[encoder.rows["kind"][i]]
        if not tables.process_of(i).exiting:
            with ending(op.kind):
                ret = act(i, mm, device) if made(i) else tables.SKIPPED
            if op.declared.makes is HandleType.DEVICE and ret != 0:
                raise LangError(f"{type(unwrap(device)).__name__}.attach_to() failed, with nothing else going on: {value_of(op, ret)}")
            _keep(encoder, i, ret)
        return
    assert op.makes is not None
    with ending(op.kind):
        ret = begins(tables.handles[encoder.numbers[op.makes]], op, mm, device)
    if ret != 0:
        what = f"{type(unwrap(device)).__name__}.open()" if device is not None else op.kind
        raise LangError(f"{what} failed, with nothing else going on: {value_of(op, ret)}")
    _keep(encoder, i, 0)


def _keep(encoder: Encoder, i: int, result: int) -> None:
    """Note a result of the setup, as `interpreter.keep` does."""
    if encoder.keeps[i] == tables.WHOLE:
        tables.results[i].value = result
    elif encoder.keeps[i] == tables.SUCCESS and result >= 0:
        tables.successes[i] = True


def outcomes(
    scenario: Scenario,
    driver: type[Device] | None = None,
    rules: Iterable[Callable[..., Any]] = (),
    request: Request | None = None,
    bounds: dict[str, int] | None = None,
    release: str | None = None,
) -> tuple[Result, frozenset[Outcome]]:
    """Every outcome that a scenario can have, and the search's result: only if that *holds* is the set complete. `request`:
    how the search is to be made. `bounds`: those decided by hand; others are raised when they run out.

    `release` is a kernel's name for itself, such as `6.1.0-50-amd64`: the model then answers as that one does (see
    `linux.releases`); None: as Linux 6.12.
    """
    rules = list(rules)
    asked = (request or Request()).but(livelock=True)
    result = with_enough(
        lambda enough: program(scenario, driver, rules, enough, release=release),
        lambda made: search(made, asked.but(watch=watched(made))),
        bounds or {},
    ).result
    return result, frozenset(read_outcome(scenario, seen) for seen in result.outcomes)


def watched(made: Program) -> tuple[int, int]:
    """Where the results lie in a state, or what is kept of them."""
    kept = _kept(made)
    start = made.layout.base[kept]
    return start, start + made.layout.size(kept.kind)


def _kept(made: Program) -> Shared:
    """What keeps the results of a program's operations: whole, or whether they succeeded."""
    name = "tables.results" if made.machine.bound("results") else "tables.successes"
    return next(d for d in made.layout.declarations if d.name == name)


def value_in(seen: bytes, row: int) -> int:
    """The result of an operation, by its row, in the results' part of a final state."""
    return seen[row] - 128


def has_succeeded(made: Program, scenario: Scenario, ends: Iterable[bytes]) -> bool:
    """Whether an access of a device has succeeded, by what is kept of results in final states."""
    rows = [row for row, place in enumerate(scenario.places()) if place.op.declared.accesses]
    if made.machine.bound("successes"):
        kind = _kept(made).kind
        assert isinstance(kind, ArrayType)
        bits = [made.layout.first(kind).element(row) for row in rows]
        return any(bit.value(seen, 0) for seen in ends for bit in bits)
    return any(value_in(seen, row) >= 0 for seen in ends for row in rows)


def read_outcome(scenario: Scenario, seen: bytes) -> Outcome:
    """An outcome from the results' part of a final state."""
    places = list(scenario.places())
    values = [value_in(seen, row) for row in range(len(places))]
    return collect(scenario, [value_of(p.op, v) for p, v in zip(places, values, strict=True)])


def value_of(op: Op, value: int) -> str | None:
    """One result in an outcome's words."""
    if value == tables.NOT_RUN:
        return None
    if value == tables.SKIPPED:
        return SKIPPED
    if value == tables.DIFFERS:
        return DIFFERS
    if value >= 0:
        return chr(value) if op.declared.loads else OK
    if op.declared.faults:
        return {SIGSEGV: "SIGSEGV", SIGBUS: "SIGBUS"}[-value]
    return f"-{error_name(-value)}"
