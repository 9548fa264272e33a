"""A stand-in for a real kernel that follows schedules: the user's own functions in CPython, step by step.

It shares nothing with the search of coarse steps but the model's source: no lowering, no states as bytes; where a thread is
held is read off the source line that it stands at.
"""

from __future__ import annotations

import linecache
import random
import re
from contextlib import nullcontext
from dataclasses import dataclass
from unittest.mock import patch

from secondsight.devices.device import Device
from secondsight.lang.instrument import instrumented
from secondsight.lang.plain import PlainRun, WouldBlock
from secondsight.linux.page_alloc import frames
from secondsight.scenario import HandleRef, Op, Scenario
from secondsight.scenario.data import collect
from secondsight.scenario.ops import HandleType
from secondsight.world import tables
from secondsight.world.encoder import pages_made
from secondsight.world.forced import Forced, Schedule
from secondsight.world.model import program, value_of

HOLD = re.compile(r'\s*hold_point\("([^"]+)"\)')


@dataclass
class Differs:
    """The step, from 0, at which a thread settled elsewhere than the schedule says."""

    step: int
    thread: str
    expected: str
    got: str


class FakeVM:
    """`force` a schedule; threads that run at once take turns at random."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)

    def force(self, schedule: Schedule, driver: type[Device] | None = None) -> Forced | Differs:
        return _Run(schedule, driver, self.random).whole()


class _Run:
    def __init__(self, schedule: Schedule, driver: type[Device] | None, chance: random.Random) -> None:
        self.schedule, self.random = schedule, chance
        self.scenario: Scenario = schedule.scenario
        self.program = program(self.scenario, driver, wanted={"frames": 16, "quarantine": 15}, holds=True)
        self.names = [t.name for t in self.scenario.threads]
        self.places = list(self.scenario.places())
        self.taken: list[int] = []
        self.retries = [0] * len(self.places)
        self.late = [""] * len(self.places)
        self.cut: set[int] = set()
        self.holding = True

    def whole(self) -> Forced | Differs:
        """The whole run; the functions are cut once for all the times that it begins."""
        with instrumented(self.program), patch("secondsight.lang.plain.instrumented", lambda program: nullcontext()):
            return self.follow()

    def follow(self) -> Forced | Differs:
        self.begin()
        try:
            for index in range(len(self.program.threads)):
                self.met(index)
            self.settle(None)
            for number, step in enumerate(self.schedule.steps):
                self.settle(self.names.index(step.release))
                for thread, expected in step.then.items():
                    got = self.where(self.names.index(thread))
                    if got != expected:
                        return Differs(number, thread, expected, got)
            self.holding = False
            self.settle(None)
            return self.left()
        finally:
            self.run.__exit__()

    # Stepping.

    def begin(self) -> None:
        self.run = PlainRun(self.program)
        self.run.__enter__()
        sources = list(self.run._sources())
        self.run._sources = lambda: iter(sources)  # type: ignore[method-assign]

    def settle(self, released: int | None) -> None:
        """Step whoever is not held, in a random order, until nobody can."""
        if released is not None:
            assert self.hold(released) is not None, "the thread to release is not held"
            self.take(released)
        blocked: set[int] = set()
        while True:
            running = [i for i, t in enumerate(self.run.threads) if not t.ended and self.hold(i) is None and i not in blocked]
            if not running:
                return
            thread = self.random.choice(running)
            if self.take(thread):
                blocked.clear()
            else:
                blocked.add(thread)

    def line(self, thread: int) -> str:
        """The source line that a thread stands at."""
        stack = self.run.frames(thread)
        if self.run.threads[thread].ended or not stack:
            return ""
        return linecache.getline(stack[0].f_code.co_filename, self.run.threads[thread].line)

    def take(self, thread: int) -> bool:
        """One step of a thread; False if it blocks (then the run is made again up to here)."""
        before = self.hold_name(thread)
        device_use = self.late_use(thread) if before == "unlocked" else None
        before_it = self.exiting()
        try:
            done = self.run.step(thread)
        except WouldBlock:
            self.run.__exit__()
            self.begin()
            for one in self.taken:
                self.run.step(one)
            return False
        assert done.error is None, done.error
        self.taken.append(thread)
        if device_use is not None:
            row, found = device_use
            self.late[row] = found if found != "same" or not self.late[row] else self.late[row]
        self.met(thread)
        ended = [now and not before for now, before in zip(self.exiting(), before_it, strict=True)]
        if any(ended):
            for other, info in enumerate(self.scenario.threads):
                stack = self.run.frames(other)
                if other != thread and ended[self.process(other)] and len(stack) > 1 and any(not o.kind.startswith("device_") for o in info.ops):
                    self.cut.add(self.row(other))
        return True

    def exiting(self) -> list[bool]:
        """Of each process whether it ends."""
        return [bool(one.exiting) for one in (tables.process, *tables.other_processes)]

    def process(self, thread: int) -> int:
        """The number of a thread's process."""
        ops = self.scenario.threads[thread].ops
        return self.scenario.processes.index(ops[0].process) if ops else 0

    def met(self, thread: int) -> None:
        if self.hold_name(thread) == "read_begun":
            self.retries[self.row(thread)] += 1

    def late_use(self, thread: int) -> tuple[int, str] | None:
        frame = self.run.frames(thread)[0]
        if "Later" not in type(frame.f_locals["self"]).__name__:
            return None
        device = frame.f_locals["self"]
        entry = device.notifier.mm.ptes[frame.f_locals["va"]]
        found = "none" if entry.frame is None else "same" if entry.frame is frames[frame.f_locals["pfn"]] else "other"
        return self.row(thread), found

    # Where threads stand.

    def hold_name(self, thread: int) -> str | None:
        """The hold point on the line that a thread stands at."""
        found = HOLD.match(self.line(thread))
        return found[1] if found else None

    def hold(self, thread: int) -> str | None:
        """The hold point that a thread is held at."""
        if not self.holding or thread >= len(self.names):
            return None
        own = self.scenario.threads[thread].is_own()
        if own and self.exiting()[self.process(thread)]:
            return None
        name = self.hold_name(thread)
        return name if name in self.schedule.points else None

    def where(self, thread: int) -> str:
        if self.run.threads[thread].ended:
            return "ended"
        name = self.hold(thread)
        if name == "op":
            mine = [row for row, place in enumerate(self.places) if place.thread == thread]
            return f"op:{self.row(thread) - mine[0]}"
        return name or "blocked"

    def row(self, thread: int) -> int:
        return int(self.run.frames(thread)[-1].f_locals["i"])

    # What is left.

    def left(self) -> Forced:
        values = [int(tables.results[row].value) for row in range(len(self.places))]
        words = [None if r in self.cut else value_of(p.op, v) for r, (p, v) in enumerate(zip(self.places, values, strict=True))]
        probe = []
        drivers = [place.op for place in self.places if place.op.kind == "device"]
        for number, opened in enumerate(drivers):
            device = self.program.machine.pool(type(self.program.threads[0].arguments[3]))[number]
            makes = [p.op for p in self.places if p.op.declared.makes is HandleType.MAPPING and p.op.process == opened.process]
            mapped = [op for op in makes if op.args.get("at") is None]
            often = sum(p.op.kind.startswith("mremap") for p in self.places) > 1
            closes = [v for p, v in zip(self.places, values, strict=True) if p.op.kind == "device_close" and _device_of(p.op) == opened.makes]
            first = 0
            for op, behind in zip(mapped, [None, *mapped], strict=False):
                first += behind is not None and (_goes_on(behind, op) or (often and op.args.get("fd") is None))  # a page between them
                size = pages_made(op, int(op.args["pages"]))  # type: ignore[arg-type]
                for va in range(first, first + size):
                    entry, mm = device.page_table.entries[va], device.notifier.mm
                    word = "none" if entry.frame is None or 0 in closes else "same" if entry.frame is mm.ptes[va].frame else "other"
                    probe.append(word + ("+w" if word != "none" and entry.writable else ""))
                first += size
        return Forced(collect(self.scenario, words), tuple(self.retries), tuple(probe), tuple(self.late))


def _device_of(op: Op) -> str:
    device = op.args["device"]
    assert isinstance(device, HandleRef)
    return device.handle


def _goes_on(behind: Op, op: Op) -> bool:
    """Whether a mapping begins with the page of the file that comes after the last one's."""
    fd = op.args.get("fd")
    return fd is not None and fd == behind.args.get("fd") and op.args["page"] == int(behind.args["page"]) + int(behind.args["pages"])  # type: ignore[arg-type]
