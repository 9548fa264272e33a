"""A scenario on the model: its program, and every outcome it can have.

`program` makes the machine as the setup leaves it (run in plain execution, operation by operation, by the same interpreter
that the threads run) and the checked program of its threads. `outcomes` searches all interleavings and reads the results
in every final state.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from secondsight.devices.device import Device, open_device
from secondsight.devices.mirror import Mirror
from secondsight.lang.errors import LangError
from secondsight.lang.locks import MAX_THREADS
from secondsight.lang.modules import set_up
from secondsight.lang.program import Program, Room, Thread
from secondsight.lang.records import Machine, unwrap
from secondsight.linux import LARGEST, bounds
from secondsight.linux.dax import dax_devices, dev_dax_probe
from secondsight.linux.errno import SIGBUS, SIGSEGV
from secondsight.linux.fork import mm_alloc
from secondsight.linux.memremap import pagemaps
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.releases import differs
from secondsight.scenario import interpreter
from secondsight.scenario.data import DIFFERS, OK, SKIPPED, Outcome, Place, Scenario, collect
from secondsight.scenario.data import Thread as ScenarioThread
from secondsight.scenario.interpreter import OpKind
from secondsight.scenario.ops import OPS, SEALS, HandleType, Op, Ref, ScenarioError
from secondsight.search import Limits, Progress, Result
from secondsight.search.auto import By, search

__all__ = ["Encoder", "is_own", "outcomes", "program", "read_outcome", "value_in", "value_of", "watched"]

_KINDS = {
    "memfd_create": OpKind.MEMFD_CREATE,
    "munmap": OpKind.MUNMAP,
    "write": OpKind.WRITE,
    "read": OpKind.READ,
    "fallocate_punch_hole": OpKind.PUNCH_HOLE,
    "madvise_dontneed": OpKind.DONTNEED,
    "udmabuf_create": OpKind.UDMABUF_CREATE,
    "udmabuf_create_halves": OpKind.UDMABUF_CREATE_HALVES,
    "udmabuf_create_list": OpKind.UDMABUF_CREATE_LIST,
    "add_seals": OpKind.ADD_SEALS,
    "close": OpKind.CLOSE,
    "exit": OpKind.EXIT,
    "oom_reap": OpKind.OOM_REAP,
    "device_read": OpKind.DEVICE_READ,
    "device_write": OpKind.DEVICE_WRITE,
    "device_compare": OpKind.DEVICE_COMPARE,
    "device_open": OpKind.DEVICE_OPEN,
    "device_close": OpKind.DEVICE_CLOSE,
    "dax_disable": OpKind.DAX_DISABLE,
    "dax_invalidate": OpKind.DAX_INVALIDATE,
    "dax_drain": OpKind.DAX_DRAIN,
}
_MMAPS = {
    None: OpKind.MMAP_ANONYMOUS,
    HandleType.MEMFD: OpKind.MMAP_MEMFD,
    HandleType.UDMABUF: OpKind.MMAP_UDMABUF,
    HandleType.DAX: OpKind.MMAP_DAX,
}
_MAPS = ("mmap", "mmap_read_only")
_DEVICES = ("device", "closed_device")
MOST_PAGES = LARGEST["pages"]

_OUTSIDERS = {
    "device_read",
    "device_write",
    "device_open",
    "device_close",
    "oom_reap",
    "dax_disable",
    "dax_invalidate",
    "dax_drain",
}
"""Operations that are not the process's own: a thread of only these outlives it. `device_compare` is: the CPU's read is."""

_ACCESSES = {"device_read", "device_write"}

_TABLES = ("kind", "address", "pages", "value", "page", "needs", "needs_at", "makes", "fixed", "low", "high", "range_first")


def _size(frames: int, files: int, dax: int, buffers: int, rows: int) -> dict[str, int]:
    pages, items = 2 * files, buffers and max(2, buffers)
    return {
        "frames": frames, "files": files, "file_pages": min(15, pages), "pagemaps": dax, "dax_devices": dax, "udmabufs": buffers,
        "dmabuf_pages": min(15, 2 * items), "create_items": items, "ops": rows, "handles": rows // 2,
    }  # fmt: skip


_LARGE = _size(16, 15, 2, 15, 64)
_SIZES = (_size(8, 2, 0, 2, 16), _size(16, 4, 1, 4, 32), _LARGE)
_DRIVEN = (_size(10, 1, 1, 0, 12), _size(16, 4, 1, 4, 32), _LARGE)
"""
Bounds are rounded up to the first of these sizes that is enough, without a device and with one, so that many scenarios share
one shape. What is not used of them adds bytes to a state and no states. Only bounds of which that is true are here: a
larger address space (`pages`) has more steps, so it is as large as the scenario's own.
"""


class Encoder:
    """A scenario as the interpreter's tables, and the bounds that it needs."""

    def __init__(self, scenario: Scenario, release: str | None = None) -> None:
        self.scenario = scenario
        self.release = release
        self.places = _ordered(scenario)
        self.types: dict[str, HandleType] = {}
        self.numbers: dict[str, int] = {}
        self.address: dict[str, int] = {}
        self.windows: list[tuple[int, int]] = []
        self.continued: tuple[str, int] | None = None
        self.pages = 0
        self.rows: dict[str, list[int]] = {name: [] for name in _TABLES}
        self.ranges: dict[str, list[int]] = {"handle": [], "page": [], "pages": []}
        self.opened = {p.op.makes for p in self.places if p.op.kind == "closed_device"}
        for place in self.places:
            made = OPS[place.op.kind].makes
            if place.op.makes is not None and made is not None:
                self.numbers[place.op.makes] = len(self.numbers)
                self.types[place.op.makes] = made
        for place in self.places:
            self._row(place.op)

    def _row(self, op: Op) -> None:
        if OPS[op.kind].kernel_only:
            reason = f"{self.scenario.name}: {op.kind} cannot run on the model yet"
            raise ScenarioError(reason, "run it on a real kernel: secondsight run --on linux-6.12", op.site)
        kind: OpKind = _KINDS.get(op.kind, OpKind.READY)
        row = dict.fromkeys(_TABLES, 0) | {"needs": -1, "needs_at": -1, "makes": -1}
        needed = next((op.args[n] for n in ("fd", "addr", "dax") if isinstance(op.args.get(n), Ref)), None)
        if op.kind in _MAPS:
            fd = op.args["fd"]
            kind = _MMAPS[self.types[fd.handle] if isinstance(fd, Ref) else None]
            needed = fd
        if isinstance(needed, Ref):
            row["needs"] = self.numbers[needed.handle]
        if op.makes is not None:
            row["makes"] = self.numbers[op.makes]
        pages, page, value = op.args.get("pages"), op.args.get("page"), op.args.get("value")
        row["pages"] = pages if isinstance(pages, int) else 1
        row["page"] = page if isinstance(page, int) else 0
        if isinstance(value, str):
            row["value"] = ord(value)
        seals = op.args.get("seals")
        if isinstance(seals, str):
            row["value"] = sum(SEALS[name] for name in set(seals.split("|")) if name)
        address = op.args.get("addr")
        if isinstance(address, Ref):
            row["address"] = self.address[address.handle] + address.page
        device = op.args.get("device")
        if isinstance(device, Ref) and device.handle in self.opened:
            row["makes" if op.kind == "device_open" else "needs_at"] = self.numbers[device.handle]
        if op.kind in _MAPS:
            row["address"] = self._place_mapping(op, row["pages"])
            at = op.args["at"]
            late = differs("future-write-seal-is-asked-late", self.release)
            row["fixed"] = (interpreter.SEALS_LATE if late else 0) | (interpreter.READ_ONLY if op.kind != "mmap" else 0)
            if isinstance(at, Ref):
                start = row["address"]
                row["low"], row["high"] = next(w for w in self.windows if w[0] <= start < w[1])
                row["fixed"] |= interpreter.FIXED
                row["needs_at"] = self.numbers[at.handle]
        if op.kind == "udmabuf_create_halves":
            row["page"], row["pages"] = (half for name in ("offset", "size") if isinstance(half := op.args[name], int))
        ranges = op.args.get("ranges")
        if isinstance(ranges, tuple):
            row["range_first"], row["pages"] = len(self.ranges["handle"]), len(ranges)
            for ref, first, count in ranges:
                self.ranges["handle"].append(self.numbers[ref.handle])
                self.ranges["page"].append(first)
                self.ranges["pages"].append(count)
        row["kind"] = kind
        for name in _TABLES:
            self.rows[name].append(row[name])

    def _place_mapping(self, op: Op, pages: int) -> int:
        """Each mapping has an address of its own, unless it is made over another."""
        assert op.makes is not None
        at = op.args["at"]
        if isinstance(at, Ref):
            self.address[op.makes] = self.address[at.handle] + at.page
        else:
            fd, page = op.args["fd"], op.args["page"]
            first = (fd.handle, page) if isinstance(fd, Ref) and isinstance(page, int) else None
            if first is not None and first == self.continued:
                self.pages += 1  # a gap: the kernel keeps mappings apart, and these two would be one vma
            self.continued = None if first is None else (first[0], first[1] + pages)
            self.address[op.makes] = self.pages
            self.windows.append((self.pages, self.pages + pages))
            self.pages += pages
        return self.address[op.makes]

    def data(self, waits: bool, closes: bool = False) -> dict[str, Sequence[int]]:
        """The `const` tables."""
        tables: dict[str, Sequence[int]] = {f"op.{name}": row for name, row in self.rows.items()}
        tables |= {f"range.{name}": row or [0] for name, row in self.ranges.items()}
        return tables | {"program.counts": [int(waits)], "program.closes": [int(closes)]}

    def bounds(self, driver: type[Device] | None, wanted: dict[str, int]) -> dict[str, int]:
        """Enough of everything for this scenario; `wanted` overrides. Raises `ScenarioError` for more pages than there can be."""
        if self.pages > MOST_PAGES:
            gaps = self.pages - sum(end - start for start, end in self.windows)
            between = f", {gaps} of them between mappings of one file that would be one" if gaps else ""
            said = f"{self.scenario.name}: takes {self.pages} pages of address space{between}; the model's limit is {MOST_PAGES}"
            raise ScenarioError(said, "map fewer pages")
        ops = [p.op for p in self.places]

        def of(kind: str) -> list[Op]:
            return [o for o in ops if o.kind == kind]

        def total(kinds: Iterable[str]) -> int:
            return sum(n for k in kinds for o in of(k) if isinstance(n := o.args.get("pages"), int))

        anonymous = sum(n for k in _MAPS for o in of(k) if o.args["fd"] is None and isinstance(n := o.args["pages"], int))
        file_pages = [n for o in ops if o.kind in ("memfd_create", "dax") and isinstance(n := o.args["pages"], int)]
        buffers = [sum(r[2] for r in o.args["ranges"]) for o in of("udmabuf_create_list") if isinstance(o.args["ranges"], tuple)]
        buffers += [n for o in of("udmabuf_create") if isinstance(n := o.args["pages"], int)]
        buffers += [n // 2 for o in of("udmabuf_create_halves") if isinstance(n := o.args["size"], int)]
        lists = [len(o.args["ranges"]) for o in of("udmabuf_create_list") if isinstance(o.args["ranges"], tuple)]
        # A zap takes entries away first and drops their frames later: meanwhile others may be given new ones.
        zaps = ("munmap", "madvise_dontneed", "fallocate_punch_hole", *_MAPS)
        in_flight = sum(
            max([1, *(n for o in t.ops if o.kind in zaps and isinstance(n := o.args.get("pages"), int))])
            for t in self.scenario.threads
        )
        frames = 1 + anonymous + sum(file_pages) + total(["fallocate_punch_hole"]) + in_flight
        derived = {
            "frames": min(16, max(3, frames)),
            "mms": 1,
            "pages": max(1, self.pages),
            "files": len(of("memfd_create")),
            "file_pages": max(file_pages, default=0),
            "pagemaps": len(of("dax")),
            "dax_devices": len(of("dax")),
            "udmabufs": len(buffers),
            "dmabuf_pages": max(buffers, default=0),
            "create_items": max(lists, default=0),
            "subscribers": 0,
        }
        if driver is not None:
            if driver.bounds.get("finishes") and differs("two-pass-interval-notifiers", self.release):
                raise ScenarioError(
                    f"{driver.__name__} has two passes (the bound `finishes`), which Linux {self.release} has not",
                    "ask for --release 7.2, or give the driver `invalidate` alone",
                )
            derived |= driver.bounds
        derived |= {"ops": max(1, len(self.places)), "handles": max(1, len(self.numbers))}
        size = next((s for s in (_DRIVEN if driver is not None else _SIZES) if all(derived[n] <= s[n] for n in s)), {})
        rounded = derived | size
        own = {name: rounded.pop(name) for name in ("ops", "handles")}
        return bounds(**(rounded | wanted)) | own


def _ordered(scenario: Scenario) -> list[Place]:
    return list(scenario.places())


def encoded(scenario: Scenario, release: str | None = None) -> tuple[dict[str, int], dict[str, Sequence[int]], int]:
    """For running a scenario without threads in plain execution: the machine's bounds, its tables, the number of rows."""
    encoder = Encoder(scenario, release)
    return encoder.bounds(None, {}), encoder.data(True), len(encoder.places)


def program(
    scenario: Scenario,
    driver: type[Device] | None = None,
    rules: Iterable[Callable[..., Any]] = (),
    wanted: dict[str, int] | None = None,
    holds: bool = False,
    release: str | None = None,
    closes: bool = False,
) -> Program:
    """The checked program of a scenario; its device, if it has one, is driven by `driver` (default: the reference mirror).

    `wanted` raises bounds; `holds`: with hold points, for forced runs; `release`: see `outcomes`; `closes`: when all threads
    have ended the driver is closed, if it is open still, and rules may look at what it holds (`all_quiet`). Raises `LangError`
    for a bound that is too small, a driver outside the language, or one that cannot be opened.
    """
    encoder = Encoder(scenario, release)
    places = encoder.places
    has_device = any(p.op.kind in _DEVICES for p in places)
    driver = (driver or Mirror) if has_device else None
    closes = closes and has_device
    waits = bool(scenario.final) or closes or any(p.op.kind == "exit" for p in places)
    machine = Machine(
        encoder.bounds(driver, wanted or {}), pools={driver: 1} if driver is not None else {}, data=encoder.data(waits, closes)
    )
    machine.rules = list(rules)
    alone = not scenario.threads
    with _one_at_a_time, set_up(driver.__name__ if driver is not None else scenario.name), machine:
        if machine.bound("dax_devices"):  # there from the start, used or not: what is there is part of the shape
            len(dax_devices), len(pagemaps)
        mem_init()
        mm = mm_alloc()
        device = machine.pool(driver).alloc() if driver is not None else None
        threads = [Thread("main", interpreter.run_ops, (0, len(places), mm, device, True))] if alone else []
        for i, place in enumerate(places):
            if place.section == "setup" and (not alone or place.op.kind in ("device", "dax")):
                _set_up(place.op, i, encoder, mm, device)
        if not alone:
            threads = _threads(scenario, places, mm, device, closes, driver is not None and driver.promise == "process")
            interpreter.process.running = sum(1 for t in threads if t.function is interpreter.run_ops and t.arguments[-1])
            interpreter.process.others = sum(1 for t in threads if t.function is interpreter.run_ops and not t.arguments[-1])
        else:
            interpreter.process.running = 1
        room = Room(1 if alone else 4 if len(threads) <= 4 else MAX_THREADS, (interpreter.run_ops, interpreter.run_final))
        return Program(machine, threads, rules, holds, room)


_one_at_a_time = threading.RLock()
"""The current machine is one for the process: while one scenario is set up, another thread waits."""


def _threads(scenario: Scenario, places: list[Place], mm: Any, device: Any, closes: bool, accesses: bool) -> list[Thread]:
    """The scenario's threads, and the one that comes after them. `accesses`: the device's are the process's own."""
    threads = []
    first = sum(1 for p in places if p.section == "setup")
    for number, thread in enumerate(scenario.threads):
        count = sum(1 for p in places if p.thread == number)
        threads.append(Thread(thread.name, interpreter.run_ops, (first, first + count, mm, device, is_own(thread, accesses))))
        first += count
    if scenario.final or closes:
        threads.append(Thread("after", interpreter.run_final, (first, len(places), mm, device)))
    return threads


def is_own(thread: ScenarioThread, accesses: bool = False) -> bool:
    """Whether a thread is the process's own: it does something that a device or the rest of the kernel does not do.

    `accesses`: the device's accesses are the process's own.
    """
    return not thread.ops or any(op.kind not in _OUTSIDERS or (accesses and op.kind in _ACCESSES) for op in thread.ops)


def _set_up(op: Op, i: int, encoder: Encoder, mm: Any, device: Any) -> None:
    """One operation of the setup, in plain execution."""
    if op.kind in (*_DEVICES, "dax"):
        assert op.makes is not None
        handle = interpreter.handles[encoder.numbers[op.makes]]
        handle.made = op.kind != "closed_device"
        interpreter.results[i].value = 0
        if op.kind == "closed_device":
            device.notifier.mm = mm
        elif op.kind == "device":
            ret = open_device(device, mm)
            if ret != 0:
                raise LangError(f"{type(unwrap(device)).__name__}.open() failed, with nothing else going on: {value_of(op, ret)}")
        else:
            pages = op.args["pages"]
            assert isinstance(pages, int)
            handle.dax = dev_dax_probe(pages)
        return
    interpreter.results[i].value = interpreter.run_op(i, mm, device)


def outcomes(
    scenario: Scenario,
    driver: type[Device] | None = None,
    rules: Iterable[Callable[..., Any]] = (),
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    wanted: dict[str, int] | None = None,
    executor: By = "auto",
    release: str | None = None,
) -> tuple[Result, frozenset[Outcome]]:
    """Every outcome that a scenario can have, and the search's result: only if that *holds* is the set complete.

    `release` is a kernel's name for itself, such as `6.1.0-50-amd64`: the model then answers as that one does (see
    `linux.releases`); None: as Linux 6.12.
    """
    made = program(scenario, driver, rules, wanted, release=release)
    result = search(made, executor, limits, on_progress, watched(made), progress=True)
    return result, frozenset(read_outcome(scenario, seen) for seen in result.outcomes)


def watched(made: Program) -> tuple[int, int]:
    """Where the results lie in a state."""
    declaration = next(d for d in made.layout.declarations if d.name == "interpreter.ops")
    start = made.layout.base[declaration]
    return start, start + made.layout.size(declaration.kind)


def value_in(seen: bytes, row: int) -> int:
    """The result of an operation, by its row, in the results' part of a final state."""
    return seen[row] - 128


def read_outcome(scenario: Scenario, seen: bytes) -> Outcome:
    """An outcome from the results' part of a final state."""
    places = list(scenario.places())
    values = [value_in(seen, row) for row in range(len(places))]
    return collect(scenario, [value_of(p.op, v) for p, v in zip(places, values, strict=True)])


def value_of(op: Op, value: int) -> str | None:
    """One result in an outcome's words."""
    if value == interpreter.NOT_RUN:
        return None
    if value == interpreter.SKIPPED:
        return SKIPPED
    if value == interpreter.DIFFERS:
        return DIFFERS
    if value >= 0:
        return chr(value) if op.kind in ("read", "device_read") else OK
    if op.kind in ("read", "write"):
        return {SIGSEGV: "SIGSEGV", SIGBUS: "SIGBUS"}[-value]
    return f"-{errno.errorcode.get(-value, -value)}"
